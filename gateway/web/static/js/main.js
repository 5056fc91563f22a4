/**
 * The page's shell: navigation, router, session, the line that says whether all this is live.
 *
 * A view is a module `js/views/NAME.js`, loaded when it is first opened:
 *
 *     export async function open(root, params, context) -> {close(), update?(params)}
 *
 * - `root`: an empty element of its own; it is thrown away after `close()`.
 * - `params`: `{path: ["press"], query: URLSearchParams}` of `#/device/press?...`. A view with `update` is kept when only
 *   its params change; one without is opened anew.
 * - `context`: see `Context` below.
 * - `export const shortcuts = [["Enter", "open"], ...]`, if it has any, are shown in the help.
 * - What shows live values carries the class `live`: the shell greys it while there is no connection.
 * - The field that `/` focuses carries `data-search`.
 */

import { Api, ApiError } from "./api.js";
import * as dialog from "./dialog.js";
import { fill, h, icon, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import * as help from "./help.js";
import { Live } from "./live.js";
import { State, Tags } from "./store.js";

/**
 * @typedef {object} Context
 * @property {Api} api get, post, now()
 * @property {Live} live subscribe, isLive, onStatus
 * @property {import("./api.js").Session} session changes in place
 * @property {typeof format} format
 * @property {(hash: string) => void} go e.g. `go("#/device/press")`
 * @property {typeof dialog} dialog show, confirm
 * @property {State} state links, devices, findings; onChange
 * @property {Tags} tags every tag and its value; open
 * @property {(text: string, level?: "info" | "warning" | "error") => void} notify one line that goes away by itself
 *
 * @typedef {{path: string[], query: URLSearchParams}} Params
 * @typedef {{close(): void, update?(params: Params): void}} View
 * @typedef {{open(root: HTMLElement, params: Params, context: Context): Promise<View>, shortcuts?: string[][]}} Module
 */

/** In the order of the navigation: the digit is the place, the letter comes after `g`. */
export const VIEWS = [
  { name: "overview", title: "Overview", letter: "o", load: () => import("./views/overview.js") },
  { name: "device", title: "Device", letter: "d", load: () => import("./views/device.js") },
  { name: "tags", title: "Tags", letter: "t", load: () => import("./views/tags.js") },
  { name: "registers", title: "Registers", letter: "r", load: () => import("./views/registers.js") },
  { name: "trends", title: "Trends", letter: "n", load: () => import("./views/trends.js") },
  { name: "clients", title: "Clients", letter: "c", load: () => import("./views/clients.js") },
  { name: "events", title: "Events", letter: "e", load: () => import("./views/events.js") },
];

const TOAST_MS = 6_000;
const MAX_TOASTS = 3;
/** A connection that comes back within it is not worth a banner; what is shown is greyed at once all the same. */
const BANNER_AFTER_S = 1;
/** While snapshots are on their way. */
const BANNER_LOADING_S = 10;
const TICK_MS = 500;
/** A view that lacks its data for less is not worth a word; after the second, the answer is late. */
const LACK_AFTER_S = 0.4;
const SLOW_S = 3;

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const theme = /** @type {{chosen(): string, next(): string}} */ (/** @type {any} */ (window).gatewayTheme);

const api = new Api();
const live = new Live(api);
const state = new State(api, live);
const tags = new Tags(api, live);
const content = element("content");

/** @type {Context} */
const context = { api, live, session: api.session, format, go, dialog, state, tags, notify };

/** What is open: @type {{name: string, module: Module, view: View} | null} */
let current = null;
let opening = 0;
/** The view could not be opened for want of an answer: it is tried again when there is one. */
let isFailed = false;
/** Of the gateway that this page was loaded from. */
let pageVersion = "";
/** Since when the view lacks what it is to show; 0: it does not. */
let lacking_ms = 0;

// -- the router ---------------------------------------------------------------------------------------------------

/** @param {string} hash */
function go(hash) {
  if (location.hash === hash) void route();
  else location.hash = hash;
}

/** @returns {{name: string, params: Params}} */
function where() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ...rest] = path.split("/").map(decode);
  return { name: name || "overview", params: { path: rest.filter(Boolean), query: new URLSearchParams(query ?? "") } };
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function route() {
  const { name, params } = where();
  closeMenu();
  if (!api.isLetIn) return open("login", "Sign in", () => import("./views/login.js"), params);
  const found = VIEWS.find((each) => each.name === name);
  if (!found) return go("#/overview");
  for (const link of document.querySelectorAll("#nav a"))
    setAttribute(link, "aria-current", link.id === `nav-${name}` ? "page" : null);
  if (current?.name === name && current.view.update) {
    current.view.update(params);
    return;
  }
  await open(name, found.title, found.load, params);
}

/** @param {string} name @param {string} title @param {() => Promise<any>} load @param {Params} params */
async function open(name, title, load, params) {
  const mine = ++opening;
  const isFirst = current === null;
  isFailed = false;
  current?.view.close();
  current = null;
  document.body.dataset.view = name;
  viewTitle = title;
  showTitle();
  const root = h("div", { class: `view view-${name}` });
  content.replaceChildren(lack, root);
  content.scrollTop = 0;
  window.scrollTo(0, 0);
  try {
    /** @type {Module} */
    const module = await load();
    if (mine !== opening) return;
    const view = await module.open(root, params, context);
    if (mine !== opening) return view.close();
    current = { name, module, view };
  } catch (error) {
    if (mine !== opening) return;
    if (error instanceof ApiError && error.status === 401) return; // the login is on its way
    isFailed = error instanceof ApiError;
    showFailure(root, title, error);
    if (!(error instanceof ApiError)) console.error(error);
  }
  if (!isFirst && mine === opening && !root.contains(document.activeElement)) content.focus({ preventScroll: true });
}

/** @param {HTMLElement} root @param {string} title @param {unknown} error */
function showFailure(root, title, error) {
  const again = h("button", { type: "button", class: "button", on: { click: () => route() } }, "Try again");
  const text = error instanceof ApiError ? error.message : "the page could not be loaded; reload it";
  fill(root, h("header", { class: "head" }, h("h1", {}, title)), h("div", { class: "empty" }, h("p", {}, text), again));
}

/** After the gateway was started anew: nothing that the view knows is kept. @param {string} version */
function restarted(version) {
  const isOther = version !== pageVersion;
  if (isOther && !dialog.isOpen()) return location.reload(); // its page may be another, too
  if (isOther) notify(`The gateway is ${version} now: load this page anew`, "warning");
  else notify("The gateway was started anew", "info");
  current?.view.close();
  current = null;
  void route();
}

const lack = h("p", { class: "notice lack", role: "status", hidden: true });

/** A view that has nothing to show yet says why. */
function showLack() {
  const isLacking = api.isLetIn && !isFailed && (current === null || !state.isLoaded || tags.isAwaited);
  if (!isLacking) lacking_ms = 0;
  else lacking_ms ||= Date.now();
  const waited_s = lacking_ms ? (Date.now() - lacking_ms) / 1000 : 0;
  lack.hidden = waited_s < LACK_AFTER_S;
  if (lack.hidden) return;
  const since = waited_s < SLOW_S ? "…" : `, which has not answered for ${format.count(waited_s)} s.`;
  setText(lack, `${viewTitle}: asking the gateway${since} What this view shows comes when it answers.`);
}

// -- navigation, help, theme --------------------------------------------------------------------------------------

function buildNavigation() {
  VIEWS.forEach((view, at) => {
    const link = h("a", { id: `nav-${view.name}`, href: `#/${view.name}`, "aria-keyshortcuts": String(at + 1) });
    link.append(icon(view.name), h("span", {}, view.title), h("span", { class: "nav-badge", hidden: true }));
    link.append(h("kbd", { "aria-hidden": "true" }, String(at + 1)));
    element("nav").append(h("li", {}, link));
  });
  element("menu").addEventListener("click", () => (isMenuOpen() ? closeMenu() : openMenu()));
  element("theme").addEventListener("click", nextTheme);
  element("help").addEventListener("click", showHelp);
  element("skip").addEventListener("click", (event) => {
    event.preventDefault();
    content.focus();
  });
  showTheme();
}

const isMenuOpen = () => element("menu").getAttribute("aria-expanded") === "true";

function openMenu() {
  element("menu").setAttribute("aria-expanded", "true");
  document.querySelector(/** @type {any} */ ("#nav a"))?.focus();
}

function closeMenu() {
  element("menu").setAttribute("aria-expanded", "false");
}

function nextTheme() {
  theme.next();
  showTheme();
}

function showTheme() {
  const chosen = theme.chosen();
  const word = { auto: "as the system", light: "light", dark: "dark" }[chosen] ?? chosen;
  const button = element("theme");
  fill(button, icon(chosen));
  button.title = `Colours: ${word} (m)`;
  button.setAttribute("aria-label", `Colours: ${word}`);
}

function showHelp() {
  help.show(dialog, VIEWS, current?.module.shortcuts ?? []);
}

// -- keyboard -----------------------------------------------------------------------------------------------------

let afterG = 0;
const G_MS = 1_200;

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog.isOpen()) return;
  const target = /** @type {HTMLElement} */ (event.target);
  const isTyping = target.matches?.("input, textarea, select, [contenteditable]");
  if (event.key === "Escape") {
    if (isMenuOpen()) {
      closeMenu();
      element("menu").focus();
    } else if (isTyping) target.blur();
    return;
  }
  if (isTyping || !api.isLetIn) return;
  const byLetter = Date.now() - afterG < G_MS ? VIEWS.find((view) => view.letter === event.key) : undefined;
  const byDigit = /^[1-9]$/.test(event.key) ? VIEWS[Number(event.key) - 1] : undefined;
  afterG = event.key === "g" ? Date.now() : 0;
  if (byLetter ?? byDigit) go(`#/${(byLetter ?? byDigit)?.name}`);
  else if (event.key === "/") /** @type {HTMLElement | null} */ (content.querySelector("[data-search]"))?.focus();
  else if (event.key === "?") showHelp();
  else if (event.key === "m") nextTheme();
  else return;
  event.preventDefault();
}

// -- who, and whether it is live ----------------------------------------------------------------------------------

let viewTitle = "Overview";

function showTitle() {
  const wrong = live.isLive && state.isLoaded ? state.findings.length : 0;
  const name = api.session.gateway || "gateway";
  document.title = `${wrong ? `(${wrong}) ` : ""}${viewTitle} · ${name}`;
}

function showSession() {
  const { session } = api;
  setText(element("gateway-name"), session.gateway || "Gateway");
  setText(element("gateway-version"), session.version ? `gateway ${session.version}` : "");
  document.body.dataset.letIn = api.isLetIn ? "yes" : "no";
  const may = session.may_write ? "may write" : "read only";
  const sign = icon(session.may_write ? "write" : "lock");
  const rights = h("span", { class: "rights" }, sign, may);
  if (!session.login) {
    const why = "No users are configured: everyone who reaches this page may look, nobody may write";
    fill(element("user"), h("p", { class: "who", title: why }, rights));
  } else if (session.user !== null) {
    const out = h("button", { class: "button small", type: "button", id: "logout", on: { click: logout } }, "Sign out");
    const name = h("span", { class: "who-name" }, icon("user"), h("strong", {}, session.user));
    fill(
      element("user"),
      h("p", { class: "who" }, name, h("span", { class: "role" }, session.role ?? ""), rights),
      out,
    );
  } else fill(element("user"));
}

async function logout() {
  try {
    await api.logout();
  } catch (error) {
    return notify(`Not signed out: ${error instanceof Error ? error.message : error}`, "error");
  }
  leave();
}

/** Nothing of what was seen stays on the page. */
function leave() {
  dialog.closeAll();
  live.stop();
  state.stop();
  tags.close();
  showSession();
  showLive();
  void route();
}

/** Called by the login view when someone was let in. */
function enter() {
  showSession();
  state.start();
  live.start();
  void route();
}
document.addEventListener("letin", enter);
live.onRestart = restarted;
api.onSignedOut = () => {
  leave();
  notify("Your session has ended: sign in again", "warning");
};

function showLive() {
  const isShown = api.isLetIn;
  const lost_s = live.lost_s;
  const isLost = isShown && !live.isLive;
  setAttribute(document.documentElement, "data-live", isLost ? "no" : "yes");
  showLack();
  if (isFailed && live.isLive) void route();
  const banner = element("lost");
  const isBanner = isLost && lost_s >= (live.isConnected ? BANNER_LOADING_S : BANNER_AFTER_S) && !document.hidden;
  if (isBanner) {
    if (banner.hidden)
      fill(
        banner,
        icon("down"),
        h("p", {}, h("span", { class: "lost-why" }), h("span", { class: "lost-since", "aria-hidden": "true" })),
      );
    const why = live.refusal ? `The gateway does not let this page watch (${live.refusal})` : "No connection to the gateway";
    setText(/** @type {HTMLElement} */ (banner.querySelector(".lost-why")), why);
    const since = /** @type {HTMLElement} */ (banner.querySelector(".lost-since"));
    setText(since, ` since ${lost_s < 10 ? `${Math.floor(lost_s)} s` : format.span(lost_s)}. What you see is old.`);
  }
  banner.hidden = !isBanner;
  const pulse = element("pulse");
  setAttribute(pulse, "data-live", isLost ? "no" : "yes");
  setText(pulse, !isShown ? "" : isLost ? "not live" : "live");
  showTitle();
}

function showWrong() {
  const badge = /** @type {HTMLElement} */ (document.querySelector("#nav-overview .nav-badge"));
  const wrong = state.findings.length;
  badge.hidden = wrong === 0;
  setText(badge, String(wrong));
  setAttribute(badge, "aria-label", `${wrong} findings`);
  showTitle();
}

/** @param {string} text @param {"info" | "warning" | "error"} [level] */
function notify(text, level = "info") {
  const toasts = element("toasts");
  const toast = h(
    "p",
    { class: `toast ${level}` },
    icon({ info: "good", warning: "stale", error: "down" }[level]),
    text,
  );
  toasts.append(toast);
  while (toasts.children.length > MAX_TOASTS) toasts.firstElementChild?.remove();
  setTimeout(() => toast.remove(), TOAST_MS);
}

// -- the start ----------------------------------------------------------------------------------------------------

async function start() {
  buildNavigation();
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", () => void route());
  live.onStatus(showLive);
  setInterval(showLive, TICK_MS);
  state.onChange(showWrong);
  for (;;) {
    try {
      pageVersion = (await api.loadSession()).version;
      break;
    } catch (error) {
      showFailure(content, "Gateway", error);
      await new Promise((resolve) => setTimeout(resolve, 2_000));
    }
  }
  if (api.isLetIn) enter();
  else leave();
}

void start();
