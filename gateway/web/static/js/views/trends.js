/**
 * Several tags over time: the last hour from the gateway's memory, then on as it happens.
 *
 * The rule of the file: following, the right edge is now and each second is appended; zoomed, the picture stands still
 * and is asked for anew at its own resolution. After anything was missed (a lost stream, a hidden page) memory is asked
 * again, so no line is drawn over what was not seen.
 */

import { Chart } from "../chart.js";
import { fill, h, icon, setAttribute, setText } from "../dom.js";
import { nameOf, TagIndex } from "../tagindex.js";
import { TagPicker } from "../tagpicker.js";
import { TrendData } from "../trenddata.js";
import { TrendLegend } from "./trendlegend.js";

const MINUTE_MS = 60_000;
/** @type {[number, string][]} */
const SPANS = [
  [5, "5 min"],
  [15, "15 min"],
  [60, "1 h"],
];
/** How far back one may look; the gateway keeps an hour, or what `web.trend` says, and gives nothing before. */
const OLDEST_MS = 24 * 60 * MINUTE_MS;
const MAX_TAGS = 12;
const TICK_MS = 1_000;
/** A wheel that turns asks once. */
const SETTLE_MS = 180;
const LEAST_MS = 2_000;
const MAX_POINTS = 1_500;

export const shortcuts = [
  ["+ −", "zoom in and out, with the focus in the picture"],
  ["← →", "back and forth in time"],
  ["0", "follow what happens now"],
];

/**
 * @typedef {import("../main.js").Context} Context
 * @typedef {import("../main.js").Params} Params
 * @typedef {import("../store.js").Tag} Tag
 */

/** @param {HTMLElement} root @param {Params} params @param {Context} context */
export async function open(root, params, context) {
  const view = new TrendsView(root, params, context);
  return { close: () => view.close(), update: (/** @type {Params} */ next) => view.update(next) };
}

class TrendsView {
  /** @param {HTMLElement} root @param {Params} params @param {Context} context */
  constructor(root, params, context) {
    this.context = context;
    this.data = new TrendData();
    this.index = new TagIndex([]);
    /** @type {string[]} */
    this.names = [];
    /** @type {Set<string>} */
    this.hidden = new Set();
    this.spanMs = 15 * MINUTE_MS;
    /** What is zoomed to; null: following. @type {[number, number] | null} */
    this.range = null;
    /** @type {Chart | null} */
    this.chart = null;
    this.asked = 0;
    this.problem = "";
    this.settle = 0;
    this.isClosed = false;

    const press = (
      /** @type {string} */ label,
      /** @type {import("../dom.js").Child} */ sign,
      /** @type {() => void} */ click,
    ) => h("button", { type: "button", title: label, "aria-label": label, on: { click } }, sign);
    this.picker = new TagPicker({
      placeholder: "Add a tag",
      find: (words, limit) =>
        this.index.find(words, limit, (tag) => tag.type !== "string" && !this.names.includes(nameOf(tag))),
      choose: (tag) => this.add(nameOf(tag)),
    });
    this.spans = h(
      "div",
      { class: "segments", role: "group", "aria-label": "Time shown" },
      ...SPANS.map(([minutes, text]) =>
        h("button", { type: "button", data: { minutes }, on: { click: () => this.follow(minutes * MINUTE_MS) } }, text),
      ),
    );
    this.follows = h(
      "button",
      { type: "button", class: "button", on: { click: () => this.follow() } },
      h("span", { class: "trend-dot" }),
      "Follow",
    );
    const steps = h(
      "div",
      { class: "segments", role: "group", "aria-label": "Zoom" },
      press("Back in time (←)", icon("chevron", "icon back"), () => this.step(-0.5)),
      press("Zoom out (−)", "−", () => this.zoom(2)),
      press("Zoom in (+)", "+", () => this.zoom(0.5)),
      press("Forth in time (→)", icon("chevron"), () => this.step(0.5)),
    );
    this.save = /** @type {HTMLButtonElement} */ (
      h(
        "button",
        { type: "button", class: "button", title: "What is seen, as CSV", on: { click: () => this.export() } },
        "CSV",
      )
    );
    this.note = h("p", { class: "head-note muted", role: "status" });
    this.plot = h("div", {
      class: "trend-plot live-plot",
      tabindex: 0,
      role: "img",
      "aria-label": "Trends",
      on: { keydown: (/** @type {KeyboardEvent} */ event) => this.key(event) },
    });
    this.legend = new TrendLegend(this);
    const empty = h(
      "div",
      { class: "empty trend-empty" },
      h("p", {}, "Choose tags to draw: the last hour is there at once, and what happens is added as it happens."),
      h(
        "button",
        { type: "button", class: "button primary", on: { click: () => this.picker.focus() } },
        "Choose a tag",
      ),
    );
    this.panel = h("div", { class: "panel trend-panel" }, this.plot, h("div", { class: "scroll" }, this.legend.root));
    this.none = h("div", { class: "panel" }, empty);
    fill(
      root,
      h("header", { class: "head" }, h("h1", {}, "Trends"), this.note),
      h("div", { class: "tools" }, this.picker.root, this.spans, this.follows, steps, this.save),
      this.panel,
      this.none,
    );

    this.update(params);
    this.leave = [
      context.tags.open((changed) => this.changed(changed)),
      context.live.onStatus(() => this.legend.show()),
    ];
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.onLook = () => this.remake();
    this.onVisible = () => document.hidden || void this.load();
    document.addEventListener("themechange", this.onLook);
    document.addEventListener("visibilitychange", this.onVisible);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", this.onLook);
  }

  close() {
    this.isClosed = true;
    for (const leave of this.leave) leave();
    clearInterval(this.timer);
    clearTimeout(this.settle);
    document.removeEventListener("themechange", this.onLook);
    document.removeEventListener("visibilitychange", this.onVisible);
    this.dark.removeEventListener("change", this.onLook);
    this.chart?.close();
  }

  // -- what is looked at ------------------------------------------------------------------------------------------

  /** @param {Params} params */
  update({ query }) {
    const number = (/** @type {string} */ name) =>
      /^\d+$/.test(query.get(name) ?? "") ? Number(query.get(name)) : null;
    this.names = [...new Set(query.getAll("tag"))].slice(0, MAX_TAGS);
    const minutes = number("min");
    if (minutes !== null && SPANS.some(([each]) => each === minutes)) this.spanMs = minutes * MINUTE_MS;
    const [from, to] = [number("from"), number("to")];
    this.range = from !== null && to !== null && to - from >= LEAST_MS ? [from, to] : null;
    this.remake();
    void this.load();
  }

  remember() {
    const query = new URLSearchParams(this.names.map((name) => ["tag", name]));
    if (this.spanMs !== 15 * MINUTE_MS) query.set("min", String(this.spanMs / MINUTE_MS));
    if (this.range) {
      query.set("from", String(Math.round(this.range[0])));
      query.set("to", String(Math.round(this.range[1])));
    }
    const text = query.toString();
    history.replaceState(null, "", `#/trends${text ? `?${text}` : ""}`);
  }

  /** @param {string} name */
  add(name) {
    if (this.names.length >= MAX_TAGS)
      return this.context.notify(`${MAX_TAGS} tags are the most that can be told apart`, "warning");
    this.names.push(name);
    this.remember();
    this.remake();
    void this.load();
  }

  /** @param {string} name */
  remove(name) {
    this.names = this.names.filter((each) => each !== name);
    this.hidden.delete(name);
    this.remember();
    this.remake();
    this.picker.focus();
  }

  /** @param {number} [spanMs] */
  follow(spanMs = this.spanMs) {
    this.spanMs = spanMs;
    this.range = null;
    this.remember();
    void this.load();
  }

  /** The ends of what is shown, in ms. @returns {[number, number]} */
  shown() {
    const now = this.context.api.now();
    return this.range ?? [now - this.spanMs, now];
  }

  /** @param {number} from @param {number} to */
  look(from, to) {
    const now = this.context.api.now();
    const oldest = now - OLDEST_MS;
    const length = Math.min(Math.max(to - from, LEAST_MS), now - oldest);
    const end = Math.min(Math.max(to, oldest + length), now);
    this.range = [end - length, end];
    this.remember();
    this.draw();
    clearTimeout(this.settle);
    this.settle = window.setTimeout(() => void this.load(), SETTLE_MS);
  }

  /** @param {number} factor */
  zoom(factor) {
    const [from, to] = this.shown();
    const middle = (from + to) / 2;
    this.look(middle - ((to - from) * factor) / 2, middle + ((to - from) * factor) / 2);
  }

  /** @param {number} share of what is seen */
  step(share) {
    const [from, to] = this.shown();
    this.look(from + (to - from) * share, to + (to - from) * share);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "ArrowLeft") this.step(-0.25);
    else if (event.key === "ArrowRight") this.step(0.25);
    else if (event.key === "0") this.follow();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  export() {
    const [from, to] = this.shown();
    const tags = this.lines().filter(({ name }) => !this.hidden.has(name));
    const url = URL.createObjectURL(new Blob([this.data.csv(tags, from, to)], { type: "text/csv" }));
    const stamp = new Date(to).toISOString().slice(0, 19).replace(/[:T]/g, "-");
    h("a", { href: url, download: `trends-${stamp}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), MINUTE_MS);
  }

  // -- what is drawn ----------------------------------------------------------------------------------------------

  /** The tags that are drawn; one that is not there any more has no line. */
  lines() {
    return this.names.map((name) => ({
      name,
      unit: this.index.byName.get(name)?.unit ?? "",
      type: this.index.byName.get(name)?.type ?? "",
    }));
  }

  /** Another set of lines, or other colours. */
  remake() {
    this.chart?.close();
    this.chart = null;
    const isEmpty = this.names.length === 0;
    this.panel.hidden = isEmpty;
    this.none.hidden = !isEmpty;
    this.legend.set(this.names, this.hidden);
    if (!isEmpty && this.context.tags.isLoaded) {
      this.chart = new Chart(this.plot, this.lines(), {
        onRange: (from, to) => this.look(from, to),
        onReset: () => this.follow(),
        onCursor: (ms) => this.legend.point(ms),
      });
      this.names.forEach((name, at) => this.hidden.has(name) && this.chart?.toggle(at, false));
    }
    this.draw();
  }

  /** Ask memory for what is shown. */
  async load() {
    const mine = ++this.asked;
    const { api, tags } = this.context;
    setText(this.note, "loading…");
    const known = this.names.filter((name) => this.index.byName.has(name));
    if (!tags.isLoaded || known.length === 0) return this.draw();
    const [from, to] = this.shown();
    const points = Math.max(200, Math.min(Math.round(this.plot.clientWidth), MAX_POINTS));
    const query = known.map((name) => `tag=${encodeURIComponent(name)}`).join("&");
    try {
      const answer = await api.get(`trends?${query}&from=${Math.floor(from)}&to=${Math.ceil(to)}&points=${points}`);
      if (mine !== this.asked || this.isClosed) return;
      this.data.load(answer.series, api.now());
      this.problem = "";
    } catch (error) {
      if (mine !== this.asked || this.isClosed) return;
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.draw();
  }

  draw() {
    const [from, to] = this.shown();
    this.chart?.draw(this.data.series, from, to);
    this.showTools();
    this.legend.show();
  }

  showTools() {
    const { format } = this.context;
    const isFollowing = this.range === null;
    setAttribute(this.follows, "aria-pressed", String(isFollowing));
    for (const button of this.spans.children) {
      const minutes = Number(/** @type {HTMLElement} */ (button).dataset.minutes);
      setAttribute(button, "aria-pressed", String(isFollowing && minutes * MINUTE_MS === this.spanMs));
    }
    const [from, to] = this.shown();
    const gone = this.context.tags.isLoaded ? this.names.filter((name) => !this.index.byName.has(name)) : [];
    const long = format.span((to - from) / 1000);
    const range = isFollowing ? `the last ${long}` : `${format.time(from)} to ${format.time(to)} (${long})`;
    setText(
      this.note,
      this.problem || (gone.length ? `There is no tag ${gone.join(", ")}` : this.names.length ? range : ""),
    );
    this.plot.setAttribute("aria-label", `Trends of ${this.names.join(", ")}, ${range}`);
    this.save.disabled = this.names.length === 0;
  }

  /** Show or hide a line; whether it is shown then. @param {string} name @param {number} at */
  toggle(name, at) {
    const show = this.hidden.delete(name);
    if (!show) this.hidden.add(name);
    this.chart?.toggle(at, show);
    return show;
  }

  /** @param {string} name */
  tag(name) {
    return this.index.byName.get(name);
  }

  // -- what happens -----------------------------------------------------------------------------------------------

  /** @param {number[] | null} changed */
  changed(changed) {
    const { tags } = this.context;
    if (changed === null) {
      this.index = new TagIndex(tags.tags.values());
      this.picker.refresh();
      this.remake();
      void this.load();
      return;
    }
    for (const name of this.names) {
      const tag = this.index.byName.get(name);
      if (tag && changed.includes(tag.i)) this.data.see(name, tags.sample(tag.i));
    }
    if (this.legend.cursor === null && !document.hidden) this.legend.show();
  }

  tick() {
    const { tags, live, api } = this.context;
    if (!live.isLive || !tags.isLoaded) return;
    for (const name of this.names) {
      const tag = this.index.byName.get(name);
      if (tag && this.range === null) this.data.append(name, api.now(), tags.sample(tag.i));
    }
    if (!document.hidden && this.range === null) this.draw();
  }
}
