/**
 * The served image as clients read it: any unit, any table, as the numbers it may mean.
 *
 * The rule of the file: what is shown is what was read half a second ago; when reading fails the table says so and
 * nothing in it looks fresh. Only a page that is seen asks. The address of the page says what is shown.
 */

import { jump, ORDERS, place } from "../decode.js";
import { fill, h, icon, setAttribute, setText } from "../dom.js";
import { Inspector } from "./inspector.js";
import { LAST, PAGE, RegisterTable, VIEWS, viewOf } from "./registertable.js";

const EVERY_MS = 500;
const TABLES = ["holding", "input", "coils", "discrete"];

export const shortcuts = [
  ["← ↑ ↓ →", "from register to register"],
  ["PgUp PgDn", "from page to page"],
];

/** @typedef {import("../main.js").Context} Context @typedef {import("../main.js").Params} Params */
/** @typedef {{unit: number, kind: string, tables: Record<string, [number, number][]>, forward: string | null}} Unit */

/** @param {HTMLElement} root @param {Params} params @param {Context} context */
export async function open(root, params, context) {
  const units = await unitsOf(context);
  const images = imagesOf(units);
  if (images.length === 0) return showNothing(root, units, context);
  const view = new RegistersView(root, images, context);
  view.update(params);
  return { close: () => view.close(), update: (/** @type {Params} */ next) => view.update(next) };
}

/** @param {Context} context @returns {Promise<Unit[]>} */
const unitsOf = async (context) => (await context.api.get("units")).units;

/** @param {Unit[]} units */
const shapeOf = (units) => JSON.stringify(units.map(({ unit, tables }) => [unit, tables]));

/** @param {Unit[]} units */
const imagesOf = (units) => units.filter((unit) => unit.kind === "image");

/** @param {HTMLElement} root @param {Unit[]} units @param {Context} context */
function showNothing(root, units, context) {
  const routes = units.map((unit) => `unit ${unit.unit} is forwarded to ${unit.forward}`).join("; ");
  const why = `This gateway has no register image${routes ? `: ${routes}. Their registers are the devices' own` : ""}.`;
  fill(
    root,
    h("header", { class: "head" }, h("h1", {}, "Registers")),
    h("div", { class: "panel empty" }, h("p", {}, why)),
  );
  const leave = context.tags.open(async (changed) => {
    if (changed !== null) return;
    const now = await unitsOf(context).catch(() => []);
    if (imagesOf(now).length) context.go(location.hash); // a reload has made one: the view is opened anew
  });
  return { close: leave };
}

class RegistersView {
  /** @param {HTMLElement} root @param {Unit[]} units with images, at least one @param {Context} context */
  constructor(root, units, context) {
    this.context = context;
    this.units = units;
    /** @type {import("./registertable.js").Wish} */
    this.wish = { unit: units[0].unit, table: "holding", first: 0, view: "hex", order: "ABCD", odd: false };
    /** Counts what was asked: an answer to an older question is dropped. */
    this.asked = 0;
    this.isClosed = false;
    this.timer = 0;

    this.unitField = select(
      "Unit",
      units.map(({ unit }) => [unit, `unit ${unit}`]),
      (unit) => this.set({ unit: Number(unit) }),
    );
    this.unitField.hidden = units.length < 2;
    this.tableField = h("div", { class: "segments", role: "group", "aria-label": "Table" });
    const views = VIEWS.map(({ key, title }) =>
      h("button", { type: "button", data: { key }, on: { click: () => this.set({ view: key }) } }, title),
    );
    this.viewField = h("div", { class: "segments", role: "group", "aria-label": "Show as" }, ...views);
    this.orderField = select(
      "Byte order",
      ORDERS.map((order) => [order, order]),
      (order) => this.set({ order }),
    );
    this.oddField = /** @type {HTMLInputElement} */ (
      h("input", { type: "checkbox", on: { change: () => this.set({ odd: this.oddField.checked }) } })
    );
    this.oddLabel = h("label", { class: "reg-odd" }, this.oddField, "from odd addresses");
    this.ranges = h("p", { class: "note reg-ranges" });
    const typed = {
      placeholder: "100, 0x64, 40101",
      "aria-label": "Go to address: 100, 0x64, 40101 or holding:100",
      "data-search": true,
    };
    this.go = /** @type {HTMLInputElement} */ (
      h("input", { class: "input reg-go", ...typed, autocomplete: "off", spellcheck: "false" })
    );
    const going = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.jump(this.go.value);
    };
    const form = h(
      "form",
      { class: "reg-jump", on: { submit: going } },
      this.go,
      h("button", { class: "button", type: "submit" }, "Go"),
    );
    this.problem = h("p", { class: "problem", role: "alert" });
    this.where = h("span", { class: "reg-where mono" });
    this.state = h("p", { class: "head-note muted" });
    const pager = h(
      "div",
      { class: "reg-pager" },
      turn("back", "Previous page", () => this.page(-1)),
      this.where,
      turn("", "Next page", () => this.page(1)),
    );
    this.inspector = new Inspector(context);
    this.table = new RegisterTable(
      {
        onChoose: () => this.remember(),
        onPage: (pages) => this.page(pages),
        tags: (unit, table) => this.inspector.places(unit, table),
      },
      this.wish,
    );
    fill(
      root,
      h("header", { class: "head" }, h("h1", {}, "Registers"), this.state),
      h("div", { class: "tools" }, this.unitField, this.tableField, form, pager),
      h("div", { class: "tools reg-views" }, this.viewField, this.orderField, this.oddLabel, this.ranges),
      this.problem,
      h("div", { class: "reg-split" }, h("div", { class: "panel reg-panel" }, this.table.root), this.inspector.root),
    );

    this.onVisible = () => (document.hidden ? clearTimeout(this.timer) : this.soon(0));
    document.addEventListener("visibilitychange", this.onVisible);
    this.leave = context.tags.open((changed) => {
      if (changed !== null) return;
      this.table.mark();
      this.inspect();
      void this.loadUnits();
    });
  }

  /** A reload may have made other units of ours. */
  async loadUnits() {
    const units = await unitsOf(this.context).catch(() => null); // it is loaded anew when the gateway answers
    if (units === null || this.isClosed) return;
    const images = imagesOf(units);
    if (shapeOf(images) === shapeOf(this.units)) return;
    if (images.length === 0)
      return setText(this.problem, "The configuration was changed: there is no register image any more.");
    const before = this.wish.unit;
    const isGone = !images.some(({ unit }) => unit === before);
    this.units = images;
    fill(this.unitField, ...images.map(({ unit }) => h("option", { value: unit }, `unit ${unit}`)));
    this.unitField.hidden = images.length < 2;
    setText(this.problem, isGone ? `The configuration was changed: unit ${before} is gone, this is another.` : "");
    this.set(isGone ? { unit: images[0].unit } : {});
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.table.close();
    this.leave();
    document.removeEventListener("visibilitychange", this.onVisible);
  }

  // -- what is shown ----------------------------------------------------------------------------------------------

  /** @param {Params} params */
  update({ query }) {
    const number = (/** @type {string} */ name) =>
      /^\d+$/.test(query.get(name) ?? "") ? Number(query.get(name)) : null;
    const wanted = number("unit");
    const found = this.units.find((each) => each.unit === wanted);
    const unit = found ?? this.units[0];
    const isOther = wanted !== null && !found;
    setText(this.problem, isOther ? `Unit ${wanted} has no image here: this is unit ${unit.unit}.` : "");
    const asked = query.get("table") ?? "";
    const table = unit.tables[asked]?.length ? asked : someTable(unit);
    const at = number("at");
    this.table.selected = at === null ? -1 : Math.min(at, LAST);
    this.set({
      unit: unit.unit,
      table,
      first: Math.min(LAST, number("first") ?? at ?? firstOf(unit, table)),
      view: VIEWS.find((view) => view.key === query.get("as"))?.key ?? this.wish.view,
      order: ORDERS.find((order) => order === query.get("order")) ?? this.wish.order,
      odd: query.get("odd") === "1",
    });
  }

  get unit() {
    return /** @type {Unit} */ (this.units.find((unit) => unit.unit === this.wish.unit));
  }

  /**
   * Show something else; without `first` another unit or table begins where it begins.
   * @param {Partial<RegistersView["wish"]>} change
   */
  set(change) {
    const before = this.wish;
    const wish = (this.wish = { ...before, ...change });
    if (!this.unit.tables[wish.table]?.length) wish.table = someTable(this.unit);
    const isOther = wish.unit !== before.unit || wish.table !== before.table;
    if (isOther && change.first === undefined) {
      wish.first = firstOf(this.unit, wish.table);
      this.table.selected = -1;
    }
    wish.first = Math.min(wish.first - (wish.first % 16), LAST + 1 - 16);
    this.showTools();
    this.table.lay(wish);
    this.remember();
    this.soon(0);
  }

  remember() {
    const { unit, table, first, view, order, odd } = this.wish;
    const query = new URLSearchParams({ unit: String(unit), table, first: String(first) });
    if (view !== "hex") query.set("as", view);
    if (order !== "ABCD") query.set("order", order);
    if (odd) query.set("odd", "1");
    if (this.table.selected >= 0) query.set("at", String(this.table.selected));
    history.replaceState(null, "", `#/registers?${query}`);
    this.inspect();
  }

  showTools() {
    const { unit, table, first, view, order, odd } = this.wish;
    const { key, takes } = viewOf(this.wish);
    this.unitField.value = String(unit);
    const tables = TABLES.filter((each) => this.unit.tables[each]?.length);
    fill(
      this.tableField,
      ...tables.map((each) =>
        h(
          "button",
          { type: "button", "aria-pressed": String(each === table), on: { click: () => this.set({ table: each }) } },
          each,
        ),
      ),
    );
    for (const button of this.viewField.children)
      setAttribute(button, "aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.key === view));
    this.viewField.hidden = key === "bits";
    this.orderField.hidden = this.oddLabel.hidden = takes < 2;
    this.orderField.value = order;
    this.oddField.checked = odd;
    const last = Math.min(first + PAGE - 1, LAST);
    setText(this.where, `${first}–${last}`);
    this.where.title = `${place(table, first)} to ${place(table, last)}`;
    const ranges = (this.unit.tables[table] ?? [])
      .map(([low, high]) => (low === high ? `${low}` : `${low}..${high}`))
      .join(", ");
    setText(this.ranges, `${table} of unit ${unit}: ${ranges || "none"}`);
  }

  /** @param {number} pages */
  page(pages) {
    this.table.selected = -1;
    this.set({ first: Math.max(0, Math.min(this.wish.first + pages * PAGE, LAST + 1 - PAGE)) });
  }

  /** @param {string} text */
  jump(text) {
    const goal = jump(text, this.wish.table);
    const unit = "error" in goal ? undefined : this.units.find((each) => each.unit === (goal.unit ?? this.wish.unit));
    if ("error" in goal) return setText(this.problem, goal.error);
    if (unit === undefined) return setText(this.problem, `unit ${goal.unit} has no image here`);
    if (!unit.tables[goal.table]?.length) return setText(this.problem, `unit ${unit.unit} has no ${goal.table}`);
    setText(this.problem, "");
    const { first } = this.wish;
    const isHere =
      unit.unit === this.wish.unit &&
      goal.table === this.wish.table &&
      goal.address >= first &&
      goal.address <= this.table.last;
    this.table.selected = goal.address;
    this.set({ unit: unit.unit, table: goal.table, first: isHere ? first : goal.address });
    this.table.root.focus();
  }

  inspect() {
    this.inspector.show(this.wish.unit, this.wish.table, this.table.selected, this.table.image);
  }

  // -- what is read -----------------------------------------------------------------------------------------------

  /** @param {number} wait_ms */
  soon(wait_ms) {
    clearTimeout(this.timer);
    if (!this.isClosed && !document.hidden) this.timer = window.setTimeout(() => void this.read(), wait_ms);
  }

  async read() {
    const mine = ++this.asked;
    const { unit, table, first } = this.wish;
    // One more than is shown: the last pair may begin at the last address of the page.
    const count = Math.min(this.table.last + 2, LAST + 1) - first;
    let problem = "";
    try {
      const image = await this.context.api.get(`registers?unit=${unit}&table=${table}&first=${first}&count=${count}`);
      if (mine !== this.asked || this.isClosed) return;
      this.table.show(image);
      this.inspect();
    } catch (error) {
      if (mine !== this.asked || this.isClosed) return;
      problem = error instanceof Error ? error.message : String(error);
    }
    setAttribute(this.table.root, "data-fresh", problem ? "no" : "yes");
    setText(
      this.state,
      problem ? `Not live: ${problem}` : `read ${this.context.format.time(this.context.api.now())}, twice a second`,
    );
    this.soon(EVERY_MS);
  }
}

/** @param {Unit} unit */
const someTable = (unit) => TABLES.find((table) => unit.tables[table]?.length) ?? TABLES[0];

/** @param {Unit} unit @param {string} table */
const firstOf = (unit, table) => unit.tables[table]?.[0]?.[0] ?? 0;

/** @param {string} label @param {[number | string, string][]} options @param {(value: string) => void} chosen */
function select(label, options, chosen) {
  const field = /** @type {HTMLSelectElement} */ (
    h("select", { class: "select", "aria-label": label, on: { change: () => chosen(field.value) } })
  );
  field.append(...options.map(([value, text]) => h("option", { value }, text)));
  return field;
}

/** @param {string} way @param {string} label @param {() => void} click */
function turn(way, label, click) {
  return h(
    "button",
    { class: "icon-button", type: "button", "aria-label": label, title: label, on: { click } },
    icon("chevron", `icon ${way}`),
  );
}
