/** Small parts that views share. */

import { h, icon, setIcon, setText } from "./dom.js";
import * as format from "./format.js";

/** What is wrong first. */
const WORST_FIRST = ["down", "stale", "waiting", "good", "disabled"];

/** @param {string} state */
export function rank(state) {
  const at = WORST_FIRST.indexOf(state);
  return at < 0 ? 0 : at;
}

/** A state as shape, word and colour. @param {string} state @param {string} [word] */
export function stateBadge(state, word = state) {
  const badge = h("span", { class: `state live ${state}` }, icon(state), h("span", { class: "state-word" }, word));
  return badge;
}

/** @param {Element} badge made by `stateBadge` @param {string} state @param {string} [word] */
export function setState(badge, state, word = state) {
  const name = `state live ${state}`;
  if (badge.className !== name) {
    badge.className = name;
    setIcon(/** @type {Element} */ (badge.firstElementChild), state);
  }
  setText(/** @type {Element} */ (badge.lastElementChild), word);
}

/** A rate below this share of what is asked for is told. */
export const SHORT_SHARE = 0.9;

/**
 * Asked and got requests a second of jobs; `got` is null until one is measured.
 * @param {Record<string, any>[]} jobs @returns {{asked: number, got: number | null}}
 */
export function ratesOf(jobs) {
  let asked = 0;
  let got = /** @type {number | null} */ (null);
  for (const job of jobs) {
    asked += job.requested_per_s ?? 0;
    if (format.isNumber(job.achieved_per_s)) got = (got ?? 0) + job.achieved_per_s;
  }
  return { asked, got };
}

/** `7.4 of 10` and a bar. */
export function gotBar() {
  const bar = /** @type {HTMLProgressElement} */ (h("progress", { max: "1", value: "0", "aria-hidden": "true" }));
  return h("span", { class: "got" }, h("span", { class: "got-text" }), bar);
}

/** @param {HTMLElement} element made by `gotBar` @param {number | null} got @param {number} asked */
export function setGot(element, got, asked) {
  const share = asked > 0 && got !== null ? got / asked : null;
  setText(
    /** @type {Element} */ (element.firstElementChild),
    asked > 0 ? format.rates(got ?? NaN, asked) : format.NONE,
  );
  const bar = /** @type {HTMLProgressElement} */ (element.lastElementChild);
  if (bar.hidden !== (share === null)) bar.hidden = share === null;
  const value = Math.round(100 * Math.min(share ?? 0, 1)) / 100;
  if (bar.value !== value) bar.value = value;
  element.classList.toggle("short", share !== null && share < SHORT_SHARE);
}

/** Term and value pairs; `set` touches only values that differ. */
export class Pairs {
  /** @param {[string, string, string?][]} terms key, words, hint */
  constructor(terms) {
    /** @type {Map<string, HTMLElement>} */
    this._values = new Map();
    this.element = h("dl", { class: "pairs" });
    for (const [key, words, hint] of terms) {
      const value = h("dd", { class: "live" });
      this._values.set(key, value);
      this.element.append(h("div", { title: hint, data: { key } }, h("dt", {}, words), value));
    }
  }

  /** @param {string} key @param {string | null} text null: the pair is not shown @param {string} [className] */
  set(key, text, className = "") {
    const value = /** @type {HTMLElement} */ (this._values.get(key));
    /** @type {HTMLElement} */ (value.parentElement).hidden = text === null;
    setText(value, text ?? "");
    const name = `live ${className}`.trim();
    if (value.className !== name) value.className = name;
  }
}

/** A search field with its sign. @param {string} label @param {string} value @param {(text: string) => void} onInput */
export function searchField(label, value, onInput) {
  const input = /** @type {HTMLInputElement} */ (
    h("input", {
      type: "search",
      placeholder: label,
      "aria-label": label,
      "data-search": true,
      autocomplete: "off",
      spellcheck: "false",
      value,
    })
  );
  input.addEventListener("input", () => onInput(input.value));
  return h("span", { class: "search" }, icon("search"), input, h("kbd", { "aria-hidden": "true" }, "/"));
}

/**
 * Buttons of which one is pressed.
 * @param {string} label @param {[string, string][]} choices key, words @param {string} chosen
 * @param {(key: string) => void} onChoose
 */
export function segments(label, choices, chosen, onChoose) {
  const group = h("div", { class: "segments", role: "group", "aria-label": label });
  for (const [key, words] of choices) {
    const button = h(
      "button",
      { type: "button", "aria-pressed": String(key === chosen), data: { key } },
      words,
      h("span", { class: "n" }),
    );
    button.addEventListener("click", () => {
      for (const each of group.children) each.setAttribute("aria-pressed", String(each === button));
      onChoose(key);
    });
    group.append(button);
  }
  return group;
}

/** The count beside a segment's words. @param {HTMLElement} group @param {string} key @param {number} count */
export function setSegment(group, key, count) {
  const button = [...group.children].find((each) => /** @type {HTMLElement} */ (each).dataset.key === key);
  if (button) setText(/** @type {Element} */ (button.lastElementChild), format.count(count));
}

/** Every word of `wanted` stands in `text`. @param {string} text @param {string} wanted */
export function matches(text, wanted) {
  const low = text.toLowerCase();
  return wanted
    .toLowerCase()
    .split(/\s+/)
    .every((word) => low.includes(word));
}

/** Keep what is chosen in the address, so that it can be passed on and "back" has it; no new entry of the history.
 * @param {Record<string, string>} values an empty one is left out */
export function keepInAddress(values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== ""));
  const [path] = location.hash.split("?", 1);
  const text = query.toString();
  history.replaceState(null, "", `${path || "#/overview"}${text ? `?${text}` : ""}`);
}

/** @param {string} name */
export const deviceHash = (name) => `#/device/${encodeURIComponent(name)}`;
