/**
 * All tags, searched and sorted. Pure: no document, no network; values are asked of whoever has them.
 *
 * The rule of the file: 10,000 tags are searched and sorted within a picture or two. What is said about a tag does not
 * change, so its words and its rank among the names are made once, when the tags are loaded; a sort compares numbers
 * only.
 */

import { reference, TABLES } from "./decode.js";

/** Sorts behind everything that has a value, in both directions. */
const LAST = Number.MAX_VALUE;
const PLACE = /(coils|discrete|input|holding):(\d+)(?:\.(\d+))?/;
const DIGITS = /^-?\d+$/;
/** @type {Record<string, number>} */
const SEVERITY = { good: 0, uncertain: 1, bad: 2 };

/**
 * @typedef {import("./store.js").Tag} Tag
 * @typedef {import("./store.js").Sample} Sample
 * @typedef {"" | "wrong" | "write"} Only all, those that are not good, those that may be written
 * @typedef {{words?: string, device?: string, only?: string, key?: string, descending?: boolean}} Wish
 */

export class TagIndex {
  /** @param {Iterable<Tag>} tags */
  constructor(tags) {
    /** @type {Tag[]} by name; the rest is by position in this list */
    this.tags = [...tags];
    const names = rank(this.tags.map(nameOf));
    this.tags = names.order.map((at) => this.tags[at]);
    /** "device/name" -> tag. @type {Map<string, Tag>} */
    this.byName = new Map(this.tags.map((tag) => [nameOf(tag), tag]));
    this.words = this.tags.map(wordsOf);
    /** @type {Record<string, ArrayLike<number>>} */
    this.ranks = {
      unit: rank(this.tags.map((tag) => tag.unit || "\uffff")).ranks,
      type: rank(this.tags.map((tag) => tag.type)).ranks,
      at: this.tags.map((tag) => placeRank(tag.at)),
    };
  }

  /**
   * The `i` of all tags that have a person's `words`, sorted by `key`: tag, value, quality, age, unit, type, at. Sorted
   * by value, those without one stand last, whichever way.
   * @param {Wish} wish @param {(i: number) => Sample} sample @returns {number[]}
   */
  order({ words = "", device = "", only = "", key = "tag", descending = false }, sample) {
    const { tags } = this;
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let at = 0; at < tags.length; at++) {
      if (device && tags[at].device !== device) continue;
      if (only === "wrong" && sample(tags[at].i).quality === "good") continue;
      if (only === "write" && !tags[at].write) continue;
      if (wanted.every((word) => this.words[at].includes(word))) found.push(at);
    }
    if (key === "tag") {
      if (descending) found.reverse();
    } else {
      const keys = this.ranks[key] ?? tags.map((tag) => keyOf(key, sample(tag.i)));
      const sign = descending ? -1 : 1;
      // Sorting is stable: what is equal stays in the order of the names.
      const exact = key === "value" ? (/** @type {number} */ at) => sample(tags[at].i).value : null;
      found.sort((a, b) => {
        const [one, other] = [keys[a], keys[b]];
        if (one === LAST || other === LAST) return one - other;
        return sign * (one === other && exact ? compareDigits(exact(a), exact(b)) : one - other);
      });
    }
    return found.map((at) => tags[at].i);
  }

  /**
   * The first `limit` tags that have the `words` and that `fits`, by name.
   * @param {string} words
   * @param {number} limit
   * @param {(tag: Tag) => boolean} fits
   */
  find(words, limit, fits) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let at = 0; at < this.tags.length && found.length < limit; at++)
      if (fits(this.tags[at]) && wanted.every((word) => this.words[at].includes(word))) found.push(this.tags[at]);
    return found;
  }
}

/** `press/pressure`, as the API names a tag. @param {{device: string, name: string}} tag */
export const nameOf = (tag) => `${tag.device}/${tag.name}`;

/** @param {string} key @param {Sample} sample */
function keyOf(key, sample) {
  if (key === "quality") return SEVERITY[sample.quality] ?? SEVERITY.bad;
  if (key === "age") return sample.time_ms ? -sample.time_ms : LAST;
  if (sample.quality === "bad" || sample.value === null || sample.value === "") return LAST;
  const number = Number(sample.value);
  return Number.isNaN(number) ? LAST / 2 : number;
}

/** Integers that are equal as numbers of JavaScript may differ in their last digits. @param {any} a @param {any} b */
function compareDigits(a, b) {
  if (a === b || !DIGITS.test(a) || !DIGITS.test(b)) return 0;
  const [one, other] = [BigInt(a), BigInt(b)];
  return one < other ? -1 : one > other ? 1 : 0;
}

/** What a search finds a tag by. @param {Tag} tag */
function wordsOf(tag) {
  const places = [tag.at, tag.to].map((text) => `${text ?? ""} ${references(text ?? "")}`);
  return `${nameOf(tag)} ${tag.unit ?? ""} ${tag.type} ${tag.description ?? ""} ${places.join(" ")}`.toLowerCase();
}

/** The six- and five-digit references of a place like `1/input:7`. @param {string} text */
function references(text) {
  const found = PLACE.exec(text);
  if (found === null) return "";
  const six = reference(found[1], Number(found[2]));
  return six[1] === "0" ? `${six} ${six[0]}${six.slice(2)}` : six;
}

/** @param {string[]} texts @returns {{order: number[], ranks: Float64Array}} equal texts have equal ranks */
function rank(texts) {
  const { compare } = new Intl.Collator("en", { numeric: true });
  const order = texts.map((_, at) => at).sort((a, b) => compare(texts[a], texts[b]));
  const ranks = new Float64Array(texts.length);
  order.forEach((at, place) => {
    const before = order[place - 1];
    ranks[at] = place > 0 && texts[before] === texts[at] ? ranks[before] : place;
  });
  return { order, ranks };
}

/** By table, address and bit. @param {string} text */
function placeRank(text) {
  const found = PLACE.exec(text ?? "");
  if (found === null) return LAST;
  return (TABLES.indexOf(found[1]) * 65536 + Number(found[2])) * 16 + Number(found[3] ?? 0);
}
