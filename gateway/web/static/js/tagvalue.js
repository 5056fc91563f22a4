/**
 * How a tag's value looks, the same in every view.
 *
 * The rule of the file: a value that is not good never looks like one that is. Bad ones are struck through and grey,
 * and their quality stands beside them as a sign and a word; while the page is not live nothing looks good.
 */

import { h, icon, setAttribute, setIcon, setText } from "./dom.js";
import { span, value as valueText } from "./format.js";

/** @typedef {import("./store.js").Sample} Sample */

/** The sprite's sign for each quality, and the class that colours it. @type {Record<string, string>} */
export const SIGNS = { good: "good", uncertain: "stale", bad: "down" };

/** Characters that every cell has room for. */
const SHORT = 10;

/** @returns {{root: HTMLElement, sign: Element, word: HTMLElement}} */
export function makeQuality() {
  const sign = icon("waiting", "icon");
  const word = h("span", { class: "q-word" });
  return { root: h("span", { class: "state q" }, sign, word), sign, word };
}

/**
 * `good`, `uncertain: stale`, `bad: time-out`. Not live, the shell's style writes `was` before it.
 * @param {ReturnType<typeof makeQuality>} made @param {Sample} sample
 */
export function showQuality(made, sample) {
  const waits = sample.quality === "bad" && sample.cause === "waiting";
  const sign = waits ? "waiting" : (SIGNS[sample.quality] ?? "down");
  setIcon(made.sign, sign);
  setAttribute(made.root, "class", `state q ${sign}`);
  setText(made.word, qualityText(sample));
  setAttribute(made.root, "title", qualityText(sample));
}

/** @param {Sample} sample */
export function qualityText({ quality, cause }) {
  return quality === "good" || !cause ? quality : `${quality}: ${cause}`;
}

/**
 * The number into an element of class `tag-value`: `data-quality` styles it, readers are told in words. The title has
 * all of it where a cell is too narrow.
 * @param {HTMLElement} element @param {Sample} sample @param {boolean} isLive
 * @param {import("./format.js").Meaning} [tag]
 */
export function showValue(element, sample, isLive, tag) {
  const { value, quality } = sample;
  const text = value === "" ? '""' : valueText(value, tag);
  setText(element, text);
  setAttribute(element, "data-long", text.length > SHORT && tag?.type !== "string" ? "" : null);
  const shown = value === null ? "none" : !isLive ? "old" : quality;
  setAttribute(element, "data-quality", shown);
  const spoken =
    value === null
      ? "no value"
      : shown === "good"
        ? null
        : shown === "bad"
          ? `no value; last ${text}`
          : `${text}, ${shown}`;
  setAttribute(element, "aria-label", spoken);
  setAttribute(element, "title", spoken ?? (text.length > SHORT ? text : null));
}

/**
 * How long ago the value was read: whole seconds, for tenths that run in forty rows are noise. Begun seconds count: no
 * age is shown younger than it is.
 * @param {number | null} time_ms @param {number} now_ms
 */
export function ageText(time_ms, now_ms) {
  if (!time_ms) return "never";
  const s = (now_ms - time_ms) / 1000;
  if (s < 1) return "< 1 s";
  return s <= 59 ? `${Math.ceil(s)} s` : span(Math.ceil(s));
}
