/**
 * Numbers and times for people. The rule of the file: the same words as `gateway status` prints, and a number that is
 * not known is a dash, never a zero.
 */

export const NONE = "–";
const THIN = "\u202f";
const DIGITS = 6;
/** Significant digits of a measured value; a float32 holds seven. */

/** @param {unknown} value @returns {value is number} */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** `precision` significant digits without noughts at the end. @param {number} value @param {number} precision */
function short(value, precision) {
  return String(Number(value.toPrecision(precision)));
}

/**
 * A time span, two units at most: `850 ms`, `4.2 s`, `2m 5s`, `3h 12m`, `12d 3h`.
 * @param {number | null | undefined} seconds
 */
export function span(seconds) {
  if (!isNumber(seconds)) return NONE;
  const s = Math.max(0, seconds);
  if (s < 0.9995) return `${s === 0 ? 0 : short(s * 1000, s < 0.01 ? 2 : 3)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  if (whole < 60) return `${whole} s`;
  for (const [size, unit, smallerSize, smaller] of /** @type {const} */ ([
    [86400, "d", 3600, "h"],
    [3600, "h", 60, "m"],
    [60, "m", 1, "s"],
  ])) {
    if (whole >= size) {
      const rest = Math.floor((whole % size) / smallerSize);
      return rest ? `${Math.floor(whole / size)}${unit} ${rest}${smaller}` : `${Math.floor(whole / size)}${unit}`;
    }
  }
  return NONE;
}

/** `4.2 s ago`. @param {number | null | undefined} seconds */
export function ago(seconds) {
  return isNumber(seconds) ? `${span(seconds)} ago` : NONE;
}

/** A count, in groups of three: `12 345`. @param {number | null | undefined} value */
export function count(value) {
  if (!isNumber(value)) return NONE;
  return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
}

/** `1 device`, `2 devices`. @param {number} value @param {string} one @param {string} [many] */
export function counted(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** What happens in a second: three significant digits. @param {number | null | undefined} perSecond */
export function rate(perSecond) {
  if (!isNumber(perSecond)) return NONE;
  return perSecond >= 1000 ? count(perSecond) : short(perSecond, 3);
}

/** `7.4 of 10`: got and asked. @param {number} got @param {number} asked */
export function rates(got, asked) {
  return `${rate(got)} of ${rate(asked)}`;
}

/** @param {number | null | undefined} value */
export function percent(value) {
  if (!isNumber(value)) return NONE;
  return `${value < 10 && value > 0 ? short(value, 2) : Math.round(value)} %`;
}

/** @param {number | null | undefined} value in bytes */
export function bytes(value) {
  if (!isNumber(value)) return NONE;
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${short(value / 1024, 3)} KiB`;
  return `${short(value / 1024 / 1024, 3)} MiB`;
}

/**
 * A tag's value. Whole numbers in full as long as every digit is sure (larger ones come as texts of their digits),
 * others with six significant digits; no value is a dash.
 * @param {unknown} value
 */
export function value(value) {
  if (value === null || value === undefined) return NONE;
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value === "number") {
    if (Number.isSafeInteger(value)) return count0(value);
    const size = Math.abs(value);
    if (size >= 1e9 || size < 1e-4) return value.toExponential(DIGITS - 2);
    return String(Number(value.toPrecision(DIGITS)));
  }
  return String(value);
}

/** A whole number with its sign, ungrouped: a register's value is compared with other tools'. @param {number} value */
function count0(value) {
  return String(value);
}

const pad = (/** @type {number} */ number, size = 2) => String(number).padStart(size, "0");

/** `14:03:27` of this browser's time zone. @param {number | null | undefined} ms */
export function time(ms) {
  if (!isNumber(ms)) return NONE;
  const at = new Date(ms);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

/** `14:03:27.125`. @param {number | null | undefined} ms */
export function timeMs(ms) {
  return isNumber(ms) ? `${time(ms)}.${pad(new Date(ms).getMilliseconds(), 3)}` : NONE;
}

/** `2026-11-21`. @param {number | null | undefined} ms */
export function day(ms) {
  if (!isNumber(ms)) return NONE;
  const at = new Date(ms);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
}

/** `2026-11-21 14:03:27`. @param {number | null | undefined} ms */
export function dateTime(ms) {
  return isNumber(ms) ? `${day(ms)} ${time(ms)}` : NONE;
}

/** Bytes as two digits each, in groups: `01 03 00 0a`. @param {string} hex */
export function hex(hex) {
  return hex.replace(/\s+/g, "").replace(/(..)(?=.)/g, "$1 ");
}
