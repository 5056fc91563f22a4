/**
 * A grid of any number of rows of one height, of which only those in sight are in the document.
 *
 * The rule of the file: it knows rows by position, not what is in them. The owner gives ids in their order and paints a
 * row's cells when asked. One pool of elements: position p always lies in slot p % size, so scrolling by one row paints
 * one row. The focus stays on the grid itself (aria-activedescendant): elements that come and go cannot lose it.
 */

import { h, setAttribute } from "./dom.js";

const OVERSCAN = 6;
/** Rows painted beyond each edge: a turn of the wheel finds them there. */
const DEFAULT_ROW_PX = 36;
let made = 0;

/**
 * @typedef {{key: string, title: string, sorts?: boolean, hint?: string}} Column
 * @typedef {{row: HTMLElement, cells: Record<string, any>, at: number, id: number}} Slot
 *
 * @typedef {object} Owner
 * @property {string} label what the grid holds, for readers
 * @property {Column[]} columns
 * @property {(key: string, cell: HTMLElement) => any} make fills a new cell; what it returns is given to `paint`
 * @property {(id: number, cells: Record<string, any>, row: HTMLElement) => void} paint
 * @property {(id: number) => void} onOpen Enter or a click
 * @property {(key: string) => void} onSort a column's head
 * @property {(ids: number[]) => void} onSeen the rows in sight may have changed
 */

export class VirtualGrid {
  /** @param {HTMLElement} parent @param {Owner} owner */
  constructor(parent, owner) {
    this.owner = owner;
    /** @type {number[]} */
    this.ids = [];
    /** The position of the row that the keys move; -1: none yet. */
    this.active = -1;
    /** @type {Slot[]} */
    this.pool = [];
    this.first = 0;
    this.stop = 0;
    this.rowPx = 0;
    this.headPx = 0;
    this.frame = 0;
    this.prefix = `grid${++made}`;

    /** @type {Map<string, HTMLElement>} */
    this.titles = new Map();
    const titles = h("div", { class: "vgrid-row vgrid-titles", role: "row", "aria-rowindex": 1 });
    owner.columns.forEach((column, at) => {
      const title = h("div", { class: `vgrid-cell c-${column.key}`, role: "columnheader", "aria-colindex": at + 1 });
      if (column.sorts) {
        const press = () => owner.onSort(column.key);
        const hint = column.hint ?? `Sort by ${column.title.toLowerCase()}`;
        const properties = { class: "vgrid-sort", type: "button", title: hint, on: { click: press } };
        title.append(h("button", properties, column.title, h("span", { class: "vgrid-arrow", "aria-hidden": "true" })));
      } else {
        title.append(column.title);
      }
      this.titles.set(column.key, title);
      titles.append(title);
    });
    this.head = h("div", { class: "vgrid-head", role: "rowgroup" }, titles);
    this.body = h("div", { class: "vgrid-body", role: "rowgroup" });
    const attributes = { class: "vgrid", role: "grid", tabindex: 0, "aria-label": owner.label };
    this.root = h("div", { ...attributes, "aria-colcount": owner.columns.length }, this.head, this.body);
    parent.append(this.root);

    this.root.addEventListener("scroll", () => this.soon(), { passive: true });
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => {
      const target = /** @type {Element} */ (event.target);
      const row = /** @type {HTMLElement | null} */ (target.closest(".vgrid-row"));
      if (row === null || target.closest("a, button") !== null) return;
      this.setActive(Number(row.dataset.at));
      owner.onOpen(this.ids[this.active]);
    });
    this.watch = new ResizeObserver(() => this.measure());
    this.watch.observe(this.root);
    this.measure();
  }

  /** Show these ids in this order. The active row stays the same id where it is still there. @param {number[]} ids */
  setOrder(ids) {
    const active = this.ids[this.active];
    this.ids = ids;
    this.active = active === undefined ? -1 : ids.indexOf(active);
    this.root.setAttribute("aria-rowcount", String(ids.length + 1));
    this.body.style.height = `${ids.length * this.rowPx}px`;
    this.forget();
    this.paint();
  }

  /** Say which column is sorted, to eyes and ears. @param {string} key @param {boolean} descending */
  setSorted(key, descending) {
    for (const [name, title] of this.titles) {
      setAttribute(title, "aria-sort", name === key ? (descending ? "descending" : "ascending") : null);
    }
  }

  /**
   * Paint the rows in sight of which `changed(id)` is true; without it all.
   * @param {(id: number) => boolean} [changed]
   */
  repaint(changed) {
    for (const slot of this.pool) {
      if (slot.at >= 0 && (changed === undefined || changed(slot.id))) this.owner.paint(slot.id, slot.cells, slot.row);
    }
  }

  /** The ids of the rows that are in the document. */
  seen() {
    return this.ids.slice(this.first, this.stop);
  }

  /**
   * Make the row of this id the active one and bring it into sight; false: it is not in the list.
   * @param {number} id
   */
  reveal(id) {
    const at = this.ids.indexOf(id);
    if (at >= 0) this.setActive(at);
    return at >= 0;
  }

  close() {
    this.watch.disconnect();
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  /** The height of rows is the style's (--row-px), so that narrow screens may have taller ones. */
  measure() {
    const rowPx = parseFloat(getComputedStyle(this.root).getPropertyValue("--row-px")) || DEFAULT_ROW_PX;
    this.headPx = this.head.offsetHeight;
    if (rowPx !== this.rowPx) {
      const top = this.rowPx ? this.root.scrollTop / this.rowPx : 0;
      this.rowPx = rowPx;
      this.body.style.height = `${this.ids.length * rowPx}px`;
      this.root.scrollTop = top * rowPx;
      this.forget();
    }
    const needed = Math.ceil(this.root.clientHeight / rowPx) + 2 * OVERSCAN;
    if (needed > this.pool.length) {
      while (this.pool.length < needed) this.pool.push(this.newSlot());
      this.forget(); // p % size has changed for all
    }
    this.paint();
  }

  /** No slot shows what it should any more. */
  forget() {
    for (const slot of this.pool) slot.at = -1;
  }

  /** @returns {Slot} */
  newSlot() {
    const row = h("div", { class: "vgrid-row", role: "row", hidden: true });
    /** @type {Record<string, any>} */
    const cells = {};
    this.owner.columns.forEach((column, at) => {
      const cell = h("div", { class: `vgrid-cell c-${column.key}`, role: "gridcell", "aria-colindex": at + 1 });
      cells[column.key] = this.owner.make(column.key, cell);
      row.append(cell);
    });
    this.body.append(row);
    return { row, cells, at: -1, id: -1 };
  }

  /** Paint once before the next picture, however many scroll events come. */
  soon() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    const size = this.pool.length;
    if (size === 0) return;
    const top = Math.floor(this.root.scrollTop / this.rowPx);
    this.first = Math.max(0, Math.min(top - OVERSCAN, this.ids.length - size));
    this.stop = Math.min(this.first + size, this.ids.length);
    for (let at = this.first; at < this.stop; at++) {
      const slot = this.pool[at % size];
      if (slot.at !== at) this.place(slot, at);
    }
    for (const slot of this.pool) {
      const used = slot.at >= this.first && slot.at < this.stop;
      if (!used && !slot.row.hidden) {
        slot.row.hidden = true;
        slot.row.removeAttribute("id");
      }
      if (!used) slot.at = -1;
      const active = used && slot.at === this.active;
      slot.row.classList.toggle("is-active", active);
      setAttribute(slot.row, "aria-selected", used ? String(active) : null);
    }
    const shown = this.active >= this.first && this.active < this.stop;
    setAttribute(this.root, "aria-activedescendant", shown ? `${this.prefix}r${this.active}` : null);
    this.owner.onSeen(this.seen());
  }

  /** @param {Slot} slot @param {number} at */
  place(slot, at) {
    const { row } = slot;
    slot.at = at;
    slot.id = this.ids[at];
    row.style.transform = `translateY(${at * this.rowPx}px)`;
    row.dataset.at = String(at);
    row.setAttribute("aria-rowindex", String(at + 2));
    row.id = `${this.prefix}r${at}`;
    row.hidden = false;
    this.owner.paint(slot.id, slot.cells, row);
  }

  /** @param {number} at a position; beyond the ends: the first or last */
  setActive(at) {
    if (this.ids.length === 0) return;
    this.active = Math.max(0, Math.min(at, this.ids.length - 1));
    const top = this.active * this.rowPx;
    const room = this.root.clientHeight - this.headPx;
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    else if (top + this.rowPx > this.root.scrollTop + room) this.root.scrollTop = top + this.rowPx - room;
    this.paint();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target !== this.root) return;
    const page = Math.max(1, Math.floor((this.root.clientHeight - this.headPx) / this.rowPx) - 1);
    const from = Math.max(0, this.active);
    const goes = {
      ArrowDown: this.active + 1,
      ArrowUp: from - 1,
      PageDown: from + page,
      PageUp: from - page,
      Home: 0,
      End: this.ids.length - 1,
    };
    if (event.key in goes) this.setActive(goes[/** @type {keyof typeof goes} */ (event.key)]);
    else if (event.key === "Enter" && this.active >= 0) this.owner.onOpen(this.ids[this.active]);
    else return;
    event.preventDefault();
  }
}
