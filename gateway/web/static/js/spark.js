/**
 * Small lines of the last minutes, and the points behind them.
 *
 * The rule of the file: a gap is where the quality was not good. No line crosses it, and a value that does not change
 * runs on to now only while it is good. Points come from the gateway's memory once, then from the live stream.
 */

/** What a sparkline shows. */
export const SPAN_MS = 5 * 60_000;
const MAX_POINTS = 240;
/** Of one tag; more would not be seen on a hundred pixels. */
const MAX_TAGS = 600;
/** Tags whose points are kept, many screens of rows; the one loaded longest ago goes first. */
const NEAR_MS = SPAN_MS / 120;
/** Two values nearer than this share a place. */
const HOLDS_MS = 10_000;
/** After a longer rest the value jumped: only changes are told, so a slope would be an invention. */

/** @typedef {{t: number[], v: (number | null)[]}} Line times in ms and values; null: a gap begins there */

export class Recent {
  constructor() {
    /** @type {Map<number, Line>} */
    this.lines = new Map();
  }

  /** @param {number} id */
  has(id) {
    return this.lines.has(id);
  }

  /** What the gateway remembers of a tag. @param {number} id @param {number[]} t @param {(number | null)[]} v */
  load(id, t, v) {
    this.lines.delete(id);
    this.lines.set(id, { t: t.slice(-MAX_POINTS), v: v.slice(-MAX_POINTS) });
    if (this.lines.size > MAX_TAGS) this.lines.delete(/** @type {number} */ (this.lines.keys().next().value));
  }

  /**
   * A value from the stream, null when it is not good. Nothing is kept of tags that were not loaded.
   * @param {number} id @param {number} ms @param {number | null} value
   */
  add(id, ms, value) {
    const line = this.lines.get(id);
    if (line === undefined) return;
    const { t, v } = line;
    const last = t.length - 1;
    if (last >= 0) ms = Math.max(ms, t[last]); // the server's clock may have been set back
    const shares = last > 0 && value !== null && v[last] !== null && v[last - 1] !== null && ms - t[last - 1] < NEAR_MS;
    if (shares || (last >= 0 && value === null && v[last] === null)) {
      if (shares) t[last] = ms;
      v[last] = value;
      return;
    }
    t.push(ms);
    v.push(value);
    while (t.length > MAX_POINTS || (t.length > 2 && t[1] < ms - SPAN_MS)) {
      t.shift();
      v.shift();
    }
  }

  /** @param {number} id */
  get(id) {
    return this.lines.get(id);
  }

  clear() {
    this.lines.clear();
  }
}

/**
 * @typedef {object} Look
 * @property {number} nowMs the right edge
 * @property {boolean} good the last value still holds: the line runs on to now
 * @property {boolean} steps values hold until the next one (bool)
 * @property {string} color
 * @property {number} width in CSS pixels
 * @property {number} height
 */

/** @param {HTMLCanvasElement} canvas @param {Line | undefined} line @param {Look} look */
export function drawSpark(canvas, line, look) {
  const { width, height } = look;
  const ratio = Math.min(window.devicePixelRatio || 1, 3);
  if (canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (line === undefined) return;
  const { t, v } = line;
  const [low, high] = bounds(v);
  if (low > high) return;
  const flat = high - low < 1e-9 * Math.max(1e-6, Math.abs(high));
  const x = (/** @type {number} */ ms) => width - ((look.nowMs - ms) / SPAN_MS) * width;
  const y = (/** @type {number} */ value) =>
    flat ? height / 2 : height - 2 - ((value - low) / (high - low)) * (height - 4);
  pen.beginPath();
  /** @type {number | null} */
  let before = null;
  t.forEach((ms, i) => {
    const value = v[i];
    const jumped = look.steps || value === null || ms - t[i - 1] > HOLDS_MS;
    if (before !== null && jumped) pen.lineTo(x(ms), y(before));
    if (value !== null) {
      if (before === null) pen.moveTo(x(ms), y(value));
      pen.lineTo(x(ms), y(value));
    }
    before = value;
  });
  if (before !== null && look.good) pen.lineTo(width, y(before));
  pen.lineWidth = 1.25;
  pen.lineJoin = "round";
  pen.strokeStyle = look.color;
  pen.stroke();
}

/**
 * @param {(number | null)[]} values
 * @returns {[number, number]} lowest and highest; the first above the second: none
 */
export function bounds(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
