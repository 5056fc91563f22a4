/**
 * Every tag with its value as it is now: searched, sorted, opened, written.
 *
 * The rule of the file: only rows in sight cost anything. Changes come for all tags, but a row that nobody sees is not
 * touched; what a tag was in the last minutes is asked for the rows in sight alone. Rows do not change places under a
 * hand: while the pointer or the focus is in the table its order rests.
 */

import { fill, h, icon, setAttribute, setText } from "../dom.js";
import { Recent, SPAN_MS } from "../spark.js";
import { nameOf, TagIndex } from "../tagindex.js";
import { atEnds, numeric } from "../trenddata.js";
import { VirtualGrid } from "../virtual.js";
import { openDetail } from "./tagdetail.js";
import { COLUMNS, TagRows } from "./tagrows.js";

/** Ages run on between changes. */
const TICK_MS = 1_000;
/** The order by value, quality or age is made anew this often, while nobody points at a row. */
const RESORT_MS = 2_000;
/** What is scrolled past is not asked for. */
const REST_MS = 150;
/** Tags in one question about the past: its address stays short. */
const PAST_TAGS = 40;
const PAST_POINTS = 100;
const MOVES = new Set(["value", "quality", "age"]);

export const shortcuts = [
  ["↑ ↓", "from row to row (also PgUp, PgDn, Home, End)"],
  ["Enter", "open the tag of the row; Esc closes it"],
];

/**
 * @typedef {import("../main.js").Context} Context
 * @typedef {import("../main.js").Params} Params
 * @typedef {import("../store.js").Tag} Tag
 */

/** @param {HTMLElement} root @param {Params} params @param {Context} context */
export async function open(root, params, context) {
  const view = new TagsView(root, params, context);
  return { close: () => view.close(), update: (/** @type {Params} */ next) => view.update(next) };
}

class TagsView {
  /** @param {HTMLElement} root @param {Params} params @param {Context} context */
  constructor(root, params, context) {
    this.root = root;
    this.context = context;
    this.index = new TagIndex([]);
    this.recent = new Recent();
    /** @type {import("../tagindex.js").Wish} */
    this.wish = {};
    /** @type {ReturnType<typeof openDetail> | null} */
    this.detail = null;
    this.isClosed = false;
    this.asking = false;
    this.rest = 0;

    this.count = h("p", { class: "head-note muted", "aria-live": "polite" });
    this.search = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "search",
        placeholder: "Name, unit or address",
        "aria-label": "Search tags: words of device, name, unit, type or address",
        "data-search": true,
        spellcheck: "false",
        autocomplete: "off",
        on: {
          input: () => this.change({ words: this.search.value }),
          keydown: (/** @type {KeyboardEvent} */ e) => this.fromSearch(e),
        },
      })
    );
    /** @type {Map<string, HTMLElement>} */
    this.only = new Map(
      [
        ["", "All"],
        ["wrong", "Not good"],
        ["write", "Writable"],
      ].map(([only, text]) => [
        only,
        h("button", { type: "button", on: { click: () => this.change({ only }) } }, text, h("span", { class: "n" })),
      ]),
    );
    this.sorting = /** @type {HTMLSelectElement} */ (
      h(
        "select",
        {
          class: "select tags-sorting",
          "aria-label": "Sort by",
          on: { change: () => this.sortBy(this.sorting.value) },
        },
        ...COLUMNS.filter((column) => column.sorts).map((column) =>
          h("option", { value: column.key }, `by ${column.title.toLowerCase()}`),
        ),
      )
    );
    this.device = h("button", {
      type: "button",
      class: "button small",
      title: "Show all devices",
      hidden: true,
      on: { click: () => this.change({ device: "" }) },
    });
    this.empty = h("div", { class: "empty", hidden: true });
    this.table = h("div", { class: "panel tags-table" });
    this.aside = h("div", { class: "tags-aside" });
    fill(
      root,
      h("header", { class: "head" }, h("h1", {}, "Tags"), this.count),
      h(
        "div",
        { class: "tools" },
        h("div", { class: "search" }, icon("search"), this.search, h("kbd", { "aria-hidden": "true" }, "/")),
        h("div", { class: "segments", role: "group", "aria-label": "Show" }, ...this.only.values()),
        this.device,
        this.sorting,
      ),
      h("div", { class: "tags-split" }, this.table, this.aside),
    );
    this.rows = new TagRows(context, this.recent, (i) => void this.write(i));
    this.grid = new VirtualGrid(this.table, {
      label: "Tags",
      columns: COLUMNS,
      make: (key, cell) => this.rows.make(key, cell),
      paint: (i, cells, row) => this.rows.paint(i, cells, row),
      onOpen: (i) => this.show(i),
      onSort: (key) => this.sortBy(key),
      onSeen: () => this.seen(),
    });
    this.table.append(this.empty);

    this.table.addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
    this.update(params);
    this.leave = [
      context.tags.open((changed) => this.changed(changed)),
      context.live.onStatus(() => this.grid.repaint()),
    ];
    this.ticks = [setInterval(() => this.tick(), TICK_MS), setInterval(() => this.resort(), RESORT_MS)];
    this.onLook = () => {
      this.rows.look();
      this.grid.repaint();
    };
    document.addEventListener("themechange", this.onLook);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", this.onLook);
  }

  close() {
    this.isClosed = true;
    for (const leave of this.leave) leave();
    for (const tick of this.ticks) clearInterval(tick);
    clearTimeout(this.rest);
    document.removeEventListener("themechange", this.onLook);
    this.dark.removeEventListener("change", this.onLook);
    this.detail?.close();
    this.grid.close();
  }

  // -- what is shown ----------------------------------------------------------------------------------------------

  /** The address says what is searched, sorted and open: it can be sent to a colleague. @param {Params} params */
  update({ query }) {
    this.wish = {
      words: query.get("q") ?? "",
      device: query.get("device") ?? "",
      only: query.get("only") ?? "",
      key: COLUMNS.some((column) => column.sorts && column.key === query.get("sort"))
        ? /** @type {string} */ (query.get("sort"))
        : "tag",
      descending: query.get("down") === "1",
    };
    this.search.value = this.wish.words ?? "";
    this.wanted = query.get("tag");
    this.arrange(true);
    this.openWanted();
  }

  /** @param {import("../tagindex.js").Wish} wish */
  change(wish) {
    Object.assign(this.wish, wish);
    this.remember();
    this.arrange(true);
  }

  /** @param {string} key */
  sortBy(key) {
    this.change({ key, descending: this.wish.key === key && !this.wish.descending });
  }

  remember() {
    const { words, device, only, key, descending } = this.wish;
    const query = new URLSearchParams();
    if (words) query.set("q", words);
    if (device) query.set("device", device);
    if (only) query.set("only", only);
    if (key && key !== "tag") query.set("sort", key);
    if (descending) query.set("down", "1");
    if (this.wanted) query.set("tag", this.wanted);
    const text = query.toString();
    history.replaceState(null, "", `#/tags${text ? `?${text}` : ""}`);
  }

  /** Search and sort anew. @param {boolean} [toTop] */
  arrange(toTop = false) {
    const start = performance.now();
    const ids = this.index.order(this.wish, (i) => this.context.tags.sample(i));
    performance.clearMeasures("tags:order");
    performance.measure("tags:order", { start, end: performance.now() });
    this.grid.setSorted(this.wish.key ?? "tag", this.wish.descending ?? false);
    if (toTop) this.grid.root.scrollTop = 0;
    this.grid.setOrder(ids);
    this.sorting.value = this.wish.key ?? "tag";
    for (const [only, chip] of this.only) setAttribute(chip, "aria-pressed", String((this.wish.only ?? "") === only));
    this.device.hidden = !this.wish.device;
    fill(this.device, `only ${this.wish.device}`, icon("close"));
    this.showCounts();
  }

  showCounts() {
    const { format, tags } = this.context;
    const all = this.index.tags;
    let wrong = 0;
    let writable = 0;
    for (const tag of all) {
      if (tags.sample(tag.i).quality !== "good") wrong++;
      if (tag.write) writable++;
    }
    for (const [only, count] of /** @type {const} */ ([
      ["", all.length],
      ["wrong", wrong],
      ["write", writable],
    ]))
      setText(/** @type {Element} */ (this.only.get(only)?.querySelector(".n")), format.count(count));
    const shown = this.grid.ids.length;
    const isLoaded = tags.isLoaded;
    setText(
      this.count,
      !isLoaded
        ? "loading…"
        : shown === all.length
          ? format.counted(shown, "tag")
          : `${format.count(shown)} of ${format.counted(all.length, "tag")}`,
    );
    this.empty.hidden = !isLoaded || shown > 0;
    if (!this.empty.hidden)
      fill(
        this.empty,
        h(
          "p",
          {},
          all.length === 0
            ? "This plant has no tags. Devices get them under `tags` in the plant's file."
            : "No tag fits.",
        ),
        all.length > 0 &&
          h("button", { type: "button", class: "button", on: { click: () => this.clear() } }, "Show all"),
      );
  }

  clear() {
    this.search.value = "";
    this.change({ words: "", only: "", device: "" });
    this.search.focus();
  }

  /** From the field into the rows. @param {KeyboardEvent} event */
  fromSearch(event) {
    if (event.key !== "ArrowDown" && event.key !== "Enter") return;
    event.preventDefault();
    this.grid.root.focus();
    this.grid.setActive(Math.max(0, this.grid.active));
  }

  // -- what changes -----------------------------------------------------------------------------------------------

  /** @param {number[] | null} changed */
  changed(changed) {
    const { tags, api } = this.context;
    if (changed === null) {
      this.index = new TagIndex(tags.tags.values());
      this.recent.clear(); // an index may be another tag's now
      this.arrange();
      this.openWanted();
    } else {
      for (const i of changed) if (this.recent.has(i)) this.recent.add(i, ...point(tags.sample(i), api.now()));
      if (!document.hidden) this.grid.repaint();
    }
    this.detail?.refresh();
  }

  tick() {
    if (document.hidden || !this.context.tags.isLoaded) return;
    this.grid.repaint();
    this.detail?.refresh();
    this.showCounts();
  }

  resort() {
    if (document.hidden || (!MOVES.has(this.wish.key ?? "") && this.wish.only !== "wrong")) return;
    if (this.table.matches(":hover, :focus-within")) return;
    this.arrange();
  }

  seen() {
    clearTimeout(this.rest);
    this.rest = window.setTimeout(() => void this.loadPast(), REST_MS);
  }

  /** What the rows in sight were in the last minutes. */
  async loadPast() {
    const { api, tags } = this.context;
    const missing = this.grid.seen().filter((i) => !this.recent.has(i) && hasLine(tags.tags.get(i)));
    if (missing.length === 0 || this.asking || this.isClosed) return;
    this.asking = true;
    const { index } = this;
    const ids = missing.slice(0, PAST_TAGS);
    const names = ids.map((i) => `tag=${encodeURIComponent(nameOf(/** @type {Tag} */ (tags.tags.get(i))))}`);
    const to = Math.ceil(api.now());
    const answer = await api
      .get(`trends?${names.join("&")}&from=${to - SPAN_MS}&to=${to}&points=${PAST_POINTS}`)
      .catch(() => ({ series: [] })); // no memory of it: the line begins now
    this.asking = false;
    if (this.isClosed) return;
    if (this.index !== index) return this.seen(); // a reload came between
    const found = new Map(answer.series.map((/** @type {any} */ line) => [line.tag, line]));
    for (const i of ids) {
      const tag = tags.tags.get(i);
      if (tag === undefined) continue;
      const line = found.get(nameOf(tag));
      this.recent.load(i, atEnds(line?.t ?? [], to), (line?.last ?? []).map(numeric));
      this.recent.add(i, ...point(tags.sample(i), api.now()));
    }
    this.grid.repaint();
    this.detail?.refresh();
    if (missing.length > ids.length) this.seen();
  }

  // -- a tag ------------------------------------------------------------------------------------------------------

  openWanted() {
    if (!this.context.tags.isLoaded) return;
    const tag = this.wanted ? this.index.byName.get(this.wanted) : undefined;
    if (tag === undefined) this.hide();
    else if (JSON.stringify(this.detail?.tag) !== JSON.stringify(tag)) {
      this.grid.reveal(tag.i);
      this.show(tag.i);
    }
  }

  /** @param {number} i */
  show(i) {
    const tag = this.context.tags.tags.get(i);
    if (tag === undefined) return;
    const isOpen = this.detail !== null;
    this.detail?.close();
    this.detail = openDetail(this.aside, tag, this);
    if (!isOpen) this.root.classList.add("has-detail");
    this.wanted = nameOf(tag);
    this.remember();
  }

  hide() {
    if (this.detail === null) return;
    const isInside = this.aside.contains(document.activeElement);
    this.detail.close();
    this.detail = null;
    this.root.classList.remove("has-detail");
    this.wanted = null;
    this.remember();
    if (isInside) this.grid.root.focus();
  }

  /** @param {number} i */
  async write(i) {
    const tag = this.context.tags.tags.get(i);
    if (tag === undefined) return;
    const { writeTag } = await import("../writedialog.js");
    await writeTag(tag, this.context);
  }
}

/** @param {Tag | undefined} tag */
const hasLine = (tag) => tag !== undefined && tag.type !== "string";

/**
 * A sample as a point of a line.
 * @param {import("../store.js").Sample} sample
 * @param {number} now_ms
 * @returns {[number, number | null]}
 */
function point(sample, now_ms) {
  return sample.quality === "good" ? [sample.time_ms ?? now_ms, numeric(sample.value)] : [now_ms, null];
}
