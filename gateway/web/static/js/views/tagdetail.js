/** One tag beside the table: its value, where it comes from, where it is served, and what can be done with it. */

import { jump, place } from "../decode.js";
import { fill, h, icon, setText } from "../dom.js";
import { bounds, drawSpark, SPAN_MS } from "../spark.js";
import { nameOf } from "../tagindex.js";
import { ageText, makeQuality, showQuality, showValue } from "../tagvalue.js";

const SPARK_HEIGHT = 72;

/**
 * @typedef {import("../store.js").Tag} Tag
 * @typedef {object} Owner the view
 * @property {import("../main.js").Context} context
 * @property {import("../spark.js").Recent} recent
 * @property {import("./tagrows.js").TagRows} rows
 * @property {() => void} hide
 * @property {(i: number) => Promise<void>} write
 */

/** @param {HTMLElement} parent @param {Tag} tag @param {Owner} owner */
export function openDetail(parent, tag, owner) {
  const { context, recent } = owner;
  const { format, tags, api, live, session } = context;
  const name = nameOf(tag);

  const value = h("span", { class: "tag-value detail-value live" });
  const quality = makeQuality();
  const age = h("span", {});
  const readAt = h("span", {});
  const changedAt = h("span", {});
  const cause = h("span", {});
  const low = h("span", { class: "muted" });
  const canvas = /** @type {HTMLCanvasElement} */ (h("canvas", { class: "spark", "aria-hidden": "true" }));
  const cross = h(
    "button",
    {
      class: "icon-button",
      type: "button",
      "aria-label": "Close",
      title: "Close (Esc)",
      on: { click: () => owner.hide() },
    },
    icon("close"),
  );
  const mayWrite = Boolean(tag.write && session.may_write);

  const actions = h("div", { class: "detail-actions" });
  if (mayWrite) {
    const write = h(
      "button",
      { class: "button primary", type: "button", on: { click: () => void owner.write(tag.i) } },
      "Write…",
    );
    actions.append(write);
  }
  actions.append(
    h("a", { class: "button", href: `#/trends?tag=${encodeURIComponent(name)}` }, "Trend"),
    h("a", { class: "button", href: `#/device/${encodeURIComponent(tag.device)}` }, "Device"),
  );

  const panel = h(
    "aside",
    {
      class: "panel detail",
      "aria-label": `Tag ${name}`,
      on: { keydown: (/** @type {KeyboardEvent} */ e) => e.key === "Escape" && owner.hide() },
    },
    h(
      "header",
      {},
      h("h2", { class: "detail-name" }, h("span", { class: "tag-device" }, `${tag.device} / `), tag.name),
      cross,
    ),
    h(
      "div",
      { class: "detail-body" },
      tag.description && h("p", { class: "muted" }, tag.description),
      h("p", { class: "detail-now" }, value, h("span", { class: "detail-unit" }, tag.unit ?? "")),
      h("p", { class: "detail-state" }, quality.root, h("span", { class: "muted" }, age)),
      h("div", { class: "detail-spark" }, canvas, low),
      actions,
      !mayWrite &&
        tag.write &&
        h(
          "p",
          { class: "note" },
          session.login
            ? "Your role may not write."
            : "Written from this page only when users are configured (web: users).",
        ),
      h(
        "dl",
        { class: "detail-list" },
        pair("Read from", tag.at),
        pair("Served at", servedAt(tag)),
        pair(
          "Type",
          [tag.type, tag.order && tag.order !== "ABCD" ? `bytes ${tag.order}` : ""].filter(Boolean).join(", "),
        ),
        pair("Scale", scaleText(tag)),
        tag.write &&
          tag.type !== "bool" &&
          pair(
            "Range",
            tag.range ? `${tag.range[0]} to ${tag.range[1]}${tag.unit ? ` ${tag.unit}` : ""}` : "as its type",
          ),
        pair("Read every", tag.every_s ? format.span(tag.every_s) : "–"),
        pair("Last good read", readAt),
        pair("Last change", changedAt),
        pair("Cause", cause),
        pair("Writable", tag.write ? "yes" : "no"),
      ),
    ),
  );
  fill(parent, panel);

  function refresh() {
    const sample = tags.sample(tag.i);
    showValue(value, sample, live.isLive, tag);
    showQuality(quality, sample);
    setText(age, sample.time_ms ? `read ${ageText(sample.time_ms, api.now())} ago` : "never read");
    setText(readAt, sample.time_ms ? format.dateTime(sample.time_ms) : "never");
    setText(cause, sample.cause || "–");
    const line = recent.get(tag.i);
    setText(changedAt, changeText(line));
    const [least, most] = bounds(line?.v ?? []);
    setText(
      low,
      least > most || tag.type === "bool"
        ? ""
        : `${format.value(least, tag)} to ${format.value(most, tag)} in the last ${Math.round(SPAN_MS / 60_000)} min`,
    );
    const width = canvas.clientWidth;
    if (width > 0) drawSpark(canvas, line, owner.rows.sparkLook(tag, sample, width, SPARK_HEIGHT));
  }

  /** @param {import("../spark.js").Line | undefined} line */
  function changeText(line) {
    if (line === undefined) return "–";
    for (let at = line.v.length - 1; at > 0; at--)
      if (line.v[at] !== line.v[at - 1]) return `${format.time(line.t[at])} (${ageText(line.t[at], api.now())} ago)`;
    return "not in the last minutes";
  }

  refresh();
  return { tag, refresh, close: () => panel.remove() };
}

/** @param {string} name @param {import("../dom.js").Child} value */
const pair = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

/** @param {Tag & {scale?: any, offset?: any}} tag */
function scaleText(tag) {
  const scale = Number(tag.scale ?? 1);
  const offset = Number(tag.offset ?? 0);
  if (scale === 1 && offset === 0) return "none";
  return `raw × ${scale}${offset ? ` ${offset < 0 ? "−" : "+"} ${Math.abs(offset)}` : ""}`;
}

/** The place in our image, as a way into the registers. @param {Tag} tag */
function servedAt(tag) {
  if (!tag.to) return "not served";
  const goal = jump(tag.to.replace(/\s.*$/, "").replace(/\.\..*$|\.\d+$/, ""), "holding");
  if ("error" in goal) return tag.to;
  const unit = goal.unit === null ? "" : `unit=${goal.unit}&`;
  const shown = `${goal.unit === null ? "" : `unit ${goal.unit}, `}${place(goal.table, goal.address)}`;
  return h("a", { href: `#/registers?${unit}table=${goal.table}&at=${goal.address}` }, shown);
}
