/** What is drawn, line by line: its mark, its value now or under the pointer, its quality, its least and greatest. */

import { strokeOf } from "../chart.js";
import { fill, h, icon, setAttribute, setText } from "../dom.js";
import { makeQuality, showQuality, showValue } from "../tagvalue.js";

/**
 * @typedef {import("../store.js").Tag} Tag
 * @typedef {object} Owner the view
 * @property {import("../main.js").Context} context
 * @property {import("../trenddata.js").TrendData} data
 * @property {(name: string) => Tag | undefined} tag
 * @property {() => [number, number]} shown the ends of what is seen, in ms
 * @property {(name: string, at: number) => boolean} toggle whether the line is shown then
 * @property {(name: string) => void} remove
 */

export class TrendLegend {
  /** @param {Owner} owner */
  constructor(owner) {
    this.owner = owner;
    /** The time under the pointer; null: now. @type {number | null} */
    this.cursor = null;
    /** @type {Map<string, ReturnType<TrendLegend["newRow"]>>} */
    this.rows = new Map();
    this.when = h("th", { scope: "col", class: "num" });
    this.body = h("tbody", {});
    const head = h(
      "tr",
      {},
      h("th", { scope: "col" }, "Tag"),
      this.when,
      h("th", { scope: "col", class: "trend-quality" }, "Quality now"),
      h("th", { scope: "col", class: "num trend-extent" }, "Least to greatest seen"),
      h("th", {}, h("span", { class: "sr" }, "do")),
    );
    this.root = h("table", { class: "table trend-legend" }, h("thead", {}, head), this.body);
  }

  /** Other lines. @param {string[]} names @param {Set<string>} hidden */
  set(names, hidden) {
    this.rows = new Map(names.map((name, at) => [name, this.newRow(name, at, !hidden.has(name))]));
    fill(this.body, ...[...this.rows.values()].map(({ root }) => root));
  }

  /** @param {string} name @param {number} at @param {boolean} isShown */
  newRow(name, at, isShown) {
    const { color, dash } = strokeOf(at);
    const mark = h("span", { class: "trend-mark", "aria-hidden": "true" });
    mark.style.borderTopColor = color;
    mark.style.borderTopStyle = dash ? "dashed" : "solid";
    const toggle = () => setAttribute(shows, "aria-pressed", String(this.owner.toggle(name, at)));
    const shows = h(
      "button",
      {
        type: "button",
        class: "trend-show",
        title: "Show or hide",
        "aria-pressed": String(isShown),
        on: { click: toggle },
      },
      mark,
      h("span", { class: "trend-name" }, name),
    );
    const value = h("span", { class: "tag-value live" });
    const unit = h("span", { class: "muted" });
    const quality = makeQuality();
    const extent = h("td", { class: "num trend-extent" });
    const drop = {
      type: "button",
      class: "icon-button",
      "aria-label": `Remove ${name}`,
      title: "Remove",
      on: { click: () => this.owner.remove(name) },
    };
    const link = {
      href: `#/tags?tag=${encodeURIComponent(name)}`,
      class: "trend-link",
      title: "The tag",
      "aria-label": `The tag ${name}`,
    };
    const root = h(
      "tr",
      {},
      h("td", {}, shows),
      h("td", { class: "num" }, value, " ", unit),
      h("td", { class: "trend-quality" }, quality.root),
      extent,
      h("td", {}, h("span", { class: "trend-does" }, h("a", link, icon("chevron")), h("button", drop, icon("close")))),
    );
    return { root, value, unit, quality, extent };
  }

  /** The time under the pointer. @param {number | null} ms */
  point(ms) {
    if (this.cursor === ms) return;
    this.cursor = ms;
    this.show();
  }

  show() {
    const { context, data } = this.owner;
    const { tags, live, format } = context;
    const [from, to] = this.owner.shown();
    setText(this.when, this.cursor === null ? "Value now" : `At ${format.time(this.cursor)}`);
    for (const [name, row] of this.rows) {
      const tag = this.owner.tag(name);
      const now = tag ? tags.sample(tag.i) : NO_TAG;
      showQuality(row.quality, now);
      if (this.cursor === null) showValue(row.value, now, live.isLive, tag);
      else {
        const then = data.at(name, this.cursor);
        const value = tag?.type === "bool" && then !== null ? then >= 0.5 : then;
        showValue(row.value, { ...now, value, quality: "good" }, true, tag); // memory has good values only
      }
      setText(row.unit, tag?.unit ?? "");
      const extent = tag?.type === "bool" ? null : data.extent(name, from, to);
      setText(row.extent, extent === null ? "–" : `${format.value(extent.low, tag)} to ${format.value(extent.high, tag)}`);
    }
  }
}

/** @type {import("../store.js").Sample} */
const NO_TAG = { value: null, quality: "bad", time_ms: null, cause: "no such tag" };
