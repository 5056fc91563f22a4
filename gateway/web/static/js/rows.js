/**
 * A long table of keyed rows: made once, then only what changed is touched. The rule of the file: a change of one row
 * costs one row. Rows out of sight are not laid out (content-visibility), so a thousand of them stay smooth, can be found
 * with the browser's own search, and print.
 *
 * In a box of middle width the columns marked `wide` are left out. In a narrow box a row is a card: the first two columns are its head, the others follow with their titles.
 */

import { h, icon, setAttribute, setOrder, setText } from "./dom.js";

/**
 * @template T
 * @typedef {object} Column
 * @property {string} key
 * @property {string} title
 * @property {string} width as in grid-template-columns
 * @property {boolean} [num] stands right
 * @property {boolean} [wide] left out where there is less room
 * @property {boolean} [live] greyed while there is no connection
 * @property {string} [hint] more about the title
 * @property {(row: T) => Node | null} [make] what stands in the cell; default: text
 * @property {(cell: HTMLElement, row: T) => void} [paint] bring it up to date; called after `make`, too
 * @property {(row: T) => string} [text] instead of both
 * @property {(row: T) => string | number} [sort] what is sorted by; without it the column is not sortable
 * @property {boolean} [big] the largest first when sorted first
 */

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
/** Sorted by a number that changes all the time, rows move no more often than this. */
const SORT_MS = 2_000;

/** @template T */
export class Rows {
  /**
   * @param {string} label for readers
   * @param {Column<T>[]} columns
   * @param {{keyOf: (row: T) => string, compare: (a: T, b: T) => number, className?: string,
   *   stateOf?: (row: T) => string}} options `compare`: the order without a sorted column; `stateOf`: a class of the row
   */
  constructor(label, columns, { keyOf, compare, className = "", stateOf }) {
    this._columns = columns;
    this._keyOf = keyOf;
    this._compare = compare;
    this._stateOf = stateOf;
    /** @type {Map<string, {row: T, element: HTMLElement, cells: HTMLElement[], isShown: boolean}>} */
    this._entries = new Map();
    /** @type {(row: T) => boolean} */
    this._filter = () => true;
    this._sortedBy = /** @type {Column<T> | null} */ (null);
    this._descending = false;
    this._sorted_ms = 0;
    this.shown = 0;
    this._head = h("div", { class: "row header", role: "row" }, ...columns.map((column) => this._title(column)));
    this._body = h("div", { role: "rowgroup" });
    const head = h("div", { role: "rowgroup" }, this._head);
    this.element = h("div", { class: `rows ${className}`, role: "table", "aria-label": label }, head, this._body);
    const widths = (/** @type {Column<T>[]} */ shown) => shown.map((column) => column.width).join(" ");
    this.element.style.setProperty("--columns", widths(columns));
    this.element.style.setProperty("--fewer-columns", widths(columns.filter((column) => !column.wide)));
  }

  /** All rows anew: those that stay keep their element. @param {Iterable<T>} rows */
  set(rows) {
    const gone = new Set(this._entries.keys());
    for (const row of rows) {
      const key = this._keyOf(row);
      gone.delete(key);
      this._put(key, row);
    }
    for (const key of gone) this._entries.delete(key);
    this._arrange();
  }

  /** These rows have changed, or are new, or (null) are gone. @param {Iterable<[string, T | null]>} changed */
  change(changed) {
    let moved = false;
    for (const [key, row] of changed) {
      const entry = this._entries.get(key);
      if (row === null) {
        moved = this._entries.delete(key) || moved;
      } else if (entry === undefined) {
        this._put(key, row);
        moved = true;
      } else {
        const before = entry.row;
        this._put(key, row);
        moved ||= this._sortedBy === null && this._compare(before, row) !== 0;
        moved ||= entry.isShown !== this._filter(row);
      }
    }
    if (moved || (this._sortedBy !== null && Date.now() - this._sorted_ms > SORT_MS)) this._arrange();
  }

  /** @param {(row: T) => boolean} filter */
  filter(filter) {
    this._filter = filter;
    this._arrange();
  }

  get size() {
    return this._entries.size;
  }

  /** @param {string} key @param {T} row */
  _put(key, row) {
    let entry = this._entries.get(key);
    if (entry === undefined) {
      const cells = this._columns.map((column) => {
        const cell = h("div", {
          class: `cell k-${column.key}${column.num ? " num" : ""}${column.live ? " live" : ""}${column.wide ? " wide" : ""}`,
          role: "cell",
          data: { label: column.title },
        });
        const made = column.make?.(row);
        if (made) cell.append(made);
        return cell;
      });
      entry = {
        row,
        element: h("div", { class: "row body", role: "row", data: { key } }, ...cells),
        cells,
        isShown: true,
      };
      this._entries.set(key, entry);
    }
    entry.row = row;
    if (this._stateOf) setAttribute(entry.element, "data-state", this._stateOf(row));
    this._columns.forEach((column, at) => {
      const cell = /** @type {any} */ (entry).cells[at];
      if (column.text) setText(cell, column.text(row));
      column.paint?.(cell, row);
    });
  }

  /** The right rows in the right order. */
  _arrange() {
    this._sorted_ms = Date.now();
    const shown = [];
    for (const entry of this._entries.values()) {
      entry.isShown = this._filter(entry.row);
      if (entry.isShown) shown.push(entry);
    }
    const column = this._sortedBy;
    const sign = this._descending ? -1 : 1;
    const by = column?.sort;
    shown.sort((a, b) => (by ? sign * compareValues(by(a.row), by(b.row)) : 0) || this._compare(a.row, b.row));
    this.shown = shown.length;
    const elements = shown.map((entry) => entry.element);
    const focused = this._body.contains(document.activeElement) ? document.activeElement : null;
    setOrder(this._body, elements);
    // What is moved loses the focus; whoever works with the keys keeps it.
    if (focused instanceof HTMLElement && focused !== document.activeElement && focused.isConnected)
      focused.focus({ preventScroll: true });
    setAttribute(this.element, "aria-rowcount", String(shown.length + 1));
  }

  /** @param {Column<T>} column */
  _title(column) {
    const name = `${column.num ? "num" : ""}${column.wide ? " wide" : ""}`;
    const cell = h("div", { class: name, role: "columnheader", title: column.hint });
    if (!column.sort) {
      cell.append(column.title);
      return cell;
    }
    const button = h(
      "button",
      { type: "button", on: { click: () => this._sortBy(column) } },
      column.title,
      icon("sort"),
    );
    cell.append(button);
    return cell;
  }

  /** The first way, the other way, then as it was: what is wrong first. @param {Column<T>} column */
  _sortBy(column) {
    const first = Boolean(column.big);
    if (this._sortedBy !== column) {
      this._sortedBy = column;
      this._descending = first;
    } else if (this._descending === first) this._descending = !first;
    else this._sortedBy = null;
    this._columns.forEach((each, at) => {
      const way = this._descending ? "descending" : "ascending";
      setAttribute(this._head.children[at], "aria-sort", each === this._sortedBy ? way : null);
    });
    this._arrange();
  }
}

/** @param {string | number} a @param {string | number} b */
function compareValues(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
}

/** Names as people sort them: `press2` before `press10`. @param {string} a @param {string} b */
export const compareNames = (a, b) => collator.compare(a, b);
