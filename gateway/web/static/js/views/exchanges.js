/** The last requests of a device and their answers, decoded; the bytes when one is opened. */

import { h, icon } from "../dom.js";
import * as format from "../format.js";

/** @typedef {import("../store.js").Row} Row */

/** The last requests and answers, newest first. What is opened stays until it is closed. */
export class Exchanges {
  constructor() {
    /** @type {Map<string, HTMLElement>} */
    this._items = new Map();
    this._list = h("ol", { class: "exchanges" });
    this._none = h("p", { class: "empty" }, "Nothing was asked yet.");
    this._hold = h("button", { class: "button small", type: "button", "aria-pressed": "false" }, icon("pause"), "Hold");
    this._hold.addEventListener("click", () =>
      this._hold.setAttribute("aria-pressed", String(this._hold.getAttribute("aria-pressed") !== "true")),
    );
    this.element = h(
      "section",
      { class: "panel", "aria-label": "Last exchanges" },
      h(
        "header",
        {},
        h("h2", {}, "Last exchanges"),
        h("p", { class: "muted" }, "newest first; open one for its bytes"),
        h("div", { class: "tools" }, this._hold),
      ),
      this._none,
      this._list,
    );
  }

  /** @param {Row[]} exchanges */
  paint(exchanges) {
    if (this._hold.getAttribute("aria-pressed") === "true" && this._items.size) return;
    const wanted = [...exchanges].sort((a, b) => b.time_ms - a.time_ms);
    const keys = new Set();
    const elements = wanted.map((each) => {
      const key = `${each.time_ms} ${each.hex_request} ${each.took_ms}`;
      keys.add(key);
      const item = this._items.get(key) ?? exchangeItem(each);
      this._items.set(key, item);
      return item;
    });
    for (const [key, item] of [...this._items]) {
      if (keys.has(key)) continue;
      if (item.querySelector("details[open]")) elements.push(item);
      else this._items.delete(key);
    }
    for (const child of [...this._list.children])
      if (!elements.includes(/** @type {HTMLElement} */ (child))) child.remove();
    elements.forEach(
      (element, at) =>
        this._list.children[at] !== element && this._list.insertBefore(element, this._list.children[at] ?? null),
    );
    this._none.hidden = elements.length > 0;
  }
}

/** @param {Row} each */
function exchangeItem(each) {
  const took = format.isNumber(each.took_ms) ? format.span(each.took_ms / 1000) : format.NONE;
  const isBad = Boolean(each.error) || String(each.answer ?? "").startsWith("exception");
  const sign = icon(each.error ? "down" : isBad ? "stale" : "good", "icon sign");
  const summary = h(
    "summary",
    { class: isBad ? "bad" : "" },
    icon("chevron", "icon twist"),
    h("span", { class: "when" }, format.timeMs(each.time_ms)),
    h("span", { class: "asked" }, `unit ${each.unit}: ${each.request}`),
    h(
      "span",
      { class: `answered ${each.error ? "bad-text" : isBad ? "warn-text" : ""}` },
      sign,
      h("span", {}, each.error || each.answer),
    ),
    h("span", { class: "took num" }, took),
  );
  const bytes = h(
    "dl",
    { class: "bytes mono" },
    h("dt", {}, "request"),
    h("dd", {}, each.hex_request ? format.hex(each.hex_request) : format.NONE),
    h("dt", {}, "answer"),
    h("dd", {}, each.hex_answer ? format.hex(each.hex_answer) : "none"),
  );
  return h("li", {}, h("details", {}, summary, bytes));
}
