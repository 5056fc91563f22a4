/** The lists of a device: its blocks, its tags. */

import { h, setAttribute, setText } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";
import { ageText } from "../tagvalue.js";

/** @typedef {import("../store.js").Row} Row */

// -- blocks -------------------------------------------------------------------------------------------------------

/** @returns {import("../rows.js").Column<Row>[]} */
export function jobColumns() {
  return [
    {
      key: "block",
      title: "Block",
      width: "minmax(220px, 2fr)",
      make: () => h("span", { class: "mono" }),
      paint: (cell, row) => setText(/** @type {Element} */ (cell.firstElementChild), row.block),
    },
    { key: "every", title: "Every", width: "64px", num: true, text: (row) => format.span(row.every_s) },
    {
      key: "rate",
      title: "Got of asked",
      hint: "Requests a second: reached, and asked for",
      width: "104px",
      num: true,
      live: true,
      make: () => parts.gotBar(),
      paint: (cell, row) =>
        parts.setGot(
          /** @type {HTMLElement} */ (cell.firstElementChild),
          format.isNumber(row.achieved_per_s) ? row.achieved_per_s : null,
          row.requested_per_s,
        ),
    },
    {
      key: "took",
      wide: true,
      title: "Took",
      hint: "From the request to its answer",
      width: "72px",
      num: true,
      live: true,
      text: (row) => format.span(row.took_s),
    },
    {
      key: "lag",
      wide: true,
      title: "Lag",
      hint: "How late it begins",
      width: "72px",
      num: true,
      live: true,
      text: (row) => format.span(row.lag_s),
    },
    {
      key: "skipped",
      wide: true,
      title: "Skipped",
      hint: "Turns that came too late",
      width: "72px",
      num: true,
      live: true,
      text: (row) => format.count(row.skipped),
    },
    { key: "age", title: "Age", width: "72px", num: true, live: true, text: (row) => format.span(row.age_s) },
    {
      key: "error",
      title: "Error",
      width: "minmax(100px, 1.4fr)",
      live: true,
      paint: (cell, row) => (setText(cell, row.error ?? ""), (cell.title = row.error ?? "")),
    },
  ];
}

// -- tags ---------------------------------------------------------------------------------------------------------

/** @param {import("../main.js").Context} context @returns {import("../rows.js").Column<import("../store.js").Tag>[]} */
export function tagColumns(context) {
  const sample = (/** @type {{i: number}} */ tag) => context.tags.sample(tag.i);
  return [
    {
      key: "name",
      title: "Tag",
      width: "minmax(120px, 1.2fr)",
      make: (tag) =>
        h("a", { class: "name", href: `#/tags?${new URLSearchParams({ device: tag.device, q: tag.name })}` }, tag.name),
    },
    {
      key: "value",
      title: "Value",
      width: "minmax(120px, 0.9fr)",
      num: true,
      live: true,
      make: () => h("span", { class: "tag-value" }, h("strong"), h("span", { class: "muted" })),
      paint: (cell, tag) => {
        const { value, quality } = sample(tag);
        const [number, unit] = /** @type {Element} */ (cell.firstElementChild).children;
        const text = format.value(quality === "bad" ? null : value, tag);
        setText(number, text);
        setAttribute(cell, "title", text);
        setText(unit, tag.unit && quality !== "bad" ? ` ${tag.unit}` : "");
      },
    },
    {
      key: "quality",
      title: "Quality",
      width: "minmax(100px, 1fr)",
      make: () => h("div", {}, parts.stateBadge("waiting"), h("span", { class: "sub live" })),
      paint: (cell, tag) => {
        const { quality, cause } = sample(tag);
        const state = { good: "good", uncertain: "stale", bad: "down" }[quality] ?? "down";
        const [badge, why] = /** @type {Element} */ (cell.firstElementChild).children;
        parts.setState(badge, state, quality);
        setText(why, quality === "good" ? "" : cause);
        setAttribute(cell, "title", cause || null);
      },
    },
    {
      key: "age",
      title: "Age",
      width: "72px",
      num: true,
      live: true,
      text: (tag) => {
        const { time_ms } = sample(tag);
        return time_ms === null ? format.NONE : ageText(time_ms, context.api.now());
      },
    },
    {
      key: "at",
      title: "At the device",
      width: "minmax(160px, 1fr)",
      make: (tag) => h("span", { class: "mono" }, tag.at),
    },
    { key: "type", wide: true, title: "Type", width: "64px", text: (tag) => tag.type },
    {
      key: "to",
      wide: true,
      title: "Served at",
      width: "minmax(170px, 1fr)",
      make: (tag) => h("span", { class: "mono" }, tag.to || format.NONE),
    },
  ];
}
