/** What is said of a device, in words. */

import { icon } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";
import { compareNames } from "../rows.js";

/** @typedef {import("../store.js").Row} Row */

const EXCEPTIONS = /** @type {Record<number, string>} */ ({
  1: "illegal function",
  2: "illegal data address",
  3: "illegal data value",
  4: "server device failure",
  5: "acknowledge",
  6: "server device busy",
  8: "memory parity error",
  10: "gateway path unavailable",
  11: "gateway target failed to respond",
});

/** @param {number} code */
export function exception(code) {
  const two = Number(code).toString(16).toUpperCase().padStart(2, "0");
  return `${two} ${EXCEPTIONS[code] ?? "exception"}`;
}

/** @param {Row} writes */
export function writesText(writes) {
  const more = ["refused", "unknown", "waiting"]
    .filter((name) => writes[name])
    .map((name) => `${format.count(writes[name])} ${name}`);
  return [`${format.count(writes.done)} done`, ...more].join(", ");
}

/**
 * The upper bound of the bucket in which `share` of the answers lie.
 * @param {{buckets: number[], count: number}} took the last bucket is of what took longer
 * @param {number} share
 */
export function quantile({ buckets, count }, share) {
  const bounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];
  let seen = 0;
  for (const [at, each] of buckets.entries()) {
    seen += each;
    if (seen >= share * count) return at < bounds.length ? `≤ ${format.span(bounds[at])}` : "> 5 s";
  }
  return format.NONE;
}

/** @param {Map<string, Row>} devices names, what is wrong first */
export function sorted(devices) {
  return [...devices.values()]
    .sort((a, b) => parts.rank(a.state) - parts.rank(b.state) || compareNames(a.name, b.name))
    .map((row) => row.name);
}

export function flipped() {
  const sign = icon("chevron");
  sign.classList.add("flipped");
  return sign;
}
