/**
 * What the trends draw: stretches of time of each tag, with least, greatest and last value. Pure: no document, no
 * network.
 *
 * The rule of the file: null is a gap and stays one. What the stream brings is put behind what the gateway remembers,
 * in stretches like its own, so a spike between two of them stays visible.
 */

/**
 * Points of one tag that are kept: an hour of seconds. Older ones go; they are asked for again when they are looked at.
 */
const MAX_POINTS = 4_000;
const SURE_DIGITS = 15;

/**
 * @typedef {{t: number[], min: (number | null)[], max: (number | null)[], last: (number | null)[]}} Series times in ms
 */
/** @typedef {{value: any, quality: string}} Sample */

export class TrendData {
  constructor() {
    /** By "device/name". @type {Map<string, Series>} */
    this.series = new Map();
    /** What came since the last stretch was closed. @type {Map<string, {min: number, max: number}>} */
    this.open = new Map();
  }

  /**
   * In place of what there was.
   * @param {{tag: string, t: number[], min: any[], max: any[], last: any[]}[]} answers
   * @param {number} nowMs
   */
  load(answers, nowMs) {
    this.series = new Map(
      answers.map(({ tag, t, min, max, last }) => [
        tag,
        { t: atEnds(t, nowMs), min: min.map(numeric), max: max.map(numeric), last: last.map(numeric) },
      ]),
    );
    this.open.clear();
  }

  /** A value from the stream. @param {string} name @param {Sample} sample */
  see(name, sample) {
    const value = sample.quality === "good" ? numeric(sample.value) : null;
    if (value === null) return;
    const open = this.open.get(name);
    if (open === undefined) this.open.set(name, { min: value, max: value });
    else {
      if (value < open.min) open.min = value;
      if (value > open.max) open.max = value;
    }
  }

  /** Close the stretch that ends now. @param {string} name @param {number} ms @param {Sample} sample as it is now */
  append(name, ms, sample) {
    const series = this.series.get(name);
    if (series === undefined) return;
    const { t, min, max, last } = series;
    if (t.length && ms <= t[t.length - 1]) return;
    const value = sample.quality === "good" ? numeric(sample.value) : null;
    const open = value === null ? undefined : this.open.get(name);
    this.open.delete(name);
    t.push(ms);
    last.push(value);
    min.push(value === null ? null : Math.min(value, open?.min ?? value));
    max.push(value === null ? null : Math.max(value, open?.max ?? value));
    if (t.length > MAX_POINTS) for (const values of [t, min, max, last]) values.splice(0, values.length - MAX_POINTS);
  }

  /**
   * Least and greatest of a tag within a range; null: nothing there.
   * @param {string} name
   * @param {number} from
   * @param {number} to
   */
  extent(name, from, to) {
    const series = this.series.get(name);
    let low = Infinity;
    let high = -Infinity;
    series?.t.forEach((ms, at) => {
      const [least, most] = [series.min[at], series.max[at]];
      if (ms < from || ms > to || least === null || most === null) return;
      low = Math.min(low, least);
      high = Math.max(high, most);
    });
    return low > high ? null : { low, high };
  }

  /** What a tag was at `ms`; null: nothing good. @param {string} name @param {number} ms @returns {number | null} */
  at(name, ms) {
    const series = this.series.get(name);
    const at = series ? series.t.findLastIndex((each) => each <= ms) : -1;
    return series && at >= 0 ? series.last[at] : null;
  }

  /**
   * What is within a range, as text with a line for each time.
   * @param {{name: string, unit: string}[]} tags
   * @param {number} from
   * @param {number} to
   */
  csv(tags, from, to) {
    const lines = new Map();
    tags.forEach(({ name }, column) => {
      const series = this.series.get(name);
      series?.t.forEach((ms, at) => {
        if (ms < from || ms > to) return;
        if (!lines.has(ms)) lines.set(ms, new Array(3 * tags.length).fill(""));
        const line = lines.get(ms);
        [series.last[at], series.min[at], series.max[at]].forEach(
          (value, place) => (line[3 * column + place] = value === null ? "" : digits(value)),
        );
      });
    });
    const heads = tags.flatMap(({ name, unit }) => [
      `${name}${unit ? ` (${unit})` : ""}`,
      `${name} min`,
      `${name} max`,
    ]);
    const rows = [...lines]
      .sort(([a], [b]) => a - b)
      .map(([ms, line]) => [new Date(ms).toISOString(), ...line].join(","));
    return [["time", ...heads.map(quoted)].join(","), ...rows, ""].join("\r\n");
  }
}

/**
 * The gateway tells when each stretch begins; its last value belongs to its end, and a gap lies before it.
 * @param {number[]} begins equally far apart @param {number} nowMs the one that runs ends now
 */
export function atEnds(begins, nowMs) {
  const length = begins.length > 1 ? begins[1] - begins[0] : 0;
  return begins.map((ms) => Math.min(ms + length, Math.max(ms, nowMs)));
}

/** @param {any} value @returns {number | null} */
export function numeric(value) {
  if (value === null || value === undefined || value === "") return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}

/** Memory has float64: of larger integers only so many digits are sure, and no other is written. @param {number} value */
function digits(value) {
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? value.toPrecision(SURE_DIGITS) : String(value);
}

/** A field of a CSV; one that a spreadsheet would take for a formula is text. @param {string} text */
function quoted(text) {
  const safe = /^[=+\-@\t]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
