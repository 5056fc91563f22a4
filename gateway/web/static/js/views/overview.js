/**
 * Overview: is it us, the network or the PLC? The answer stands first, then who is concerned; what is wrong comes first
 * everywhere.
 */

import { append, h, icon, setAttribute, setIcon, setText } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";
import { Rows } from "../rows.js";
import { GatewayFacts } from "./gatewayfacts.js";
import {
  compareDevices,
  compareLinks,
  deviceColumns,
  isWrong,
  linkColumns,
  linkState,
  linkTrouble,
  matchesDevice,
  tally,
} from "./overviewlists.js";

/** @typedef {import("../store.js").Row} Row */

const MAX_FINDINGS = 8;
/** The gateway's own counters are no part of the stream: they are fetched while they are looked at. */
const FETCH_MS = 5_000;
/** Whose it is, as it is shown: sign, words. */
const WHOSE = /** @type {Record<string, string>} */ ({ us: "Gateway", network: "Network", PLC: "PLC" });
export const shortcuts = [["Enter", "open the device that has the focus"]];

/** @param {HTMLElement} root @param {import("../main.js").Params} params @param {import("../main.js").Context} context */
export async function open(root, params, context) {
  return new Overview(root, params, context);
}

class Overview {
  /** @param {HTMLElement} root @param {import("../main.js").Params} params @param {import("../main.js").Context} context */
  constructor(root, params, context) {
    this._context = context;
    this._shown = params.query.get("show") ?? "devices";
    this._words = params.query.get("q") ?? "";
    this._only = params.query.get("only") ?? "";
    this._all = false;
    this._requests = { count: 0, uptime_s: 0, perSecond: /** @type {number | null} */ (null) };

    this._facts = {
      up: h("b", { class: "live" }),
      configuration: h("b", { class: "live" }),
      serves: h("b", { class: "live" }),
    };
    this._verdict = h("div", { class: "verdict panel" });
    this._verdictSign = icon("waiting", "verdict-sign");
    this._verdictText = h("p", { class: "verdict-text", role: "status" }, "Asking the gateway…");
    this._chain = chain();
    this._findings = h("ul", { class: "findings" });
    append(this._verdict, [
      h("div", { class: "verdict-head" }, this._verdictSign, this._verdictText),
      this._chain.element,
      this._findings,
    ]);

    this._devices = new Rows("Devices", deviceColumns(), {
      keyOf: (row) => row.name,
      compare: compareDevices,
      className: "devices",
      stateOf: (row) => row.state,
    });
    this._links = new Rows("Links", linkColumns(context), {
      keyOf: (row) => row.name,
      compare: compareLinks,
      className: "links",
      stateOf: (row) => linkState(row),
    });
    this._gateway = new GatewayFacts();
    this._search = parts.searchField("Filter devices and links", this._words, (text) => {
      this._words = text;
      this._filter();
    });
    this._tabs = parts.segments(
      "What is listed",
      [
        ["devices", "Devices"],
        ["links", "Links"],
        ["gateway", "Gateway"],
      ],
      this._shown,
      (key) => {
        this._shown = key;
        this._show();
      },
    );
    this._wrongOnly = h(
      "button",
      { class: "button", type: "button", "aria-pressed": String(this._only === "wrong") },
      "Wrong only",
    );
    this._wrongOnly.addEventListener("click", () => {
      this._only = this._only ? "" : "wrong";
      this._wrongOnly.setAttribute("aria-pressed", String(this._only === "wrong"));
      this._filter();
    });
    this._none = h("p", { class: "empty", hidden: true });
    this._list = h("section", { class: "panel list", "aria-label": "Devices and links" });
    append(this._list, [
      h("header", {}, this._tabs, h("div", { class: "tools" }, this._wrongOnly, this._search)),
      this._devices.element,
      this._links.element,
      this._gateway.element,
      this._none,
    ]);
    append(root, [
      h(
        "header",
        { class: "head" },
        h("h1", {}, "Overview"),
        h(
          "p",
          { class: "facts" },
          ...Object.entries(this._facts).map(([term, value]) => h("span", {}, `${term} `, value)),
        ),
      ),
      this._verdict,
      this._list,
    ]);

    this._onClick = (/** @type {MouseEvent} */ event) => this._clicked(event);
    this._list.addEventListener("click", this._onClick);
    this._leave = [
      context.state.onChange((change) => this._changed(change)),
      context.live.onStatus(() => this._paintTop()),
    ];
    this._timer = setInterval(
      () => this._shown === "gateway" && !document.hidden && context.live.isLive && context.state.load().catch(() => {}),
      FETCH_MS,
    );
    this._show();
    if (context.state.isLoaded) {
      this._count();
      this._paintTop();
    }
  }

  close() {
    clearInterval(this._timer);
    for (const leave of this._leave) leave();
  }

  /** @param {import("../main.js").Params} params */
  update(params) {
    const shown = params.query.get("show") ?? "devices";
    this._words = params.query.get("q") ?? "";
    const input = this._search.querySelector("input");
    if (input) input.value = this._words;
    const button = /** @type {HTMLElement | undefined} */ (
      [...this._tabs.children].find((each) => /** @type {HTMLElement} */ (each).dataset.key === shown)
    );
    button?.click();
  }

  /** @param {import("../store.js").Change} change */
  _changed(change) {
    const { state } = this._context;
    const isDevices = this._shown === "devices";
    if (!change.all && isDevices) this._devices.change(picked(change.devices, state.devices));
    else if (!change.all && this._shown === "links") this._links.change(picked(change.links, state.links));
    else this._paintAll();
    this._count();
    this._paintTop();
    this._showNone();
  }

  /** What is listed, anew; the lists that are not seen are not kept up. */
  _paintAll() {
    const { state } = this._context;
    if (this._shown === "devices") this._devices.set(state.devices.values());
    else if (this._shown === "links") this._links.set(state.links.values());
    else this._gateway.paint(state);
  }

  // -- the answer -----------------------------------------------------------------------------------------------

  /** Requests a second since the last message. */
  _count() {
    const { requests, uptime_s } = this._context.state.gateway;
    const before = this._requests;
    const passed_s = uptime_s - before.uptime_s;
    if (before.uptime_s && passed_s >= 0.9) {
      this._requests = { count: requests, uptime_s, perSecond: Math.max(0, (requests - before.count) / passed_s) };
    } else if (!before.uptime_s || passed_s < 0) this._requests = { count: requests, uptime_s, perSecond: null };
  }

  _paintTop() {
    const { state, live } = this._context;
    if (!state.isLoaded) return;
    const { gateway, findings } = state;
    const devices = tally(state.devices.values());
    const up = [...state.links.values()].filter((link) => link.up).length;
    setText(this._facts.up, format.span(gateway.uptime_s));
    setText(this._facts.configuration, String(gateway.generation ?? format.NONE));
    setText(this._facts.serves, (gateway.listen ?? []).join(", ") || "nobody");

    const enabled = state.devices.size - devices.disabled;
    let sign = "good";
    let text;
    if (!live.isLive) {
      sign = "waiting";
      text = "Not known: there is no connection to the gateway. What you see is old.";
    } else if (findings.length) {
      sign = devices.down || up < state.links.size ? "down" : "stale";
      text = `${format.counted(findings.length, "thing is", "things are")} wrong: ${culprits(findings)}`;
    } else {
      const waiting = devices.waiting ? `, ${devices.waiting} waiting for the first answer` : "";
      if (devices.waiting) sign = "waiting";
      text = `Nothing is wrong: ${format.counted(devices.good, "device")} good${waiting}, ${up} of ${format.counted(state.links.size, "link")} up.`;
      if (!state.devices.size) text = "Nothing is wrong. No devices are configured.";
    }
    setIcon(this._verdictSign, sign);
    setAttribute(this._verdict, "data-state", sign);
    setText(this._verdictText, text);

    const count = (/** @type {string} */ whose) => findings.filter((finding) => finding.whose === whose).length;
    const rate = this._requests.perSecond;
    this._chain.set(
      "clients",
      gateway.clients ? "good" : "disabled",
      format.counted(gateway.clients ?? 0, "client"),
      rate === null ? "" : `${format.rate(rate)} requests/s`,
    );
    this._chain.set(
      "us",
      count("us") ? "stale" : "good",
      count("us") ? format.counted(count("us"), "finding") : "runs well",
      format.counted(gateway.exceptions ?? 0, "exception"),
    );
    const network = count("network") ? "down" : "good";
    this._chain.set("network", network, `${up} of ${state.links.size} up`, linkTrouble(state.links));
    const plc = devices.down && count("PLC") ? "down" : count("PLC") ? "stale" : "good";
    const bad = enabled - devices.good;
    this._chain.set(
      "plcs",
      plc,
      `${devices.good} of ${enabled} good`,
      bad
        ? ["down", "stale", "waiting"]
            .filter((each) => devices[each])
            .map((each) => `${devices[each]} ${each}`)
            .join(", ")
        : "",
    );
    this._paintFindings(findings);
    parts.setSegment(this._tabs, "devices", state.devices.size);
    parts.setSegment(this._tabs, "links", state.links.size);
  }

  /** @param {import("../store.js").Finding[]} findings */
  _paintFindings(findings) {
    const shown = this._all ? findings : findings.slice(0, MAX_FINDINGS);
    const more = findings.length - shown.length;
    while (this._findings.children.length > shown.length + (more ? 1 : 0)) this._findings.lastElementChild?.remove();
    shown.forEach((finding, at) => {
      const kind = findingKind(finding);
      const there = /** @type {HTMLElement | undefined} */ (this._findings.children[at]);
      // The ages in the sentences change every second: the words are changed where they stand, so that a button stays
      // under the finger, and the focus where it is.
      if (there?.dataset.kind === kind) return paintFinding(there, finding);
      const made = findingItem(finding);
      made.dataset.kind = kind;
      if (there) there.replaceWith(made);
      else this._findings.append(made);
    });
    if (more && !this._findings.querySelector(".finding-more")) {
      const button = h("button", { class: "button small", type: "button" });
      button.addEventListener("click", () => {
        this._all = true;
        this._paintFindings(this._context.state.findings);
      });
      this._findings.append(h("li", { class: "finding-more", data: { kind: "more" } }, button));
    }
    const button = this._findings.querySelector(".finding-more button");
    if (button) setText(button, `Show ${more} more`);
  }

  // -- the lists ------------------------------------------------------------------------------------------------

  _show() {
    this._devices.element.hidden = this._shown !== "devices";
    this._links.element.hidden = this._shown !== "links";
    this._gateway.element.hidden = this._shown !== "gateway";
    this._search.hidden = this._wrongOnly.hidden = this._shown === "gateway";
    if (this._context.state.isLoaded) this._paintAll();
    this._filter();
  }

  _filter() {
    const words = this._words.trim();
    const only = this._only;
    this._devices.filter((row) => (!only || isWrong(row)) && matchesDevice(row, words));
    this._links.filter(
      (row) =>
        (!only || !row.up || Boolean(row.trouble)) &&
        parts.matches(`${row.name} ${(row.urls ?? []).join(" ")} ${row.trouble} ${linkState(row)}`, words),
    );
    this._showNone();
    parts.keepInAddress({ show: this._shown === "devices" ? "" : this._shown, q: words, only });
  }

  _showNone() {
    const rows = this._shown === "devices" ? this._devices : this._shown === "links" ? this._links : null;
    this._none.hidden = rows === null || rows.shown > 0 || !this._context.state.isLoaded;
    setText(this._none, rows?.size ? "Nothing matches the filter." : `There are no ${this._shown}.`);
  }

  /** A row is a link to its device; text may be selected all the same. @param {MouseEvent} event */
  _clicked(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const row = /** @type {HTMLElement | null} */ (target.closest(".devices .row.body"));
    if (row === null || target.closest("a, button") || getSelection()?.toString()) return;
    this._context.go(parts.deviceHash(row.dataset.key ?? ""));
  }
}

// -- the top ------------------------------------------------------------------------------------------------------

/** SCADA, we, the network, the PLCs: the way every value takes, and where it is broken. */
function chain() {
  const nodes = /** @type {Record<string, {sign: Element, element: Element, main: Element, sub: Element}>} */ ({});
  const list = h("ol", { class: "chain", "aria-label": "The way of the values" });
  for (const [key, title, href] of [
    ["clients", "Clients", "#/clients"],
    ["us", "Gateway", "#/overview?show=gateway"],
    ["network", "Network links", "#/overview?show=links"],
    ["plcs", "PLCs", "#/overview"],
  ]) {
    const sign = icon("waiting", "icon sign");
    const main = h("span", { class: "node-main live" }, format.NONE);
    const sub = h("span", { class: "node-sub live" });
    const words = h("span", { class: "node-words" }, h("span", { class: "node-title" }, title), main, sub);
    const element = h("a", { class: "node", href, data: { state: "waiting" } }, sign, words);
    nodes[key] = { sign, element, main, sub };
    list.append(h("li", {}, element));
  }
  return {
    element: list,
    /** @param {string} key @param {string} state @param {string} main @param {string} sub */
    set(key, state, main, sub) {
      const node = nodes[key];
      setIcon(node.sign, state);
      setAttribute(node.element, "data-state", state);
      setText(node.main, main);
      setText(node.sub, sub);
    },
  };
}

/** What its element is made for. @param {import("../store.js").Finding} finding */
const findingKind = ({ whose, device, more }) => `${whose} ${device ?? ""} ${more?.length ?? 0}`;

/** @param {import("../store.js").Finding} finding */
function findingItem(finding) {
  const whose = h("span", { class: `whose ${finding.whose}` }, WHOSE[finding.whose] ?? finding.whose);
  const lines = [finding.text, ...(finding.more ?? [])].map((_, at) => h("p", { class: at ? "muted" : null }));
  const text = h("div", { class: "finding-text live" }, ...lines);
  const link = finding.device
    ? h(
        "a",
        { class: "button small", href: parts.deviceHash(finding.device), "aria-label": `Open ${finding.device}` },
        "Open",
      )
    : null;
  const item = h("li", { class: "finding" }, whose, text, link);
  paintFinding(item, finding);
  return item;
}

/** @param {HTMLElement} item @param {import("../store.js").Finding} finding */
function paintFinding(item, finding) {
  const lines = item.querySelectorAll(".finding-text p");
  [finding.text, ...(finding.more ?? [])].forEach((line, at) => setText(lines[at], line));
}

/** `2 PLC, 1 network`. @param {import("../store.js").Finding[]} findings */
function culprits(findings) {
  const words = /** @type {Record<string, string>} */ ({
    us: "in the gateway",
    network: "on the network",
    PLC: "at the PLCs",
  });
  const counts = /** @type {Map<string, number>} */ (new Map());
  for (const { whose } of findings) counts.set(whose, (counts.get(whose) ?? 0) + 1);
  return [...counts].map(([whose, count]) => `${count} ${words[whose] ?? whose}`).join(", ");
}

/** @param {Set<string>} names @param {Map<string, Row>} rows @returns {[string, Row | null][]} */
function picked(names, rows) {
  return [...names].map((name) => [name, rows.get(name) ?? null]);
}
