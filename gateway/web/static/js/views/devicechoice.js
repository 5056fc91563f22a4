import { append, h, setText } from "../dom.js";
import * as parts from "../parts.js";
import { sorted } from "./devicewords.js";

/** Where the device that was looked at last is kept, as long as the tab. */
export const KEY = "gateway.device";

/** Without a name: the one looked at last, else the one that needs it most. */
export class Choice {
  /** @param {HTMLElement} root @param {import("../main.js").Context} context */
  constructor(root, context) {
    this._context = context;
    append(root, [
      h("header", { class: "head" }, h("h1", {}, "Device")),
      h("p", { class: "empty" }, "Asking the gateway…"),
    ]);
    this._text = /** @type {Element} */ (root.lastElementChild);
    this._leave = context.state.onChange(() => this._choose());
    queueMicrotask(() => this._choose()); // the router has to know this view before it goes to the next
  }

  _choose() {
    const { state, go } = this._context;
    if (!state.isLoaded) return;
    const names = sorted(state.devices);
    if (names.length === 0) {
      setText(this._text, "There are no devices.");
      return;
    }
    const kept = sessionStorage.getItem(KEY) ?? "";
    this._leave();
    const chosen = state.devices.has(kept) ? kept : names[0];
    history.replaceState(null, "", parts.deviceHash(chosen));
    go(parts.deviceHash(chosen));
  }

  close() {
    this._leave();
  }
}
