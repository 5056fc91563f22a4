/**
 * Registers to what they may mean, and what people type for an address. Pure: numbers in, numbers and text out.
 *
 * A register is a number 0..65535, null where it has no value. The four byte orders are written as the bytes travel, as
 * in the YAML; 64-bit values use the same four words for the same swaps.
 */

import { number } from "./format.js";

/** @typedef {number | bigint} Decoded */
/** @typedef {{unit: number | null, table: string, address: number} | {error: string}} Goal */

export const ORDERS = ["ABCD", "CDAB", "BADC", "DCBA"];
/** Registers that a type takes. @type {Record<string, number>} */
export const WIDTHS = {
  uint16: 1,
  int16: 1,
  bcd16: 1,
  uint32: 2,
  int32: 2,
  bcd32: 2,
  float32: 2,
  uint64: 4,
  int64: 4,
  float64: 4,
};
const SWAPS_WORDS = new Set(["CDAB", "DCBA"]);
const SWAPS_BYTES = new Set(["BADC", "DCBA"]);

/** The bytes of these registers in ABCD order. @param {number[]} registers @param {string} order */
function ordered(registers, order) {
  const words = SWAPS_WORDS.has(order) ? [...registers].reverse() : registers;
  const view = new DataView(new ArrayBuffer(2 * words.length));
  words.forEach((word, at) =>
    view.setUint16(2 * at, SWAPS_BYTES.has(order) ? ((word & 255) << 8) | (word >> 8) : word),
  );
  return view;
}

/** @param {DataView} view @returns {number | null} null: a digit above 9 */
function bcd(view) {
  let number = 0;
  for (let at = 0; at < view.byteLength; at++) {
    const byte = view.getUint8(at);
    if (byte >> 4 > 9 || (byte & 15) > 9) return null;
    number = number * 100 + (byte >> 4) * 10 + (byte & 15);
  }
  return number;
}

/** @type {Record<string, (view: DataView) => Decoded | null>} */
const READERS = {
  uint16: (view) => view.getUint16(0),
  int16: (view) => view.getInt16(0),
  uint32: (view) => view.getUint32(0),
  int32: (view) => view.getInt32(0),
  uint64: (view) => view.getBigUint64(0),
  int64: (view) => view.getBigInt64(0),
  float32: (view) => view.getFloat32(0),
  float64: (view) => view.getFloat64(0),
  bcd16: bcd,
  bcd32: bcd,
};

/**
 * What these registers are as `type`; null: one of them has no value, or they are no BCD. NaN and infinities are told.
 * @param {(number | null | undefined)[]} registers @param {string} type @param {string} order
 * @returns {Decoded | null}
 */
export function decode(registers, type, order) {
  if (registers.some((register) => register === null || register === undefined)) return null;
  return READERS[type](ordered(/** @type {number[]} */ (registers), order));
}

/** With every digit that it has; no value is empty. @param {Decoded | null} value @param {string} type */
export function numberText(value, type) {
  if (value === null) return "";
  if (typeof value === "bigint" || (!type.startsWith("float") && Number.isInteger(value))) return String(value);
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "−Inf";
  return number(value, { type });
}

/**
 * As it fits into a cell of so many characters: what had to be rounded says so, and none loses its exponent.
 * @param {Decoded | null} value @param {string} type @param {number} room
 */
export function cellText(value, type, room) {
  const text = numberText(value, type);
  if (text.length <= room || typeof value !== "number") return text;
  const shorter = [8, 7, 6, 5, 4, 3, 2].map((digits) => `≈${Number(value.toPrecision(digits))}`);
  const rounded = [3, 2, 1].map((digits) => `≈${value.toExponential(digits)}`);
  // The digits before the point all stay: it would look like a smaller number.
  const whole = `${value < 0 ? "-" : ""}${Math.trunc(Math.abs(value))}`;
  const isPlain = (/** @type {string} */ each) => each.includes("e") || each.startsWith(`≈${whole}`);
  return [...shorter.filter(isPlain), ...rounded].find((each) => each.length <= room) ?? `≈${value.toExponential(0)}`;
}

/** @param {number} value */
export const hex = (value, digits = 4) => value.toString(16).toUpperCase().padStart(digits, "0");
/** Four nibbles: `0001 0010 0011 0100`. @param {number} value */
export const binary = (value) =>
  value
    .toString(2)
    .padStart(16, "0")
    .replace(/(....)(?=.)/g, "$1 ");

/**
 * The characters of these registers, a dot for what cannot be printed.
 * @param {number[]} registers
 * @param {string} order
 */
export function characters(registers, order) {
  const bytes = registers.flatMap((word) =>
    SWAPS_BYTES.has(order) ? [word & 255, word >> 8] : [word >> 8, word & 255],
  );
  return bytes.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
}

export const TABLES = ["coils", "discrete", "input", "holding"];
export const BIT_TABLES = new Set(["coils", "discrete"]);
/** @type {Record<string, string>} */
const LEADING = { coils: "0", discrete: "1", input: "3", holding: "4" };
const MAX_ADDRESS = 65535;
const MAX_UNIT = 255;

/** 400101 of holding:100. @param {string} table @param {number} address */
export const reference = (table, address) => LEADING[table] + String(address + 1).padStart(5, "0");
/** `holding:100 (400101)`, as everywhere in the gateway. @param {string} table @param {number} address */
export const place = (table, address) => `${table}:${address} (${reference(table, address)})`;

/**
 * What a person types to go somewhere, read as the YAML reads it: `100`, `0x64`, `40101` and `400101` (references),
 * `holding:100`, `1/input:7`. A bare number is one of the table that is shown.
 * @param {string} text @param {string} table @returns {Goal}
 */
export function jump(text, table) {
  const typed = text.trim().toLowerCase();
  const named = /^(?:(\d{1,3})\/)?(?:(coils|discrete|input|holding):)?(0x[0-9a-f]{1,4}|\d{1,6})$/.exec(typed);
  if (named === null) return { error: "write 100, 0x64, 40101, holding:100 or 1/holding:100" };
  const [, unit, word, digits] = named;
  const goal = { unit: unit === undefined ? null : Number(unit), table: word ?? table, address: Number(digits) };
  const referred = word === undefined && /^([0134])(\d{4,5})$/.exec(digits);
  if (referred) {
    goal.table = /** @type {string} */ (TABLES.find((name) => LEADING[name] === referred[1]));
    goal.address = Number(referred[2]) - 1;
    if (goal.address < 0)
      return { error: `references begin at 1; the wire address is written ${goal.table}:${digits}` };
  }
  if (goal.address > MAX_ADDRESS) return { error: `addresses go to ${MAX_ADDRESS}` };
  if ((goal.unit ?? 0) > MAX_UNIT) return { error: `unit ids go to ${MAX_UNIT}` };
  return goal;
}

/** @type {Record<number, string>} */
const EXCEPTIONS = {
  1: "illegal function",
  2: "illegal data address, not defined here or refused by the device",
  3: "illegal data value",
  4: "the server failed",
  5: "acknowledge",
  6: "busy",
  8: "memory parity error",
  10: "gateway path unavailable",
  11: "never read, too old, or the device does not answer",
};

/** @param {number} code */
export const exceptionText = (code) =>
  `exception ${hex(code, 2)}: ${EXCEPTIONS[code] ?? "unknown to the specification"}`;
