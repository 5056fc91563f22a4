/** Clients: who is connected, in which role, what they read and write, since when. */

import { append, h, setAttribute, setText } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";
import { compareNames, Rows } from "../rows.js";

/** @typedef {import("../store.js").Row} Row */

/** Longer than this without a request: it is connected, but asks nothing. */
const QUIET_S = 60;

/** @param {HTMLElement} root @param {import("../main.js").Params} params @param {import("../main.js").Context} context */
export async function open(root, params, context) {
  return new Clients(root, params, context);
}

class Clients {
  /** @param {HTMLElement} root @param {import("../main.js").Params} params @param {import("../main.js").Context} context */
  constructor(root, params, context) {
    this._context = context;
    this._words = params.query.get("q") ?? "";
    this._isLoaded = false;
    /** Requests of each at the last message, for the rate. @type {Map<string, {requests: number, since_s: number, perSecond: number | null}>} */
    this._rates = new Map();
    this._facts = h("p", { class: "facts" });
    this._rows = new Rows(
      "Clients",
      columns((row) => this._rates.get(row.peer)?.perSecond ?? null),
      {
        keyOf: (row) => row.peer,
        compare: (a, b) => compareNames(a.peer, b.peer),
        className: "clients",
      },
    );
    this._none = h("p", { class: "empty" }, "Asking the gateway…");
    const search = parts.searchField("Filter clients", this._words, (text) => {
      this._words = text;
      this._filter();
    });
    append(root, [
      h("header", { class: "head" }, h("h1", {}, "Clients"), this._facts, h("div", { class: "tools" }, search)),
      h("section", { class: "panel", "aria-label": "Clients connected" }, this._rows.element, this._none),
    ]);
    this._leave = context.live.subscribe({
      resync: () => this._load(),
      clients: (message) => this._set(message.clients),
    });
    this._filter();
  }

  close() {
    this._leave();
  }

  async _load() {
    this._set((await this._context.api.get("clients")).clients);
  }

  /** @param {Row[]} clients */
  _set(clients) {
    this._isLoaded = true;
    this._measure(clients);
    this._rows.set(clients);
    const places = new Set(clients.map((row) => row.address ?? row.peer)).size;
    const busy = clients.filter((row) => row.idle_s < QUIET_S).length;
    setText(
      this._facts,
      clients.length
        ? `${format.counted(clients.length, "connection")} from ${format.counted(places, "address", "addresses")}, ${busy} asked within the last minute`
        : "",
    );
    this._showNone();
  }

  /** @param {Row[]} clients */
  _measure(clients) {
    const rates = new Map();
    for (const { peer, requests, since_s } of clients) {
      const before = this._rates.get(peer);
      const passed_s = before ? since_s - before.since_s : 0;
      if (before && passed_s > 0 && passed_s < 0.9) rates.set(peer, before);
      else
        rates.set(peer, {
          requests,
          since_s,
          perSecond: before && passed_s > 0 ? (requests - before.requests) / passed_s : null,
        });
    }
    this._rates = rates;
  }

  _filter() {
    const words = this._words.trim();
    this._rows.filter((row) =>
      parts.matches(
        [row.peer, row.door, row.way, row.role, row.certificate, row.last, ...lines(row.seen)].join(" "),
        words,
      ),
    );
    this._showNone();
    parts.keepInAddress({ q: words });
  }

  _showNone() {
    this._none.hidden = this._rows.shown > 0;
    if (this._isLoaded)
      setText(
        this._none,
        this._rows.size
          ? "Nothing matches the filter."
          : "Nobody is connected. The overview tells what the gateway listens on.",
      );
  }
}

/** @param {(row: Row) => number | null} rateOf @returns {import("../rows.js").Column<Row>[]} */
function columns(rateOf) {
  return [
    {
      key: "peer",
      title: "Client",
      width: "minmax(190px, 1.2fr)",
      make: () => h("div", {}, h("strong", { class: "mono" }), h("span", { class: "sub" })),
      paint: (cell, row) => {
        const [name, sub] = /** @type {Element} */ (cell.firstElementChild).children;
        setText(name, row.peer);
        const door = `${row.way ?? ""} at ${row.door ?? ""}`;
        setText(sub, door);
        setAttribute(sub, "title", door);
      },
      sort: (row) => row.peer,
    },
    {
      key: "role",
      title: "Role",
      width: "minmax(72px, 0.6fr)",
      make: () => h("div", {}, h("span"), h("span", { class: "sub" })),
      paint: (cell, row) => {
        const [role, certificate] = /** @type {Element} */ (cell.firstElementChild).children;
        setText(role, row.role || format.NONE);
        setText(certificate, row.certificate ?? "");
        setAttribute(cell, "title", row.certificate || null);
      },
      sort: (row) => row.role ?? "",
    },
    {
      key: "since",
      wide: true,
      title: "Connected",
      width: "88px",
      num: true,
      live: true,
      text: (row) => format.span(row.since_s),
      sort: (row) => row.since_s,
      big: true,
    },
    {
      key: "idle",
      wide: true,
      title: "Quiet for",
      hint: "Since its last request",
      width: "80px",
      num: true,
      live: true,
      text: (row) => format.span(row.idle_s),
      sort: (row) => row.idle_s,
      big: true,
    },
    {
      key: "requests",
      title: "Requests",
      width: "96px",
      num: true,
      live: true,
      make: () => h("div", {}, h("span"), h("span", { class: "sub" })),
      paint: (cell, row) => {
        const [total, sub] = /** @type {Element} */ (cell.firstElementChild).children;
        const rate = rateOf(row);
        setText(total, format.count(row.requests));
        setText(sub, rate === null ? "" : `${format.rate(rate)} /s`);
      },
      sort: (row) => row.requests,
      big: true,
    },
    {
      key: "exceptions",
      title: "Exceptions",
      hint: "Requests answered with an exception",
      width: "88px",
      num: true,
      live: true,
      paint: (cell, row) => {
        setText(cell, format.count(row.exceptions));
        cell.classList.toggle("warn-text", row.exceptions > 0);
      },
      sort: (row) => row.exceptions,
      big: true,
    },
    {
      key: "seen",
      title: "What it asks",
      width: "minmax(200px, 2fr)",
      live: true,
      make: () => h("ul", { class: "seen" }),
      paint: (cell, row) => {
        const seen = lines(row.seen);
        const all = seen.length ? seen : lines(row.last ? [row.last] : []);
        const list = /** @type {Element} */ (cell.firstElementChild);
        const text = all.join("\n");
        if (/** @type {HTMLElement} */ (list).dataset.text === text) return;
        /** @type {HTMLElement} */ (list).dataset.text = text;
        list.replaceChildren(...all.map((line) => h("li", { class: /^write/.test(line) ? "writes" : null }, line)));
      },
    },
  ];
}

/** What was seen, as lines: texts, or objects with a text and how often. @param {any} seen @returns {string[]} */
function lines(seen) {
  return (Array.isArray(seen) ? seen : []).map((each) =>
    typeof each === "string" ? each : String(each?.text ?? each?.[0] ?? ""),
  );
}
