/** The lists of the overview: a device or a link in a row, what is wrong first. */

import { h, setAttribute, setText } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";
import { compareNames } from "../rows.js";

/** @typedef {import("../store.js").Row} Row */

// -- devices ------------------------------------------------------------------------------------------------------

/** @returns {import("../rows.js").Column<Row>[]} */
export function deviceColumns() {
  return [
    {
      key: "state",
      title: "State",
      width: "96px",
      make: (row) => parts.stateBadge(row.state),
      paint: (cell, row) => parts.setState(/** @type {Element} */ (cell.firstElementChild), row.state),
      sort: (row) => parts.rank(row.state),
    },
    {
      key: "device",
      title: "Device",
      width: "minmax(140px, 1.4fr)",
      make: (row) => {
        const box = h("div", {}, h("a", { class: "name", href: parts.deviceHash(row.name) }, row.name));
        box.append(h("span", { class: "sub" }));
        return box;
      },
      paint: (cell, row) => {
        const holes = (row.holes ?? []).length;
        const where = row.link === row.name || !row.link ? `unit ${row.unit}` : `unit ${row.unit} · ${row.link}`;
        setText(
          /** @type {Element} */ (cell.querySelector(".sub")),
          holes ? `${where} · refuses ${format.counted(holes, "range")}` : where,
        );
      },
      sort: (row) => row.name,
    },
    {
      key: "rate",
      title: "Got of asked",
      hint: "Requests a second: reached, and asked for by the configuration",
      width: "104px",
      num: true,
      live: true,
      make: () => parts.gotBar(),
      paint: (cell, row) => {
        const { asked, got } = parts.ratesOf(row.jobs ?? []);
        parts.setGot(/** @type {HTMLElement} */ (cell.firstElementChild), got, row.enabled ? asked : 0);
      },
      sort: (row) => {
        const { asked, got } = parts.ratesOf(row.jobs ?? []);
        return asked ? (got ?? 0) / asked : 2;
      },
    },
    {
      key: "errors",
      title: "Errors",
      hint: "Failed requests since the start; in a row now",
      width: "88px",
      num: true,
      live: true,
      make: () => h("div", {}, h("span"), h("span", { class: "sub" })),
      paint: (cell, row) => {
        const box = /** @type {Element} */ (cell.firstElementChild);
        setText(
          /** @type {Element} */ (box.firstElementChild),
          row.enabled ? format.count(row.failed_requests) : format.NONE,
        );
        setText(
          /** @type {Element} */ (box.lastElementChild),
          row.failures_in_row ? `${format.count(row.failures_in_row)} in a row` : "",
        );
      },
      sort: (row) => row.failed_requests,
      big: true,
    },
    {
      key: "age",
      title: "Age",
      hint: "Of the oldest block",
      width: "72px",
      num: true,
      live: true,
      text: (row) => format.span(row.age_s),
      sort: (row) => row.age_s ?? Infinity,
      big: true,
    },
    {
      key: "since",
      title: "Changed",
      hint: "When its state changed last",
      width: "96px",
      num: true,
      live: true,
      text: (row) => (row.enabled ? format.ago(row.since_s) : format.NONE),
      sort: (row) => row.since_s ?? Infinity,
    },
    {
      key: "error",
      wide: true,
      title: "Last error",
      width: "minmax(120px, 1.6fr)",
      live: true,
      paint: (cell, row) => {
        const text = row.last_error ?? "";
        setText(cell, text);
        setAttribute(cell, "title", text || null);
        cell.classList.toggle("faint", row.state === "good");
      },
    },
  ];
}

/** @param {Row} a @param {Row} b */
export function compareDevices(a, b) {
  return parts.rank(a.state) - parts.rank(b.state) || trouble(b) - trouble(a) || compareNames(a.name, b.name);
}

/** Good devices that are not quite well stand before the others. @param {Row} row */
function trouble(row) {
  return (row.holes ?? []).length > 0 ? 1 : 0;
}

/** @param {Row} row */
export function isWrong(row) {
  return (row.state !== "good" && row.state !== "disabled") || trouble(row) > 0;
}

/** @param {Row} row @param {string} words */
export function matchesDevice(row, words) {
  return parts.matches(`${row.name} ${row.link} unit ${row.unit} ${row.state} ${row.last_error}`, words);
}

/** @param {Iterable<Row>} devices @returns {Record<string, number>} how many are in each state */
export function tally(devices) {
  const counts = /** @type {Record<string, number>} */ ({ down: 0, stale: 0, waiting: 0, good: 0, disabled: 0 });
  for (const device of devices) counts[device.state] = (counts[device.state] ?? 0) + 1;
  return counts;
}

// -- links --------------------------------------------------------------------------------------------------------

/** @param {Row} link */
export function linkState(link) {
  if (link.up) return link.trouble ? "stale" : "good";
  return String(link.trouble ?? "").startsWith("waiting for") || link.trouble === "connecting" ? "waiting" : "down";
}

const LINK_WORDS = /** @type {Record<string, string>} */ ({
  good: "up",
  stale: "silent",
  waiting: "waiting",
  down: "down",
});

/** @param {import("../main.js").Context} context @returns {import("../rows.js").Column<Row>[]} */
export function linkColumns(context) {
  const errors = (/** @type {Row} */ row) =>
    ["timeouts", "losses", "malformed", "crc_errors"].reduce((sum, name) => sum + (row.counters?.[name] ?? 0), 0);
  return [
    {
      key: "state",
      title: "State",
      width: "96px",
      make: (row) => parts.stateBadge(linkState(row), LINK_WORDS[linkState(row)]),
      paint: (cell, row) =>
        parts.setState(/** @type {Element} */ (cell.firstElementChild), linkState(row), LINK_WORDS[linkState(row)]),
      sort: (row) => parts.rank(linkState(row)),
    },
    {
      key: "link",
      title: "Link",
      width: "minmax(160px, 1.5fr)",
      make: () => h("div", {}, h("strong"), h("span", { class: "sub" })),
      paint: (cell, row) => {
        const [name, sub] = /** @type {Element} */ (cell.firstElementChild).children;
        setText(name, row.name);
        const members = context.state.membersOf(row.name);
        const shown = members.length === 1 ? members[0] : members.length ? `${members.length} devices` : "no devices";
        setText(sub, row.url && row.url !== row.name ? `${shown} · ${row.url}` : shown);
      },
      sort: (row) => row.name,
    },
    {
      key: "load",
      title: "Load",
      hint: "Of what the link can carry",
      width: "64px",
      num: true,
      live: true,
      paint: (cell, row) => {
        setText(cell, format.percent(row.load_percent));
        cell.classList.toggle("warn-text", row.load_percent > 100);
      },
      sort: (row) => row.load_percent ?? 0,
      big: true,
    },
    {
      key: "queued",
      wide: true,
      title: "Queued",
      width: "64px",
      num: true,
      live: true,
      text: (row) => format.count(row.queued),
      sort: (row) => row.queued,
      big: true,
    },
    {
      key: "requests",
      wide: true,
      title: "Requests",
      width: "88px",
      num: true,
      live: true,
      text: (row) => format.count(row.counters?.requests),
      sort: (row) => row.counters?.requests ?? 0,
      big: true,
    },
    {
      key: "errors",
      title: "Errors",
      hint: "Time-outs, lost connections, malformed answers, checksums",
      width: "72px",
      num: true,
      live: true,
      text: (row) => format.count(errors(row)),
      sort: errors,
      big: true,
    },
    {
      key: "since",
      title: "Trouble for",
      width: "88px",
      num: true,
      live: true,
      text: (row) => (row.up && !row.trouble ? format.NONE : format.span(row.since_s)),
    },
    {
      key: "error",
      title: "Trouble",
      width: "minmax(120px, 1.5fr)",
      live: true,
      paint: (cell, row) => {
        setText(cell, row.trouble ?? "");
        setAttribute(cell, "title", row.trouble || null);
      },
    },
  ];
}

/** @param {Row} a @param {Row} b */
export function compareLinks(a, b) {
  return parts.rank(linkState(a)) - parts.rank(linkState(b)) || compareNames(a.name, b.name);
}

/** A link that is down without being the network's fault is said to be, else how busy they are.
 * @param {Map<string, Row>} links */
export function linkTrouble(links) {
  const refused = [...links.values()].filter((link) => !link.up && String(link.trouble).startsWith("refused")).length;
  if (refused) return `${refused} refused by the PLC`;
  const busiest = Math.max(0, ...[...links.values()].map((link) => link.load_percent ?? 0));
  return links.size ? `busiest at ${format.percent(busiest)}` : "";
}
