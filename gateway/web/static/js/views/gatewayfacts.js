/** The gateway about itself: what it needs, what clients and callers did not get, lines and routes. */

import { fill, h } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";

/** @typedef {import("../store.js").Row} Row */

const TURNED_AWAY = [
  ["refused_connections", "clients turned away"],
  ["handshakes_failed", "TLS handshakes failed"],
  ["half", "closed for half a request"],
  ["unfetched", "closed for answers not fetched"],
  ["broken", "closed for a broken stream"],
  ["denied", "requests refused by the rules"],
  ["slowed", "times a client was slowed down"],
  ["dropped", "datagrams dropped"],
];
const DIALLED_IN = [
  ["calls", "devices that dialled in"],
  ["unknown", "with an unknown id"],
  ["silent", "without an id in time"],
  ["crowded", "when too many had none yet"],
  ["replaced", "replaced by their next call"],
];

export class GatewayFacts {
  constructor() {
    this._own = new parts.Pairs([
      ["version", "Version"],
      ["uptime", "Up for"],
      ["generation", "Configuration", "Counts the reloads that were applied"],
      ["clients", "Clients connected"],
      ["requests", "Requests"],
      ["exceptions", "Answered with an exception"],
      ["memory", "Memory"],
      ["files", "Open files"],
      ["tasks", "Tasks"],
      ["config", "File"],
      ["listen", "Listens on"],
      ["reload", "Last reload"],
    ]);
    this._away = new parts.Pairs(
      /** @type {[string, string][]} */ ([
        ...TURNED_AWAY,
        ...DIALLED_IN,
        ["audit", "Audit lines"],
        ["lost", "Audit lines lost"],
      ]),
    );
    this._serial = h("div");
    this._routes = h("div");
    this.element = h(
      "div",
      { class: "panel-body gateway-facts" },
      this._own.element,
      h("h3", {}, "What clients and callers did not get"),
      this._away.element,
      this._serial,
      this._routes,
    );
  }

  /** @param {import("../store.js").State} state */
  paint({ gateway, rest }) {
    this._own.set("version", String(gateway.version ?? ""));
    this._own.set("uptime", format.span(gateway.uptime_s));
    this._own.set("generation", String(gateway.generation ?? format.NONE));
    for (const name of ["clients", "requests", "exceptions", "tasks"]) this._own.set(name, format.count(gateway[name]));
    this._own.set("files", format.count(gateway.open_files));
    this._own.set("memory", format.bytes((gateway.memory_kb ?? NaN) * 1024));
    this._own.set("config", String(gateway.config ?? ""));
    this._own.set("listen", (gateway.listen ?? []).join(", "));
    this._own.set("reload", gateway.reload || null, "warn-text");
    let any = false;
    for (const [source, names] of /** @type {[any, string[][]][]} */ ([
      [rest.server, TURNED_AWAY],
      [rest.dial_in, DIALLED_IN],
    ])) {
      for (const [name] of names) {
        this._away.set(name, source?.[name] ? format.count(source[name]) : null);
        any ||= Boolean(source?.[name]);
      }
    }
    this._away.set("audit", rest.audit?.lines ? format.count(rest.audit.lines) : null);
    this._away.set("lost", rest.audit?.lost ? format.count(rest.audit.lost) : null, "bad-text");
    const title = /** @type {HTMLElement} */ (this._away.element.previousElementSibling);
    title.hidden = this._away.element.hidden = !any && !rest.audit?.lines && !rest.audit?.lost;
    fill(this._serial, ...serialLines(rest.serial ?? []));
    fill(this._routes, ...routeTable(rest.routes ?? []));
  }
}

/** @param {Row[]} lines */
function serialLines(lines) {
  if (!lines.length) return [];
  const rows = lines.map((line) =>
    h(
      "tr",
      {},
      h("td", {}, parts.stateBadge(line.open ? "good" : "down", line.open ? "open" : "not open")),
      h("td", { class: "mono" }, line.url),
      ...["requests", "exceptions", "heard", "broken"].map((name) =>
        h("td", { class: "num live" }, format.count(line[name])),
      ),
    ),
  );
  return [
    h("h3", {}, "Serial lines of clients"),
    table(["", "Line", ">Requests", ">Exceptions", ">Frames heard", ">Unreadable"], rows),
  ];
}

/** @param {Row[]} routes */
function routeTable(routes) {
  if (!routes.length) return [];
  const rows = routes.map((route) =>
    h(
      "tr",
      {},
      h("td", { class: "num" }, String(route.unit)),
      h("td", {}, route.forward),
      h("td", { class: "num" }, route.to_unit === null ? "same" : String(route.to_unit)),
      h("td", {}, route.read_only ? "read" : "all"),
      ...["requests", "shared", "cached", "refused", "failed"].map((name) =>
        h("td", { class: "num live" }, format.count(route[name])),
      ),
    ),
  );
  const columns = [">Unit", "Goes to", ">Unit there", "May", ">Requests", ">Shared", ">Cached", ">Refused", ">Failed"];
  return [h("h3", {}, "Forwarded units"), table(columns, rows)];
}

/** @param {string[]} columns `>` stands right @param {HTMLElement[]} rows */
function table(columns, rows) {
  const head = columns.map((column) =>
    h("th", { scope: "col", class: column.startsWith(">") ? "num" : null }, column.replace(/^>/, "")),
  );
  return h(
    "div",
    { class: "scroll" },
    h("table", { class: "table" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)),
  );
}
