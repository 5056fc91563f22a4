/** A field in which a tag is found by its words and chosen: a combobox, with the keys of one. */

import { fill, h, icon, setAttribute } from "./dom.js";

/** More are found by typing more. */
const SHOWN = 12;
let made = 0;

/** @typedef {import("./store.js").Tag} Tag */

export class TagPicker {
  /** @param {{find: (words: string, limit: number) => Tag[], choose: (tag: Tag) => void, placeholder: string}} owner */
  constructor(owner) {
    this.owner = owner;
    this.id = `picker${++made}`;
    /** @type {Tag[]} */
    this.found = [];
    this.active = 0;
    const combobox = {
      role: "combobox",
      "aria-expanded": "false",
      "aria-controls": this.id,
      "aria-autocomplete": "list",
    };
    const field = {
      type: "search",
      placeholder: owner.placeholder,
      "aria-label": owner.placeholder,
      "data-search": true,
      autocomplete: "off",
      spellcheck: "false",
    };
    this.input = /** @type {HTMLInputElement} */ (
      h("input", {
        ...combobox,
        ...field,
        on: {
          input: () => this.search(),
          focus: () => this.search(),
          blur: () => this.hide(),
          keydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
        },
      })
    );
    this.list = h("ul", {
      class: "picker-list",
      role: "listbox",
      id: this.id,
      "aria-label": "Tags found",
      hidden: true,
    });
    this.list.addEventListener("mousedown", (event) => {
      event.preventDefault(); // the field keeps the focus
      const option = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("li[data-at]"));
      if (option) this.choose(Number(option.dataset.at));
    });
    this.root = h(
      "div",
      { class: "picker search" },
      icon("search"),
      this.input,
      h("kbd", { "aria-hidden": "true" }, "/"),
      this.list,
    );
  }

  search() {
    this.found = this.owner.find(this.input.value, SHOWN);
    this.active = 0;
    this.show();
  }

  /** There are other tags now. */
  refresh() {
    if (!this.list.hidden) this.search();
  }

  show() {
    const options = this.found.map((tag, at) =>
      h(
        "li",
        { role: "option", id: `${this.id}-${at}`, "aria-selected": String(at === this.active), data: { at } },
        h(
          "span",
          {},
          h("span", { class: "tag-device" }, `${tag.device} / `),
          h("span", { class: "tag-name" }, tag.name),
        ),
        h("span", { class: "muted" }, tag.unit || tag.type),
      ),
    );
    fill(
      this.list,
      ...(options.length ? options : [h("li", { class: "muted" }, "No tag with these words can be drawn")]),
    );
    this.list.hidden = false;
    setAttribute(this.input, "aria-expanded", "true");
    setAttribute(this.input, "aria-activedescendant", options.length ? `${this.id}-${this.active}` : null);
    this.list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }

  hide() {
    this.list.hidden = true;
    setAttribute(this.input, "aria-expanded", "false");
    setAttribute(this.input, "aria-activedescendant", null);
  }

  /** @param {number} at */
  choose(at) {
    const tag = this.found[at];
    if (tag === undefined) return;
    this.input.value = "";
    this.hide();
    this.owner.choose(tag);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps) {
      if (this.list.hidden) this.search();
      else {
        this.active =
          (this.active + steps[/** @type {keyof typeof steps} */ (event.key)] + this.found.length) %
          Math.max(1, this.found.length);
        this.show();
      }
    } else if (event.key === "Enter" && !this.list.hidden) this.choose(this.active);
    else if (event.key === "Escape" && !this.list.hidden) this.hide();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  focus() {
    this.input.focus();
  }
}
