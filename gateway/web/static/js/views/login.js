/** Sign in: the gateway has users, and nobody is signed in. */

import { append, fill, h, icon } from "../dom.js";

/** @param {HTMLElement} root @param {import("../main.js").Params} _params @param {import("../main.js").Context} context */
export async function open(root, _params, context) {
  const user = /** @type {HTMLInputElement} */ (
    h("input", {
      class: "input",
      name: "user",
      autocomplete: "username",
      required: true,
      autocapitalize: "none",
      spellcheck: "false",
    })
  );
  const password = /** @type {HTMLInputElement} */ (
    h("input", { class: "input", name: "password", type: "password", autocomplete: "current-password", required: true })
  );
  const button = /** @type {HTMLButtonElement} */ (h("button", { class: "button primary", type: "submit" }, "Sign in"));
  const wrong = h("p", { class: "login-wrong", role: "alert" });
  const form = h(
    "form",
    { class: "panel login" },
    h("h1", {}, "Sign in"),
    h(
      "p",
      { class: "muted" },
      context.session.gateway ? `to the gateway ${context.session.gateway}` : "to the gateway",
    ),
    h("label", { class: "field" }, "User", user),
    h("label", { class: "field" }, "Password", password),
    wrong,
    button,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.replaceChildren();
    try {
      await context.api.login(user.value, password.value);
      document.dispatchEvent(new Event("letin"));
    } catch (error) {
      fill(wrong, icon("down"), error instanceof Error ? error.message : String(error));
      password.select();
    } finally {
      button.disabled = false;
    }
  });
  append(root, [form]);
  user.focus();
  return { close() {} };
}
