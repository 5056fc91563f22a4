/**
 * Numbers and times for people. The rule of the file: the same words as `gateway status` prints, a number that is not
 * known is a dash, never a zero, and a measured value loses no digit that it has: one that was rounded looks exact.
 */

export const NONE = "–";
const THIN = "\u202f";
/** So many significant digits may be needed to tell a float32 from its neighbours; fewer than the first never hide one. */
const FLOAT32_DIGITS = [6, 7, 8, 9];
/** So many a float64 always keeps; what stands behind them may be what a multiplication has left. */
const SURE_DIGITS = 15;
/** What a scale and an offset leave behind, in parts of the number. */
const NOISE = 4 * Number.EPSILON;

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
 * A tag's value with every digit that it has, ungrouped: it is compared with other tools'. No value is a dash.
 * @param {unknown} value larger integers come as texts of their digits
 * @param {Meaning} [tag] what it is a value of: tells digits from noise
 */
export function value(value, tag) {
  if (value === null || value === undefined) return NONE;
  if (typeof value === "boolean") return value ? "on" : "off";
  return typeof value === "number" ? number(value, tag) : String(value);
}

/** @typedef {{type?: string, scale?: number, offset?: number}} Meaning of a number: a tag's */

/**
 * The shortest text that is this number again. Of a float32 the shortest that is the same float32, of a scaled float64
 * without what the multiplication has left; the gateway scales integers exactly.
 * @param {number} value @param {Meaning} [tag]
 */
export function number(value, { type = "", scale = 1, offset = 0 } = {}) {
  if (!Number.isFinite(value) || Number.isSafeInteger(value)) return String(value);
  const isScaled = scale !== 1 || offset !== 0;
  if (type === "float32") return isScaled ? unscaled(value, scale, offset) : float32(value);
  if (type === "float64") return String(isScaled ? withoutNoise(value, offset) : value);
  // A larger integer as a number: the trends' memory has float64, so that its last digits are not those of the device.
  return Number.isInteger(value) ? value.toPrecision(SURE_DIGITS) : String(value);
}

/** @param {number} value */
function float32(value) {
  if (Math.fround(value) !== value) return String(value);
  const found = Number(FLOAT32_DIGITS.map((digits) => value.toPrecision(digits)).find((text) => Math.fround(+text) === value));
  return Number.isInteger(found) ? found.toExponential() : String(found); // no noughts that nobody has measured
}

/**
 * What a float32 became by scale and offset: the shortest text that comes of the same float32.
 * @param {number} value @param {number} scale @param {number} offset
 */
function unscaled(value, scale, offset) {
  const raw = Math.fround((value - offset) / scale);
  if (Math.abs(raw * scale + offset - value) > NOISE * (Math.abs(value) + Math.abs(offset))) return String(value);
  for (let digits = FLOAT32_DIGITS[0]; digits <= SURE_DIGITS; digits++) {
    const found = Number(value.toPrecision(digits));
    if (Math.fround((found - offset) / scale) === raw && Math.abs(found - value) < 1) return String(found);
  }
  return String(value);
}

/** @param {number} value @param {number} offset */
function withoutNoise(value, offset) {
  const found = Number(value.toPrecision(SURE_DIGITS));
  return Math.abs(found - value) <= NOISE * (Math.abs(value) + Math.abs(offset)) ? found : value;
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
