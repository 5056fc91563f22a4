/** One place of the image: all types and orders it may be, and which tag lies there. */

import {
  binary,
  BIT_TABLES,
  characters,
  decode,
  exceptionText,
  hex,
  jump,
  numberText,
  ORDERS,
  place,
  WIDTHS,
} from "../decode.js";
import { fill, h, setAttribute, setText } from "../dom.js";
import { nameOf } from "../tagindex.js";

const ONE = ["uint16", "int16", "bcd16"];
const TWO = ["float32", "int32", "uint32"];
const MORE = ["bcd32", "float64", "int64", "uint64"];

const HELD = "Held: too old. A client that reads it gets it all the same (`on_stale`).";
const NEXT_HELD = "Registers behind it are held: too old, and served all the same (`on_stale`).";

/** @typedef {import("../store.js").Tag} Tag */

export class Inspector {
  /** @param {import("../main.js").Context} context */
  constructor(context) {
    this.context = context;
    this.shown = "";
    this.isMore = false;
    /**
     * The last answer of `places`, until the tags are loaded anew.
     * @type {{key: string, tags: any, found: Map<number, Tag>}}
     */
    this.known = { key: "", tags: null, found: new Map() };
    this.title = h("h2", { class: "mono" });
    this.body = h("div", { class: "reg-inspected" });
    this.root = h(
      "aside",
      { class: "panel reg-inspector", "aria-label": "The selected register" },
      h("header", {}, this.title),
      this.body,
    );
  }

  /** Address -> tag, of a table of the image. @param {number} unit @param {string} table */
  places(unit, table) {
    const { tags } = this.context.tags;
    const key = `${unit}/${table}`;
    if (this.known.key === key && this.known.tags === tags) return this.known.found;
    /** @type {Map<number, Tag>} */
    const found = new Map();
    this.known = { key, tags, found };
    for (const tag of tags.values()) {
      const lies = placed(tag);
      if (lies === null || lies.table !== table || (lies.unit ?? unit) !== unit) continue;
      for (let at = lies.address; at < lies.address + lies.width; at++) found.set(at, tag);
    }
    return found;
  }

  /**
   * @param {number} unit
   * @param {string} table
   * @param {number} address -1: none
   * @param {{first: number, values: (number | null)[], codes: number[], held: boolean[]} | null} image
   */
  show(unit, table, address, image) {
    setAttribute(this.root, "data-chosen", address < 0 ? "no" : "yes");
    if (address < 0) {
      setText(this.title, "No register chosen");
      this.shown = "";
      fill(
        this.body,
        h(
          "p",
          { class: "muted" },
          "Choose a cell to see what it is as every type, in every byte order, and which tag lies there.",
        ),
      );
      return;
    }
    setText(this.title, place(table, address));
    const at = image === null ? -1 : address - image.first;
    const here = image === null || at < 0 || at >= image.values.length ? [] : image.values.slice(at, at + 4);
    const code = image?.codes[at] ?? 0;
    const held = here.map((_, next) => Boolean(image?.held[at + next]));
    const tag = this.places(unit, table).get(address);
    const now = JSON.stringify([unit, table, address, here, code, held, tag]);
    if (now === this.shown) return; // nothing is touched that somebody may be selecting
    this.shown = now;
    const parts = [h("p", { class: "muted" }, `unit ${unit}, 0x${hex(address)}`)];
    if (tag)
      parts.push(
        h(
          "p",
          {},
          "Tag ",
          h("a", { href: `#/tags?tag=${encodeURIComponent(nameOf(tag))}` }, nameOf(tag)),
          `, ${tag.type}`,
        ),
      );
    if (code)
      parts.push(h("p", { class: "reg-exception" }, `No value. A client that reads it gets ${exceptionText(code)}.`));
    if (held.includes(true)) parts.push(h("p", { class: "reg-exception" }, held[0] ? HELD : NEXT_HELD));
    setAttribute(this.body, "data-held", code || !held.includes(true) ? null : held[0] ? "this" : "next");
    if (!code && here.length && BIT_TABLES.has(table))
      parts.push(h("p", { class: "reg-bit" }, here[0] ? "1 (on)" : "0 (off)"));
    else if (!code && here.length && here[0] !== null) parts.push(...this.registersAs(here));
    fill(this.body, ...parts);
  }

  /** @param {(number | null)[]} here */
  registersAs(here) {
    const word = /** @type {number} */ (here[0]);
    const as = (/** @type {string} */ type, /** @type {string} */ order) =>
      numberText(decode(fillUp(here, WIDTHS[type]), type, order), type) || "–";
    const one = h(
      "dl",
      { class: "reg-one" },
      row("hex", `0x${hex(word)}`),
      row("binary", binary(word)),
      ...ONE.map((type) => row(type, as(type, "ABCD"))),
      row("text", `${characters([word], "ABCD")}  swapped ${characters([word], "BADC")}`),
    );
    const head = h(
      "tr",
      {},
      h("th", {}, h("span", { class: "sr" }, "order")),
      ...TWO.map((type) => h("th", { scope: "col" }, type)),
    );
    const rows = ORDERS.map((order) =>
      h(
        "tr",
        {},
        h("th", { scope: "row", class: "mono" }, order),
        ...TWO.map((type) => h("td", { class: "mono" }, as(type, order))),
      ),
    );
    const table = h("table", { class: "reg-all" }, h("thead", {}, head), h("tbody", {}, ...rows));
    const list = MORE.flatMap((type) => ORDERS.map((order) => row(`${type} ${order}`, as(type, order))));
    const more = h(
      "details",
      { open: this.isMore },
      h("summary", {}, "Four registers, and BCD"),
      h("dl", { class: "reg-one" }, ...list),
    );
    more.addEventListener("toggle", () => (this.isMore = /** @type {HTMLDetailsElement} */ (more).open));
    return [one, h("div", { class: "reg-two" }, h("h3", {}, "Two registers"), table, more)];
  }
}

/** @param {string} name @param {string} text */
const row = (name, text) => h("div", {}, h("dt", {}, name), h("dd", { class: "mono" }, text));

/** @param {(number | null)[]} here @param {number} width */
const fillUp = (here, width) => Array.from({ length: width }, (_, at) => here[at] ?? null);

/** Where a tag lies in the image. @param {Tag & {as?: string | null}} tag */
function placed(tag) {
  if (!tag.to) return null;
  const text = tag.to.replace(/\s.*$/, "");
  const range = /^(.*?)(?:\.\.(\d+)|\.\d+)?$/.exec(text);
  const goal = jump(range?.[1] ?? text, "holding");
  if ("error" in goal) return null;
  const stop = range?.[2] === undefined ? null : Number(range[2]) + 1;
  const isBit = BIT_TABLES.has(goal.table) || tag.type === "bool";
  const width =
    stop !== null ? stop - goal.address : isBit ? 1 : (WIDTHS[tag.as && tag.as !== "raw" ? tag.as : tag.type] ?? 1);
  return { ...goal, width };
}
