/**
 * Writing a tag: what and where, a second look, and what came of it.
 *
 * The rule of the file: nothing is written by one key or one double click, and nothing is called written before the
 * device has said so. Enter in the field leads to the question; there the focus stands on no button, so a second Enter
 * does nothing, and the button that writes, which stands where the one before it stood, rests for a moment. What
 * the page cannot know it calls unknown: a request that got no answer may have been carried out. A number is sent, and
 * shown in the question, as it was typed: made a number of JavaScript it could lose its last digits. A reload that makes
 * another tag of it ends the question: what was thought of is not there any more.
 */

import { fill, h, icon, setText } from "./dom.js";
import { nameOf } from "./tagindex.js";
import { ageText, makeQuality, showQuality, showValue } from "./tagvalue.js";

const TICK_MS = 500;
/** The gateway's word for: nobody knows whether it was written. */
const UNKNOWN = 504;
/** The second click of a double click comes within it. */
const REST_MS = 500;
/** Of a tag that is not there any more. */
const NO_INDEX = -1;

/**
 * @typedef {import("./main.js").Context} Context
 * @typedef {import("./store.js").Tag} Tag
 * @typedef {{value: any} | {error: string}} Typed
 */

/** Ask for a value and write it. Resolves when the dialog is closed. @param {Tag} tag @param {Context} context */
export async function writeTag(tag, context) {
  const { dialog, live, tags, api } = context;
  tag = { ...tag }; // its index may become another
  let isSent = false;
  const body = h("div", { class: "write" });
  const shown = dialog.show(`Write ${nameOf(tag)}`, body, { firm: true });
  shown.element.classList.add("write-dialog");
  const now = nowLine(tag, context);
  const timer = setInterval(now.refresh, TICK_MS);
  let isClosed = false;

  askValue("");
  const leave = [tags.open(heard), live.onStatus(now.refresh)];
  await shown.closed;
  isClosed = true;
  clearInterval(timer);
  for (const each of leave) each();

  /** @param {number[] | null} changed */
  function heard(changed) {
    if (changed === null) follow();
    now.refresh();
  }

  /** After a reload: is it still the tag that one thinks of? */
  function follow() {
    const found = [...tags.tags.values()].find((each) => nameOf(each) === nameOf(tag));
    const isSame = found && JSON.stringify({ ...found, i: 0 }) === JSON.stringify({ ...tag, i: 0 });
    tag.i = isSame ? found.i : NO_INDEX;
    if (!isSame && !isSent) tellChanged();
  }

  function tellChanged() {
    const close = h("button", { type: "button", class: "button primary", on: { click: () => shown.close() } }, "Close");
    const text = "The configuration was changed: this tag is another or gone. Nothing was written.";
    fill(body, h("p", { class: "problem", role: "alert" }, text), h("div", { class: "dialog-actions" }, close));
    close.focus();
  }

  /** The first step: a value. @param {string} text what was typed before */
  function askValue(text) {
    isSent = false;
    if (tag.i === NO_INDEX) return tellChanged();
    const field = fieldOf(tag, text);
    const problem = h("p", { class: "problem", role: "alert", id: "write-problem" });
    const next = h("button", { type: "submit", class: "button primary" }, "Next");
    const cancel = h("button", { type: "button", class: "button", on: { click: () => shown.close() } }, "Cancel");
    const form = h(
      "form",
      { class: "write-form", novalidate: true },
      now.root,
      field.root,
      problem,
      h("div", { class: "dialog-actions" }, cancel, next),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const typed = field.read();
      if ("error" in typed) {
        setText(problem, typed.error);
        field.focus();
      } else confirm(typed.value, field.text());
    });
    fill(body, form);
    field.focus();
  }

  /** The second step: a question. @param {any} value @param {string} text */
  function confirm(value, text) {
    const problem = h("p", { class: "problem", role: "alert" });
    const write = h(
      "button",
      {
        type: "button",
        class: "button primary",
        disabled: true,
        on: { click: () => void send(value, text, problem) },
      },
      "Write now",
    );
    setTimeout(() => write.removeAttribute("disabled"), REST_MS);
    const back = h("button", { type: "button", class: "button", on: { click: () => askValue(text) } }, "Back");
    const question = h(
      "div",
      { class: "write-question", tabindex: -1, role: "group", "aria-label": `Write ${told(value)} to ${nameOf(tag)}?` },
      now.root,
      h(
        "p",
        { class: "write-new" },
        h("span", { class: "write-label" }, "Write"),
        h("strong", { class: "write-value" }, told(value)),
      ),
      h("p", { class: "muted" }, `The device ${tag.device} is asked to take it, at ${tag.at}. Its answer is shown.`),
    );
    fill(body, question, problem, h("div", { class: "dialog-actions" }, back, write));
    question.focus();
  }

  /** The third: what came of it. @param {any} value @param {string} text @param {HTMLElement} problem */
  async function send(value, text, problem) {
    if (!live.isLive) return setText(problem, "what is shown is not live: nothing was sent");
    isSent = true;
    fill(
      body,
      now.root,
      h(
        "p",
        { class: "write-waits", role: "status" },
        icon("waiting"),
        `Writing ${told(value)}; waiting for the device…`,
      ),
    );
    const outcome = await ask(value);
    if (isClosed) return context.notify(`${nameOf(tag)}: ${outcome.title}. ${outcome.text}`, outcome.level);
    const close = h(
      "button",
      { type: "button", class: "button primary", disabled: true, on: { click: () => shown.close() } },
      "Close",
    );
    const again = h(
      "button",
      { type: "button", class: "button", on: { click: () => askValue(text) } },
      "Change and try again",
    );
    const sign = icon({ info: "good", warning: "stale", error: "down" }[outcome.level]);
    const root = h(
      "div",
      { class: `outcome ${outcome.level}`, role: "alert", tabindex: -1 },
      h("h3", {}, sign, outcome.title),
      outcome.pairs && h("p", { class: "before-after" }, ...outcome.pairs),
      h("p", {}, outcome.text),
    );
    fill(body, root, h("div", { class: "dialog-actions" }, outcome.level === "error" && again, close));
    root.focus();
    setTimeout(() => {
      close.removeAttribute("disabled"); // a double click that wrote does not close what came of it
      if (document.activeElement === root) close.focus();
    }, REST_MS);
  }

  /**
   * @param {any} value
   * @returns {Promise<{level: "info" | "warning" | "error", title: string, text: string, pairs?: Node[]}>}
   */
  async function ask(value) {
    try {
      const path = `tags/${encodeURIComponent(tag.device)}/${encodeURIComponent(tag.name)}`;
      const answer = await api.post(path, { value, generation: tags.generation, boot: tags.boot });
      return done(answer);
    } catch (/** @type {any} */ error) {
      return failed(error);
    }
  }

  /** @param {{outcome: string, before?: any, after?: any, error?: string}} answer */
  function done(answer) {
    if (answer.outcome !== "done") return unknown(answer.error ?? `the gateway says: ${answer.outcome}`);
    const pairs = [
      h("span", { class: "muted" }, "before "),
      h("span", { class: "was" }, told(answer.before)),
      h("span", { class: "arrow", "aria-label": "after" }, "→"),
      h("strong", {}, told(answer.after)),
    ];
    return { level: /** @type {const} */ ("info"), title: "Written", text: "The device has accepted it.", pairs };
  }

  /** @param {any} error */
  function failed(error) {
    if (error.status === 0) return unknown(`${error.message ?? error}: the write may have been carried out or not.`);
    const message = error.message.replace(`${nameOf(tag)}: `, ""); // it stands above
    if (error.status === UNKNOWN || error.code === "unknown") return unknown(message);
    return {
      level: /** @type {const} */ ("error"),
      title: "Not written",
      text: `${sentence(message)} Nothing was changed.`,
    };
  }

  /** @param {string} text */
  function unknown(text) {
    const advice = "Look at the value and at the device before you try again.";
    return { level: /** @type {const} */ ("warning"), title: "Outcome unknown", text: `${sentence(text)} ${advice}` };
  }

  /** @param {any} value null: the gateway has none that is young enough */
  function told(value) {
    if (value === null || value === undefined) return "not known";
    return `${context.format.value(value, tag)}${tag.unit ? ` ${tag.unit}` : ""}`;
  }
}

/** What it is now, kept up to date: the value may move while one thinks. @param {Tag} tag @param {Context} context */
function nowLine(tag, { tags, live, api }) {
  const value = h("span", { class: "tag-value live" });
  const quality = makeQuality();
  const age = h("span", {});
  const unit = h("span", { class: "muted" }, tag.unit ? ` ${tag.unit}` : "");
  const state = h("span", { class: "write-state" }, quality.root, h("span", { class: "muted" }, age));
  const root = h(
    "p",
    { class: "write-now" },
    h("span", { class: "write-label" }, "Now"),
    h("span", {}, value, unit),
    state,
  );
  const refresh = () => {
    const sample = tags.sample(tag.i);
    showValue(value, sample, live.isLive, tag);
    showQuality(quality, sample);
    setText(age, sample.time_ms ? `${ageText(sample.time_ms, api.now())} ago` : "never read");
  };
  refresh();
  return { root, refresh };
}

/**
 * What a person types into, and how it is read.
 * @param {Tag} tag @param {string} text
 * @returns {{root: HTMLElement, focus(): void, text(): string, read(): Typed}}
 */
function fieldOf(tag, text) {
  if (tag.type === "bool") {
    const choices = [
      ["on", true],
      ["off", false],
    ].map(([word, value]) => {
      const radio = /** @type {HTMLInputElement} */ (
        h("input", { type: "radio", name: "write-value", value: String(value) })
      );
      radio.checked = text === String(value);
      return { radio, value, label: h("label", { class: "write-choice" }, radio, String(word)) };
    });
    const chosen = () => choices.find(({ radio }) => radio.checked);
    return {
      root: h(
        "fieldset",
        { class: "write-choices" },
        h("legend", {}, "New value"),
        ...choices.map(({ label }) => label),
      ),
      focus: () => (chosen() ?? choices[0]).radio.focus(),
      text: () => String(chosen()?.value ?? ""),
      read: () => (chosen() ? { value: chosen()?.value } : { error: "choose on or off" }),
    };
  }
  const properties = {
    class: "input",
    id: "write-value",
    inputmode: "text",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "write-hint write-problem",
  };
  const isText = tag.type === "string";
  const input = /** @type {HTMLInputElement} */ (
    h("input", { ...properties, inputmode: isText ? "text" : "decimal", value: text })
  );
  const root = h(
    "div",
    { class: "field" },
    h("label", { for: "write-value" }, "New value"),
    h("span", { class: "write-input" }, input, h("span", { class: "muted" }, tag.unit ?? "")),
    h("span", { class: "note", id: "write-hint" }, hint(tag)),
  );
  return {
    root,
    focus: () => {
      input.focus();
      input.select();
    },
    text: () => input.value,
    read: () => (isText ? { value: input.value } : readNumber(input.value, tag)),
  };
}

/** @param {Tag} tag */
function hint(tag) {
  if (tag.type === "string") return "text";
  const range = tag.range ? `${tag.range[0]} to ${tag.range[1]}` : "no range is configured";
  return `${range}${tag.range && tag.unit ? ` ${tag.unit}` : ""} · ${tag.type}`;
}

/** A number as people write it, or what is wrong with it. @param {string} text @param {Tag} tag @returns {Typed} */
export function readNumber(text, tag) {
  const typed = text.trim().replace("−", "-");
  if (typed === "") return { error: "write a number" };
  if (typed.includes(",")) return { error: "write the decimal point as a point, and no comma: 1500 or 1.5" };
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(typed)) return { error: `'${typed}' is not a number` };
  if (!Number.isFinite(Number(typed))) return { error: "that is too large" };
  if (tag.range && (isLess(typed, tag.range[0]) || isLess(tag.range[1], typed)))
    return { error: `out of range: ${tag.range[0]} to ${tag.range[1]}` };
  return { value: typed.replace(/^\+/, "") };
}

const WHOLE = /^[+-]?\d+$/;

/** Whole numbers by every digit; of others the gateway has the last word. @param {string | number} a @param {string | number} b */
function isLess(a, b) {
  const areWhole = WHOLE.test(String(a)) && WHOLE.test(String(b));
  return areWhole ? BigInt(a) < BigInt(b) : Number(a) < Number(b);
}

/** @param {string} text */
function sentence(text) {
  const trimmed = text.trim();
  if (trimmed === "") return "";
  return `${trimmed[0].toUpperCase()}${trimmed.slice(1)}${/[.!?]$/.test(trimmed) ? "" : "."}`;
}
