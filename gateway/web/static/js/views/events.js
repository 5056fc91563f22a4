/**
 * Events: what happened, newest first. The document holds a page of them, the memory what the gateway keeps; the same
 * said several times in a row is one line with its count, so that a client that writes ten times a second hides nothing.
 */

import { append, h, icon, setText } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";

/**
 * @typedef {{number: number, time_ms: number, kind: string, where: string, level: "info" | "warning" | "error",
 *   text: string, details: Record<string, any>}} Event
 */

/** As many as the gateway keeps. */
const MAX_KEPT = 2_000;
const PAGE = 200;
const KINDS = [
  ["", "All"],
  ["device", "Devices"],
  ["link", "Links"],
  ["write", "Writes"],
  ["client", "Clients"],
  ["reload", "Reloads"],
  ["gateway", "Gateway"],
];
const LEVELS = [
  ["", "Every level"],
  ["warning", "Warnings and errors"],
  ["error", "Errors"],
];
const SIGNS = { info: "info", warning: "stale", error: "down" };
const WEIGHT = { info: 0, warning: 1, error: 2 };

export const shortcuts = [["p", "hold the list, or let it go on"]];

/** @param {HTMLElement} root @param {import("../main.js").Params} params @param {import("../main.js").Context} context */
export async function open(root, params, context) {
  return new Events(root, params, context);
}

class Events {
  /** @param {HTMLElement} root @param {import("../main.js").Params} params @param {import("../main.js").Context} context */
  constructor(root, params, context) {
    this._context = context;
    /** Newest first. @type {Event[]} */
    this._events = [];
    this._last = 0;
    /** Of the gateway's process that they are of. */
    this._boot = "";
    this._isLoaded = false;
    /** What comes while older ones are on their way; null: none are. @type {Event[] | null} */
    this._waiting = null;
    this._isHeld = false;
    this._missed = 0;
    this._shown = PAGE;
    this._kind = params.query.get("kind") ?? "";
    this._level = params.query.get("level") ?? "";
    this._words = params.query.get("q") ?? "";

    this._search = parts.searchField("Filter events", this._words, (text) => {
      this._words = text;
      this._filtered();
    });
    this._kinds = parts.segments("Kind", /** @type {[string, string][]} */ (KINDS), this._kind, (kind) => {
      this._kind = kind;
      this._filtered();
    });
    const level = h(
      "select",
      { class: "select", "aria-label": "Level" },
      ...LEVELS.map(([key, words]) => h("option", { value: key, selected: key === this._level }, words)),
    );
    level.addEventListener("change", () => {
      this._level = /** @type {HTMLSelectElement} */ (level).value;
      this._filtered();
    });
    this._hold = h(
      "button",
      { class: "button", type: "button", "aria-pressed": "false", title: "Hold the list (p)" },
      icon("pause"),
      "Hold",
    );
    this._hold.addEventListener("click", () => this._toggleHold());
    this._fresh = h("button", { class: "button small fresh", type: "button", hidden: true }, icon("up"), h("span"));
    this._fresh.addEventListener("click", () => this._toggleHold());
    this._list = h("ol", { class: "events" });
    this._none = h("p", { class: "empty" }, "Asking the gateway…");
    this._more = h("button", { class: "button", type: "button", hidden: true, on: { click: () => this._showMore() } });
    append(root, [
      h("header", { class: "head" }, h("h1", {}, "Events"), h("div", { class: "tools" }, this._hold, this._search)),
      h(
        "section",
        { class: "panel", "aria-label": "Events" },
        h("header", {}, this._kinds, level, this._fresh),
        this._list,
        this._none,
        h("div", { class: "list-foot" }, this._more),
      ),
    ]);
    this._onKey = (/** @type {KeyboardEvent} */ event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (
        event.key !== "p" ||
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        target.matches("input, select, textarea") ||
        context.dialog.isOpen()
      )
        return;
      this._toggleHold();
    };
    document.addEventListener("keydown", this._onKey);
    this._leave = context.live.subscribe({
      resync: () => this._load(),
      events: (message) => (this._waiting ? this._waiting.push(...message.events) : this._take(message.events)),
    });
  }

  close() {
    this._leave();
    document.removeEventListener("keydown", this._onKey);
  }

  async _load() {
    const waiting = (this._waiting = /** @type {Event[]} */ ([]));
    const answer = await this._context.api.get(`events?after=${this._last}`);
    if (this._waiting !== waiting) return; // a later one is on its way
    const before = this._boot;
    this._boot = answer.boot;
    if (before && answer.boot !== before && this._last > 0) {
      // the gateway was started anew and counts from 1: it may have more than we know by now
      this._events = [];
      this._last = 0;
      this._list.replaceChildren();
      this._isLoaded = false;
      return this._load();
    }
    this._isLoaded = true;
    this._waiting = null;
    this._take(answer.events);
    this._take(waiting);
    if (!this._list.children.length) this._paint();
  }

  /** @param {Event[]} events oldest first */
  _take(events) {
    const fresh = events.filter((event) => event.number > this._last).sort((a, b) => a.number - b.number);
    if (!fresh.length || !this._isLoaded) return;
    this._last = fresh[fresh.length - 1].number;
    this._events.unshift(...fresh.slice().reverse());
    this._events.length = Math.min(this._events.length, MAX_KEPT);
    const wanted = fresh.filter((event) => this._matches(event));
    if (this._isHeld) {
      this._missed += wanted.length;
      this._showMissed();
    } else if (this._list.children.length === 0 || wanted.length >= PAGE) this._paint();
    else this._prepend(wanted);
  }

  /** @param {Event[]} events oldest first */
  _prepend(events) {
    for (const event of events) {
      const top = this._list.firstElementChild;
      const isSame = top !== null && /** @type {HTMLElement} */ (top).dataset.same === sameKey(event);
      const made = item(
        event,
        this._context.state,
        isSame ? Number(/** @type {HTMLElement} */ (top).dataset.times) + 1 : 1,
      );
      if (isSame && !top.querySelector("details[open]") && !top.contains(document.activeElement)) top.replaceWith(made);
      else this._list.prepend(made);
    }
    while (this._list.children.length > this._shown) this._list.lastElementChild?.remove();
    this._showFoot();
  }

  /** @param {Event} event */
  _matches(event) {
    return (
      (!this._kind || event.kind === this._kind) &&
      (!this._level || WEIGHT[event.level] >= WEIGHT[/** @type {"info"} */ (this._level)]) &&
      (!this._words.trim() ||
        parts.matches(
          `${event.where} ${event.text} ${event.kind} ${Object.values(event.details ?? {}).join(" ")}`,
          this._words.trim(),
        ))
    );
  }

  _filtered() {
    this._shown = PAGE;
    this._paint();
    parts.keepInAddress({ kind: this._kind, level: this._level, q: this._words.trim() });
  }

  _paint() {
    const found = grouped(this._events.filter((event) => this._matches(event)));
    this._list.replaceChildren(
      ...found.slice(0, this._shown).map(([event, times]) => item(event, this._context.state, times)),
    );
    this._missed = 0;
    this._showMissed();
    this._showFoot();
  }

  _showMore() {
    this._shown += PAGE;
    const at = this._list.children.length;
    this._paint();
    /** @type {HTMLElement | undefined} */ (this._list.children[at]?.querySelector("summary, .event-line"))?.focus();
  }

  _showFoot() {
    const found = grouped(this._events.filter((event) => this._matches(event))).length;
    const more = found - this._list.children.length;
    this._more.hidden = more <= 0 || this._isHeld;
    setText(this._more, `Show ${format.count(Math.min(more, PAGE))} of ${format.count(more)} older`);
    this._none.hidden = this._list.children.length > 0;
    if (this._isLoaded)
      setText(
        this._none,
        this._events.length ? "Nothing matches the filter." : "Nothing has happened since the gateway was started.",
      );
  }

  _toggleHold() {
    this._isHeld = !this._isHeld;
    this._hold.setAttribute("aria-pressed", String(this._isHeld));
    if (!this._isHeld) this._paint();
  }

  _showMissed() {
    this._fresh.hidden = this._missed === 0;
    setText(/** @type {Element} */ (this._fresh.lastElementChild), `${format.counted(this._missed, "newer event")}`);
  }
}

/** What makes two events the same news. @param {Event} event */
const sameKey = (event) => `${event.kind} ${event.level} ${event.where} ${event.text}`;

/** Newest first, the same in a row as one with its count. @param {Event[]} events @returns {[Event, number][]} */
function grouped(events) {
  const groups = /** @type {[Event, number][]} */ ([]);
  let before = "";
  for (const event of events) {
    const key = sameKey(event);
    if (key === before) groups[groups.length - 1][1]++;
    else groups.push([event, 1]);
    before = key;
  }
  return groups;
}

/** @param {Event} event the newest of @param {import("../store.js").State} state @param {number} times how often */
function item(event, state, times) {
  const details = Object.entries(event.details ?? {}).filter(([, value]) => value !== null && value !== "");
  const where = state.devices.has(event.where)
    ? h("a", { href: parts.deviceHash(event.where) }, event.where)
    : h("span", {}, event.where);
  const line = [
    icon(SIGNS[event.level] ?? "info", `icon sign level-${event.level}`),
    h(
      "time",
      { class: "when", datetime: new Date(event.time_ms).toISOString(), title: format.dateTime(event.time_ms) },
      whenText(event.time_ms),
    ),
    h("span", { class: "kind" }, event.kind),
    h("span", { class: "where" }, where),
    h(
      "span",
      { class: "what" },
      event.text.replaceAll(" -> ", " → "),
      times > 1 ? h("span", { class: "chip times" }, `${format.count(times)} times`) : null,
      event.level === "info" ? null : h("span", { class: "sr" }, ` (${event.level})`),
    ),
  ];
  const body = details.length
    ? h(
        "details",
        {},
        h("summary", { class: "event-line" }, ...line, icon("chevron", "icon twist")),
        detailList(details),
      )
    : h("div", { class: "event-line" }, ...line);
  return h("li", { class: `event ${event.level}`, data: { same: sameKey(event), times } }, body);
}

/** @param {[string, any][]} details */
function detailList(details) {
  return h(
    "dl",
    { class: "pairs" },
    ...details.map(([key, value]) =>
      h(
        "div",
        {},
        h("dt", {}, key.replaceAll("_", " ")),
        h("dd", { class: "mono" }, typeof value === "object" ? JSON.stringify(value) : String(value)),
      ),
    ),
  );
}

/** Of today the time, of another day that too. @param {number} ms */
function whenText(ms) {
  const isToday = format.day(ms) === format.day(Date.now());
  return isToday ? format.time(ms) : format.dateTime(ms).slice(5);
}
