/**
 * One device: is it well, what is asked of it and what it gives, what it refuses, what was said last.
 *
 * The row comes with the stream; the exchanges do not, so they are fetched while the view is looked at.
 */

import { append, fill, h, icon, setText } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";
import { compareNames, Rows } from "../rows.js";
import { Choice, KEY } from "./devicechoice.js";
import { jobColumns, tagColumns } from "./devicelists.js";
import { exception, flipped, quantile, sorted, writesText } from "./devicewords.js";
import { Exchanges } from "./exchanges.js";

/** @typedef {import("../store.js").Row} Row */

/** How often the exchanges are fetched: a person cannot read them faster. */
const FETCH_MS = 2_000;
/** Ages run on, whether something changes or not. */
const AGE_MS = 1_000;
/** Tags shown here; the tags view has them all, and finds them faster. */
const MAX_TAGS = 100;

export const shortcuts = [
  ["[", "the device before (devices as the overview sorts them)"],
  ["]", "the next device"],
];

/** @param {HTMLElement} root @param {import("../main.js").Params} params @param {import("../main.js").Context} context */
export async function open(root, params, context) {
  const name = params.path.join("/");
  return name ? new DeviceView(root, name, context) : new Choice(root, context);
}

class DeviceView {
  /** @param {HTMLElement} root @param {string} name @param {import("../main.js").Context} context */
  constructor(root, name, context) {
    this._name = name;
    this._context = context;
    this._ended = new AbortController();
    /** Of its tags; they are the tags' own. @type {Set<number>} */
    this._tagIndices = new Set();
    this._isPaused = false;
    sessionStorage.setItem(KEY, name);

    this._badge = parts.stateBadge("waiting");
    this._picker = /** @type {HTMLSelectElement} */ (h("select", { class: "select", "aria-label": "Device" }));
    this._picker.addEventListener("change", () => context.go(parts.deviceHash(this._picker.value)));
    const query = new URLSearchParams({ device: name });
    const head = h(
      "header",
      { class: "head" },
      h("h1", {}, name),
      this._badge,
      h(
        "div",
        { class: "tools" },
        h(
          "button",
          {
            class: "icon-button",
            type: "button",
            "aria-label": "Device before",
            title: "Device before ([)",
            on: { click: () => this._step(-1) },
          },
          flipped(),
        ),
        this._picker,
        h(
          "button",
          {
            class: "icon-button",
            type: "button",
            "aria-label": "Next device",
            title: "Next device (])",
            on: { click: () => this._step(1) },
          },
          icon("chevron"),
        ),
        h("a", { class: "button", href: `#/events?${new URLSearchParams({ q: name })}` }, "Events"),
        h("a", { class: "button", href: `#/tags?${query}` }, "Tags"),
      ),
    );
    this._trouble = h("div", { class: "notice", hidden: true });
    this._facts = new parts.Pairs([
      ["unit", "Unit id"],
      ["link", "Link"],
      ["url", "Url"],
      ["age", "Age", "Of the oldest block"],
      ["since", "State for", "How long it has been in this state"],
      ["rate", "Requests a second", "Reached, of those asked for"],
      ["good", "Good requests"],
      ["failed", "Failed requests"],
      ["row", "Failures in a row"],
      ["exception", "Last exception"],
      ["writes", "Writes"],
      ["error", "Last error"],
    ]);
    this._linkFacts = new parts.Pairs([
      ["state", "Connection"],
      ["load", "Load", "Of what the link can carry"],
      ["queued", "Queued"],
      ["flight", "Requests at once", "How many requests may be on their way"],
      ["median", "Round trip, typical", "Half of the answers came within this time"],
      ["slow", "Round trip, slowest 1 %", "99 of 100 answers came within this time"],
      ["requests", "Requests"],
      ["answers", "Answers"],
      ["timeouts", "Time-outs"],
      ["late", "Late answers"],
      ["losses", "Lost connections"],
      ["malformed", "Malformed answers"],
      ["crc_errors", "Checksum errors"],
      ["demotions", "Times a unit was left alone"],
      ["others", "Also on this link"],
    ]);
    this._jobs = new Rows("Blocks", jobColumns(), {
      keyOf: (row) => row.key, // two may ask for the same block
      compare: () => 0,
      className: "jobs",
      stateOf: (row) => (row.error ? "stale" : "good"),
    });
    this._noJobs = h("p", { class: "empty" }, "Nothing is polled: it is only written or forwarded to.");
    this._holes = h("section", { class: "panel holes", hidden: true, "aria-label": "Holes" });
    this._exchanges = new Exchanges();
    this._tagRows = new Rows("Tags", tagColumns(context), {
      keyOf: (row) => String(row.i),
      compare: (a, b) => compareNames(a.name, b.name),
      className: "device-tags",
    });
    this._tagMore = h("p", { class: "muted more" });
    this._tags = h(
      "section",
      { class: "panel", hidden: true, "aria-label": "Tags" },
      h(
        "header",
        {},
        h("h2", {}, "Tags"),
        this._tagMore,
        h("div", { class: "tools" }, h("a", { class: "button small", href: `#/tags?${query}` }, "Open in tags")),
      ),
      this._tagRows.element,
    );
    this._body = h(
      "div",
      { class: "view" },
      this._trouble,
      h(
        "div",
        { class: "two" },
        h(
          "section",
          { class: "panel", "aria-label": "State" },
          h("header", {}, h("h2", {}, "Device")),
          h("div", { class: "panel-body" }, this._facts.element),
        ),
        h(
          "section",
          { class: "panel", "aria-label": "Link" },
          h("header", {}, h("h2", {}, "Link")),
          h("div", { class: "panel-body" }, this._linkFacts.element),
        ),
      ),
      this._holes,
      h(
        "section",
        { class: "panel", "aria-label": "Blocks" },
        h("header", {}, h("h2", {}, "Blocks"), h("p", { class: "muted" }, "what is asked in one request each")),
        this._jobs.element,
        this._noJobs,
      ),
      this._tags,
      this._exchanges.element,
    );
    this._missing = h("div", { class: "empty panel", hidden: true });
    append(root, [head, this._missing, this._body]);

    this._onKey = (/** @type {KeyboardEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || context.dialog.isOpen()) return;
      if (/** @type {HTMLElement} */ (event.target).matches("input, select, textarea")) return;
      if (event.key === "[" || event.key === "]") this._step(event.key === "]" ? 1 : -1);
    };
    document.addEventListener("keydown", this._onKey);
    this._leave = [
      context.state.onChange((change) => this._changed(change)),
      context.tags.open((changed) => this._tagsChanged(changed)),
    ];
    this._timer = setInterval(() => this._fetch(), FETCH_MS);
    this._ages = setInterval(() => this._tagsChanged([...this._tagIndices]), AGE_MS);
    this._body.hidden = !context.state.isLoaded; // what is not known yet is not shown as if it were nothing
    if (context.state.isLoaded) this._changed({ all: true, links: new Set(), devices: new Set() });
    void this._fetch();
  }

  close() {
    this._ended.abort();
    clearInterval(this._timer);
    clearInterval(this._ages);
    document.removeEventListener("keydown", this._onKey);
    for (const leave of this._leave) leave();
  }

  /** @param {number} by */
  _step(by) {
    const names = sorted(this._context.state.devices);
    const at = names.indexOf(this._name);
    const next = names[(at + by + names.length) % names.length];
    if (next !== undefined && next !== this._name) this._context.go(parts.deviceHash(next));
  }

  // -- its row --------------------------------------------------------------------------------------------------

  /** @param {import("../store.js").Change} change */
  _changed(change) {
    const { state } = this._context;
    if (change.all) this._paintPicker();
    const row = state.devices.get(this._name);
    this._missing.hidden = row !== undefined;
    this._body.hidden = row === undefined;
    if (row === undefined) {
      fill(
        this._missing,
        h("p", {}, `There is no device ${this._name} in the configuration that is running.`),
        h("a", { class: "button", href: "#/overview" }, "All devices"),
      );
      return;
    }
    const link = state.links.get(row.link);
    if (change.all || change.devices.has(this._name)) this._paint(row, link);
    if (link && (change.all || change.links.has(row.link))) this._paintLink(row, link);
  }

  _paintPicker() {
    const names = [...this._context.state.devices.keys()].sort(compareNames);
    fill(this._picker, ...names.map((name) => h("option", { value: name, selected: name === this._name }, name)));
  }

  /** @param {Row} row @param {Row | undefined} link */
  _paint(row, link) {
    const facts = this._facts;
    parts.setState(this._badge, row.state);
    facts.set("unit", String(row.unit));
    facts.set("link", row.link || format.NONE);
    facts.set("url", link && link.url !== row.link ? link.url : null, "mono");
    facts.set("age", row.enabled ? format.span(row.age_s) : format.NONE);
    facts.set("since", row.enabled ? format.span(row.since_s) : format.NONE);
    const { asked, got } = parts.ratesOf(row.jobs ?? []);
    facts.set(
      "rate",
      asked ? format.rates(got ?? NaN, asked) : null,
      got !== null && got < parts.SHORT_SHARE * asked ? "warn-text" : "",
    );
    facts.set("good", format.count(row.good_requests));
    facts.set("failed", format.count(row.failed_requests));
    facts.set("row", row.failures_in_row ? format.count(row.failures_in_row) : null, "bad-text");
    facts.set("exception", row.last_exception ? exception(row.last_exception) : null);
    facts.set(
      "writes",
      row.writes && Object.values(row.writes).some((each) => format.isNumber(each) && each > 0)
        ? writesText(row.writes)
        : null,
    );
    facts.set("error", row.last_error || null);
    this._paintTrouble(row);
    /** @type {Row[]} */
    const jobs = row.jobs ?? [];
    this._jobs.set(jobs.map((job, at) => ({ ...job, key: String(at) })));
    this._jobs.element.hidden = !(row.jobs ?? []).length;
    this._noJobs.hidden = !this._jobs.element.hidden;
    setText(
      this._noJobs,
      row.enabled
        ? "Nothing is polled: it is only written or forwarded to."
        : "It is disabled in the plant's file: nothing is asked.",
    );
    this._paintHoles(row.holes ?? []);
  }

  /** What the findings say of it; its holes have a panel of their own. @param {Row} row */
  _paintTrouble(row) {
    const about = this._context.state.findings.filter(
      (finding) =>
        (finding.device === row.name && !(row.state === "good" && row.holes?.length)) ||
        (row.state !== "good" && row.link && finding.link === row.link),
    );
    this._trouble.hidden = about.length === 0;
    const text = JSON.stringify(about);
    if (this._trouble.dataset.text === text) return;
    this._trouble.dataset.text = text;
    fill(
      this._trouble,
      ...about.map((finding) =>
        h(
          "div",
          { class: "live" },
          h(
            "p",
            {},
            h("strong", {}, { us: "Gateway: ", network: "Network: ", PLC: "PLC: " }[finding.whose] ?? ""),
            finding.text,
          ),
          ...(finding.more ?? []).map((line) => h("p", { class: "muted" }, line)),
        ),
      ),
    );
  }

  /** @param {Row[]} holes */
  _paintHoles(holes) {
    this._holes.hidden = holes.length === 0;
    const text = JSON.stringify(
      holes.map(({ next_try_s, ...rest }) => [rest, next_try_s === null ? null : Math.round(next_try_s / 10)]),
    );
    if (this._holes.dataset.text === text) return;
    this._holes.dataset.text = text;
    fill(
      this._holes,
      h(
        "header",
        {},
        h("h2", {}, "Holes found"),
        h("p", { class: "muted" }, "what the device refuses; the rest of each block goes on"),
      ),
      ...holes.map((hole) =>
        h(
          "div",
          { class: "panel-body hole live" },
          h(
            "p",
            {},
            h("span", { class: "chip warn" }, exception(hole.code)),
            " refuses ",
            h("strong", { class: "mono" }, hole.refused.join(", ") || format.NONE),
            ` of ${hole.block}`,
          ),
          h(
            "p",
            { class: "muted" },
            hole.safe.length ? "Safe to read in one request each: " : "Nothing of that block can be read.",
            h("span", { class: "mono" }, hole.safe.join(", ")),
          ),
          h(
            "p",
            { class: "muted" },
            hole.next_try_s === null
              ? ""
              : `Tried again in ${format.span(hole.next_try_s)}. If it does not exist, take it out of the plant's file.`,
          ),
        ),
      ),
    );
  }

  /** @param {Row} row @param {Row} link */
  _paintLink(row, link) {
    const facts = this._linkFacts;
    const counters = link.counters ?? {};
    const trouble = link.trouble
      ? `: ${link.trouble}${format.isNumber(link.since_s) ? ` for ${format.span(link.since_s)}` : ""}`
      : "";
    facts.set("state", `${link.up ? "up" : "down"}${trouble}`, link.up ? "" : "bad-text");
    facts.set("load", format.percent(link.load_percent), link.load_percent > 100 ? "warn-text" : "");
    facts.set("queued", format.count(link.queued));
    facts.set("flight", format.count(link.in_flight));
    facts.set("median", link.took?.count ? quantile(link.took, 0.5) : null);
    facts.set("slow", link.took?.count ? quantile(link.took, 0.99) : null);
    for (const name of ["requests", "answers"]) facts.set(name, format.count(counters[name]));
    for (const name of ["timeouts", "late", "losses", "malformed", "crc_errors", "demotions"])
      facts.set(name, counters[name] ? format.count(counters[name]) : null);
    const others = this._context.state.membersOf(row.link).filter((name) => name !== row.name);
    facts.set(
      "others",
      others.length
        ? `${others.slice(0, 5).join(", ")}${others.length > 5 ? ` and ${others.length - 5} more` : ""}`
        : null,
    );
  }

  // -- what is fetched ------------------------------------------------------------------------------------------

  async _fetch() {
    if (document.hidden || this._isFetching) return;
    this._isFetching = true;
    try {
      const answer = await this._context.api.get(`devices/${encodeURIComponent(this._name)}`, {
        signal: this._ended.signal,
      });
      this._exchanges.paint(answer.exchanges);
    } catch {
      // no connection: the shell says so; no such device: its row is missing, too
    } finally {
      this._isFetching = false;
    }
  }

  /** @param {number[] | null} changed */
  _tagsChanged(changed) {
    const { tags } = this._context;
    if (!tags.isLoaded) return;
    if (changed === null) {
      const all = [...tags.tags.values()].filter((tag) => tag.device === this._name);
      const rows = all.slice(0, MAX_TAGS);
      this._tagIndices = new Set(rows.map((tag) => tag.i));
      this._tagRows.set([]); // an index may be another tag's now, and a row keeps the name it was made with
      this._tagRows.set(rows);
      this._tags.hidden = rows.length === 0;
      setText(this._tagMore, all.length > MAX_TAGS ? `the first ${MAX_TAGS} of ${format.count(all.length)}` : "");
    } else {
      const mine = this._tagIndices;
      this._tagRows.change(
        changed.filter((i) => mine.has(i)).map((i) => [String(i), /** @type {any} */ (tags.tags.get(i) ?? null)]),
      );
    }
  }
}
