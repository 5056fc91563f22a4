/**
 * The cells of a page of the image: as many in a row as there is room for, one of them chosen, those that changed lit.
 *
 * The rule of the file: a cell that cannot be read shows the exception's code and is marked by it (`data-code`); the
 * style never lets it look like a number. A value that is held although it is too old (`data-held`) is struck through.
 * Only cells that show something else are touched.
 */

import {
  binary,
  BIT_TABLES,
  cellText,
  decode,
  exceptionText,
  hex,
  numberText,
  place,
  reference,
  WIDTHS,
} from "../decode.js";
import { fill, h, setAttribute, setText } from "../dom.js";

/** Cells of one page: 16 rows of 16. */
export const PAGE = 256;
export const LAST = 65_535;
/** Registers in a row: the most that there is room for. */
const ROWS = [16, 8, 4, 2];
/** Characters of a float32 in such a cell. */
const FLOAT_ROOM = 10;
/** Of a value that is too old. */
const HELD = "held: too old";
/** What a cell may show, the registers it takes, and the room it needs. */
export const VIEWS = [
  { key: "hex", title: "Hex", takes: 1, px: 35 },
  { key: "uint16", title: "Unsigned", takes: 1, px: 44 },
  { key: "int16", title: "Signed", takes: 1, px: 46 },
  { key: "float32", title: "Float32", takes: 2, px: 84 },
  { key: "int32", title: "Int32", takes: 2, px: 88 },
  { key: "binary", title: "Binary", takes: 1, px: 136 },
];
const BITS = { key: "bits", title: "Bits", takes: 1, px: 26 };

/**
 * @typedef {{unit: number, table: string, first: number, view: string, order: string, odd: boolean}} Wish what is shown
 * @typedef {{first: number, values: (number | null)[], codes: number[], held: boolean[]}} Image what was read
 * @typedef {{address: number, width: number, element: HTMLElement, full: string}} Cell
 * @typedef {{onChoose: (address: number) => void, onPage: (pages: number) => void,
 *   tags: (unit: number, table: string) => Map<number, unknown>}} Owner
 */

/** How the cells of this table are shown. @param {Wish} wish */
export const viewOf = ({ table, view }) =>
  BIT_TABLES.has(table) ? BITS : (VIEWS.find((each) => each.key === view) ?? VIEWS[0]);

export class RegisterTable {
  /** @param {Owner} owner @param {Wish} wish */
  constructor(owner, wish) {
    this.owner = owner;
    this.wish = wish;
    this.selected = -1;
    this.perRow = 0;
    /** @type {Cell[]} */
    this.cells = [];
    /** @type {Image | null} */
    this.image = null;
    this.root = h("div", { class: "reg-table", role: "grid", tabindex: 0, "aria-label": "Registers" });
    this.root.addEventListener("click", (event) => {
      const cell = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest(".reg-cell"));
      if (cell) this.choose(Number(cell.dataset.at));
    });
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(this.root);
  }

  close() {
    this.watch.disconnect();
  }

  get last() {
    return Math.min(this.wish.first + PAGE - 1, LAST);
  }

  /** Another page, table or meaning: cells for it, still empty. @param {Wish} wish */
  lay(wish) {
    this.wish = wish;
    this.image = null;
    this.relay();
  }

  fit() {
    if (this.cells.length === 0 || this.roomFor() === this.perRow) return;
    this.relay();
    if (this.image) this.show(this.image);
  }

  /** Registers in a row. */
  roomFor() {
    const { takes, px } = viewOf(this.wish);
    const name = parseFloat(getComputedStyle(this.root).getPropertyValue("--name")); // less where it is narrow
    const width = this.root.clientWidth - name;
    return ROWS.find((registers) => (registers / takes) * px <= width) ?? ROWS[ROWS.length - 1];
  }

  relay() {
    const { first, table, odd } = this.wish;
    const { takes, key } = viewOf(this.wish);
    const shift = takes === 2 && odd ? 1 : 0;
    const perRow = (this.perRow = this.roomFor());
    this.cells = [];
    const titles = [h("div", { class: "reg-head", role: "columnheader" }, table)];
    for (let at = shift; at < perRow + shift; at += takes)
      titles.push(h("div", { class: "reg-head", role: "columnheader" }, `+${at}`));
    const rows = [h("div", { class: "reg-row reg-titles", role: "row" }, ...titles)];
    for (let row = first; row <= this.last; row += perRow) {
      const named = [h("b", {}, String(row)), h("small", {}, reference(table, row))];
      const line = h(
        "div",
        { class: "reg-row", role: "row" },
        h("div", { class: "reg-name", role: "rowheader", title: place(table, row) }, ...named),
      );
      for (let address = row + shift; address < Math.min(row + perRow + shift, LAST + 2 - takes); address += takes) {
        const element = h("div", {
          class: "reg-cell",
          role: "gridcell",
          id: `reg${address}`,
          data: { at: address },
          title: place(table, address),
        });
        this.cells.push({ address, width: takes, element, full: "" });
        line.append(element);
      }
      rows.push(line);
    }
    setAttribute(this.root, "data-view", key);
    setAttribute(this.root, "data-cells", String(perRow / takes));
    fill(this.root, ...rows);
    this.mark();
    this.select();
  }

  /** Put what was read into the cells; those that differ flash, but for the first time. @param {Image} image */
  show(image) {
    this.image = image;
    for (const cell of this.cells) {
      const at = cell.address - image.first;
      const values = image.values.slice(at, at + cell.width);
      const code =
        image.codes.slice(at, at + cell.width).find((each) => each !== 0) ?? (values.length < cell.width ? 2 : 0);
      const isHeld = !code && image.held.slice(at, at + cell.width).includes(true);
      const full = code ? hex(code, 2) : this.textOf(values);
      const shown = this.isFloat && !code ? cellText(this.valueOf(values), "float32", FLOAT_ROOM) : full;
      const { element } = cell;
      const isSame = full === cell.full && element.dataset.code === String(code);
      if (isSame && element.dataset.held === (isHeld ? "yes" : undefined)) continue;
      setText(element, shown);
      setAttribute(element, "data-code", String(code));
      setAttribute(element, "data-on", BIT_TABLES.has(this.wish.table) && !code ? String(values[0]) : null);
      setAttribute(element, "data-held", isHeld ? "yes" : null);
      const said = [code ? exceptionText(code) : "", shown === full ? "" : full, isHeld ? HELD : ""].filter(Boolean);
      element.title = [place(this.wish.table, cell.address), ...said].join(": ");
      setAttribute(element, "aria-label", isHeld ? `${full}, ${HELD}` : null);
      if (cell.full !== "" && !isSame) flash(element);
      cell.full = full;
    }
  }

  /** @param {(number | null)[]} values */
  textOf(values) {
    const [word] = values;
    if (word === null) return "";
    const { key } = viewOf(this.wish);
    if (key === "bits") return String(word);
    if (key === "hex") return hex(word);
    if (key === "binary") return binary(word);
    return numberText(this.valueOf(values), key);
  }

  get isFloat() {
    return viewOf(this.wish).key === "float32";
  }

  /** @param {(number | null)[]} values */
  valueOf(values) {
    const { key } = viewOf(this.wish);
    // A single register has no words to swap: shown as it is served.
    return decode(values, key, WIDTHS[key] === 1 ? "ABCD" : this.wish.order);
  }

  /** Underline where tags lie. */
  mark() {
    const tags = this.owner.tags(this.wish.unit, this.wish.table);
    for (const { address, width, element } of this.cells)
      element.classList.toggle("is-tag", tags.has(address) || (width === 2 && tags.has(address + 1)));
  }

  /** @param {number} address -1: none */
  choose(address) {
    this.selected = address;
    this.select();
    this.owner.onChoose(address);
  }

  select() {
    const chosen = this.cells.find((cell) => this.isChosen(cell))?.element;
    for (const { element } of this.cells) setAttribute(element, "aria-selected", element === chosen ? "true" : null);
    setAttribute(this.root, "aria-activedescendant", chosen?.id ?? null);
    chosen?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** @param {Cell} cell */
  isChosen({ address, width }) {
    return this.selected >= address && this.selected < address + width;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || this.cells.length === 0) return;
    const now = this.cells.findIndex((cell) => this.isChosen(cell));
    const across = Number(this.root.dataset.cells);
    /** @type {Record<string, number>} */
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across };
    if (event.key === "PageDown" || event.key === "PageUp") this.owner.onPage(event.key === "PageDown" ? 1 : -1);
    else if (event.key in steps) {
      const next = now < 0 ? 0 : now + steps[event.key];
      if (next >= 0 && next < this.cells.length) this.choose(this.cells[next].address);
    } else if (event.key === "Home" || event.key === "End") {
      this.choose((event.key === "Home" ? this.cells[0] : this.cells[this.cells.length - 1]).address);
    } else return;
    event.preventDefault();
  }
}

/**
 * A short light on what changed; the style makes it a still one where motion is not wanted.
 * @param {HTMLElement} element
 */
function flash(element) {
  // Two names for one animation: the same one would start anew only after a layout of the page, for each cell.
  const isOdd = element.classList.toggle("is-flash-1");
  element.classList.toggle("is-flash-2", !isOdd);
}
