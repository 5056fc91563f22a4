/**
 * Dialogs, on the browser's own `<dialog>`: it keeps the focus inside, Esc closes it, and what had the focus has it again.
 */

import { append, h, icon } from "./dom.js";

/**
 * Show `content` under `title`. `closed` is told what `close` was called with, null for Esc or the cross.
 * @param {string} title
 * @param {Node | Node[]} content
 * @param {{wide?: boolean, firm?: boolean}} [options] `firm`: a click beside it does not close it
 * @returns {{element: HTMLDialogElement, close: (result?: any) => void, closed: Promise<any>}}
 */
export function show(title, content, { wide = false, firm = false } = {}) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const cross = h("button", { class: "icon-button", type: "button", "aria-label": "Close" }, icon("close"));
  const element = /** @type {HTMLDialogElement} */ (
    h("dialog", { class: wide ? "dialog wide" : "dialog", "aria-labelledby": "dialog-title" })
  );
  append(element, [h("header", {}, heading, cross), h("div", { class: "dialog-body" }, ...[content].flat())]);
  const had = document.activeElement;
  /** @type {any} */
  let result = null;
  const closed = new Promise((resolve) => {
    element.addEventListener("close", () => {
      element.remove();
      if (had instanceof HTMLElement && had.isConnected) had.focus();
      resolve(result);
    });
  });
  const close = (/** @type {any} */ given = null) => {
    result = given;
    element.close();
  };
  cross.addEventListener("click", () => close());
  element.addEventListener("mousedown", (event) => event.target === element && !firm && close()); // beside it
  document.body.append(element);
  element.showModal();
  return { element, close, closed };
}

/**
 * Ask before something is done; true: do it.
 * @param {string} title @param {string} text @param {string} action the button's words
 * @returns {Promise<boolean>}
 */
export function confirm(title, text, action) {
  const go = h("button", { type: "button", class: "button primary" }, action);
  const no = h("button", { type: "button", class: "button" }, "Cancel");
  const { close, closed } = show(title, [h("p", {}, text), h("div", { class: "dialog-actions" }, no, go)]);
  go.addEventListener("click", () => close(true));
  no.addEventListener("click", () => close(false));
  no.focus();
  return closed.then(Boolean);
}

/** As Esc does, all that are open. */
export function closeAll() {
  for (const each of document.querySelectorAll("dialog[open]")) /** @type {HTMLDialogElement} */ (each).close();
}

export const isOpen = () => document.querySelector("dialog[open]") !== null;
