/** The help: every shortcut, and what the signs mean. */

import { h, icon } from "./dom.js";

const SIGNS = [
  ["good", "good", "values are fresh"],
  ["stale", "stale", "a block is older than its limit"],
  ["down", "down", "not connected, or it does not answer"],
  ["waiting", "waiting", "no good poll yet"],
  ["disabled", "disabled", "switched off in the plant's file"],
];

/**
 * @param {typeof import("./dialog.js")} dialog
 * @param {{title: string, letter: string}[]} views
 * @param {string[][]} more of the view that is open
 */
export function show(dialog, views, more) {
  const keys = views.map((view, at) => [`${at + 1}`, `g ${view.letter}`, view.title]);
  const rows = [
    ...keys.map(([digit, letter, title]) => row([digit, letter], title)),
    row(["/"], "search or filter"),
    row(["m"], "light, dark, or as the system"),
    row(["Esc"], "leave a field, close what is open"),
    row(["?"], "this help"),
    ...more.map(([key, what]) => row([key], what)),
  ];
  const signs = SIGNS.map(([sign, word, what]) =>
    h("li", {}, h("span", { class: `state ${sign}` }, icon(sign), word), h("span", { class: "muted" }, what)),
  );
  dialog.show(
    "Help",
    [
      h("h3", {}, "Keys"),
      h("dl", { class: "keys" }, ...rows),
      h("h3", {}, "States of devices"),
      h("ul", { class: "signs" }, ...signs),
    ],
    { wide: true },
  );
}

/** @param {string[]} keys @param {string} what */
function row(keys, what) {
  const shown = keys.flatMap((key, at) => [at ? " or " : "", ...key.split(" ").map((each) => h("kbd", {}, each))]);
  return h("div", {}, h("dt", {}, ...shown), h("dd", {}, what));
}
