/**
 * A row of the tags' table: what its cells are, and what they show of a tag. Nothing is written that stands there
 * already.
 */

import { h, icon, setAttribute, setText } from "../dom.js";
import { drawSpark } from "../spark.js";
import { nameOf } from "../tagindex.js";
import { ageText, makeQuality, showQuality, showValue } from "../tagvalue.js";

const SPARK_WIDTH = 96;
const SPARK_HEIGHT = 24;

/** @type {import("../virtual.js").Column[]} */
export const COLUMNS = [
  { key: "quality", title: "Quality", sorts: true, hint: "Sort by quality" },
  { key: "tag", title: "Tag", sorts: true },
  { key: "value", title: "Value", sorts: true },
  { key: "unit", title: "Unit", sorts: true },
  { key: "age", title: "Age", sorts: true, hint: "Sort by age: how long ago the value was read" },
  { key: "spark", title: "Last 5 min" },
  { key: "at", title: "Address", sorts: true },
  { key: "type", title: "Type", sorts: true },
  { key: "write", title: "" },
];

/** @typedef {import("../store.js").Tag} Tag */

export class TagRows {
  /**
   * @param {import("../main.js").Context} context
   * @param {import("../spark.js").Recent} recent
   * @param {(i: number) => void} write
   */
  constructor(context, recent, write) {
    this.context = context;
    this.recent = recent;
    this.write = write;
    this.color = "";
    this.look();
  }

  /** @param {string} key @param {HTMLElement} cell */
  make(key, cell) {
    if (key === "quality") {
      const made = makeQuality();
      cell.append(made.root);
      return made;
    }
    if (key === "tag") {
      const device = h("span", { class: "tag-device" });
      const name = h("span", { class: "tag-name" });
      cell.append(device, name);
      return { device, name };
    }
    if (key === "value") cell.classList.add("tag-value", "live");
    if (key === "spark") {
      const canvas = /** @type {HTMLCanvasElement} */ (h("canvas", { class: "spark", "aria-hidden": "true" }));
      cell.append(canvas);
      return canvas;
    }
    if (key === "write") {
      const button = h("button", { type: "button", class: "icon-button", tabindex: -1, hidden: true }, icon("write"));
      button.addEventListener("click", () => this.write(Number(button.dataset.i)));
      cell.append(button);
      return button;
    }
    return cell;
  }

  /** @param {number} i @param {Record<string, any>} cells @param {HTMLElement} row */
  paint(i, cells, row) {
    const { tags, live, api, session } = this.context;
    const tag = tags.tags.get(i);
    if (tag === undefined) return;
    const sample = tags.sample(i);
    setText(cells.tag.device, `${tag.device} / `);
    setText(cells.tag.name, tag.name);
    showQuality(cells.quality, sample);
    showValue(cells.value, sample, live.isLive, tag);
    setText(cells.unit, tag.unit ?? "");
    setText(cells.age, ageText(sample.time_ms, api.now()));
    setText(cells.at, tag.at);
    setText(cells.type, tag.type);
    setAttribute(row, "data-quality", live.isLive ? sample.quality : "old");
    const writes = Boolean(tag.write && session.may_write);
    setAttribute(cells.write, "hidden", writes ? null : "");
    if (writes) {
      setAttribute(cells.write, "data-i", String(i));
      setAttribute(cells.write, "aria-label", `Write ${nameOf(tag)}`);
      setAttribute(cells.write, "title", "Write…");
    }
    drawSpark(cells.spark, this.recent.get(i), this.sparkLook(tag, sample, SPARK_WIDTH, SPARK_HEIGHT));
  }

  /** @param {Tag} tag @param {import("../store.js").Sample} sample @param {number} width @param {number} height */
  sparkLook(tag, sample, width, height) {
    const good = sample.quality === "good" && this.context.live.isLive;
    return { nowMs: this.context.api.now(), good, steps: tag.type === "bool", color: this.color, width, height };
  }

  look() {
    this.color = getComputedStyle(document.documentElement).getPropertyValue("--accent").trim() || "currentColor";
  }
}
