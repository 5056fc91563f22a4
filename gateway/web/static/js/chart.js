/**
 * uPlot, told how the trends want it: a line and a band for each tag, a scale for each unit, 24 hours a day.
 *
 * The rule of the file: the range of time belongs to the view, which is asked to change it (`onRange`); the chart draws
 * what it is given. uPlot writes styles through the DOM, which the page's policy allows; nothing here is markup.
 */

import plotter from "../vendor/uplot/uPlot.esm.js";

/** Its types are its own; here it is what its documentation says. */
const uPlot = /** @type {any} */ (plotter);

const COLORS = 6;
const LEAST_AXIS_PX = 36;
/** Of a digit in an axis, and of the tick and the gaps beside it. */
const DIGIT_PX = 6.8;
const TICK_PX = 18;
const NARROW_PX = 560;
/** Lines that are on or off lie in the lowest fifth, below the others; alone they have the whole height. */
const ON_OFF_BELOW = [-0.15, 5.5];
const ON_OFF_ALONE = [-0.15, 1.15];
const ON_OFF = "on/off";
const DAY = "\n{YYYY}-{MM}-{DD}";
/** uPlot's own are for twelve hours. */
const TIMES = [
  [3600 * 24, "{YYYY}-{MM}-{DD}", null, null, null, null, null, null, 1],
  [60, "{HH}:{mm}", DAY, null, null, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", DAY, null, null, null, null, null, 1],
  [0.001, "{HH}:{mm}:{ss}.{fff}", DAY, null, null, null, null, null, 1],
];

/**
 * @typedef {import("./trenddata.js").Series} Series
 * @typedef {{name: string, unit: string, type: string}} Line
 * @typedef {{onRange: (from: number, to: number) => void, onReset: () => void, onCursor: (ms: number | null) => void}} Owner
 */

/**
 * The colour and dashes of the line in this place; the dashes tell the second six from the first.
 * @param {number} at
 */
export function strokeOf(at) {
  const color = getComputedStyle(document.documentElement)
    .getPropertyValue(`--series-${(at % COLORS) + 1}`)
    .trim();
  return { color: color || "#888", dash: at < COLORS ? undefined : [6, 4] };
}

export class Chart {
  /** @param {HTMLElement} parent @param {Line[]} lines @param {Owner} owner */
  constructor(parent, lines, owner) {
    this.parent = parent;
    this.lines = lines;
    this.owner = owner;
    const style = getComputedStyle(document.documentElement);
    const css = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const grid = { stroke: css("--line"), width: 1 };
    const font = `11px ${css("--font") || "sans-serif"}`;
    // The axis of on and off stands outside.
    const scales = [...new Set(lines.map(scaleOf))].sort((a, b) => Number(a === ON_OFF) - Number(b === ON_OFF));
    const width = parent.clientWidth;
    const isNarrow = width < NARROW_PX;
    /** @type {any} */
    const options = {
      width,
      height: parent.clientHeight,
      padding: [12, scales.length > 1 && !isNarrow ? 0 : 12, 0, 0],
      legend: { show: false },
      focus: { alpha: 0.35 },
      scales: {
        x: { time: true, auto: false },
        ...Object.fromEntries(
          scales.map((key) => [key, key === ON_OFF ? { range: scales.length > 1 ? ON_OFF_BELOW : ON_OFF_ALONE } : {}]),
        ),
      },
      axes: [
        { stroke: css("--text-2"), grid, ticks: grid, font, values: TIMES },
        ...scales.map((key, at) => {
          const alone = lines.filter((line) => scaleOf(line) === key).length === 1;
          const stroke = alone ? strokeOf(lines.findIndex((line) => scaleOf(line) === key)).color : css("--text-2");
          const axis = { scale: key, side: at % 2 ? 1 : 3, stroke, font, size: roomFor, show: !isNarrow || at < 2 };
          const label = key === ON_OFF || key === " " ? {} : { label: key, labelFont: font, labelSize: 16 };
          const values =
            key === ON_OFF
              ? { splits: () => [0, 1], values: () => ["off", "on"] }
              : { values: (/** @type {any} */ _, /** @type {number[]} */ each) => each.map(markText) };
          return { ...axis, ...label, ...values, grid: at === 0 ? grid : { show: false }, ticks: grid };
        }),
      ],
      series: [{}, ...lines.flatMap((line, at) => seriesOf(line, at))],
      bands: lines.map((_, at) => ({ series: [3 * at + 2, 3 * at + 1], fill: faded(strokeOf(at).color) })),
      cursor: {
        drag: { x: true, y: false, setScale: false },
        points: { size: 7 },
        bind: { dblclick: () => () => owner.onReset() },
      },
      hooks: {
        setSelect: [(/** @type {any} */ u) => this.selected(u)],
        setCursor: [
          (/** @type {any} */ u) =>
            owner.onCursor(u.cursor.idx === null || u.cursor.left < 0 ? null : u.data[0][u.cursor.idx] * 1000),
        ],
      },
    };
    this.plot = new uPlot(options, [[], ...lines.flatMap(() => [[], [], []])], parent);
    this.plot.over.addEventListener("wheel", (/** @type {WheelEvent} */ event) => this.wheel(event), {
      passive: false,
    });
    this.watch = new ResizeObserver(() =>
      this.plot.setSize({ width: parent.clientWidth, height: parent.clientHeight }),
    );
    this.watch.observe(parent);
  }

  /** @param {Map<string, Series>} series @param {number} from in ms @param {number} to */
  draw(series, from, to) {
    const none = { t: [], min: [], max: [], last: [] };
    const tables = this.lines.map(({ name }) => {
      const { t, min, max, last } = series.get(name) ?? none;
      return [t.map((ms) => ms / 1000), min, max, last];
    });
    const isEmpty = tables.every(([t]) => t.length === 0);
    // Times of another tag that fall into a gap belong to the gap (join mode 2), else a line would cross it.
    const data = isEmpty
      ? [[], ...tables.flatMap(() => [[], [], []])]
      : uPlot.join(
          tables,
          tables.map(() => [0, 2, 2, 2]),
        );
    this.plot.batch(() => {
      this.plot.setData(data, false);
      this.plot.setScale("x", { min: from / 1000, max: to / 1000 });
    });
  }

  /** Show or hide a line with its band. @param {number} at @param {boolean} show */
  toggle(at, show) {
    this.plot.batch(() => [1, 2, 3].forEach((each) => this.plot.setSeries(3 * at + each, { show })));
  }

  close() {
    this.watch.disconnect();
    this.plot.destroy();
  }

  /** @param {any} plot */
  selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    this.owner.onRange(plot.posToVal(left, "x") * 1000, plot.posToVal(left + width, "x") * 1000);
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  /** About the pointer; with Shift, or sideways, along the time. @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const { min, max } = this.plot.scales.x;
    const isAlong = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    const step = event.deltaY || event.deltaX;
    if (isAlong) {
      const shift = Math.sign(event.deltaX || event.deltaY) * (max - min) * 0.1;
      return this.owner.onRange((min + shift) * 1000, (max + shift) * 1000);
    }
    const factor = step < 0 ? 0.8 : 1.25;
    const at = this.plot.posToVal(event.clientX - this.plot.over.getBoundingClientRect().left, "x");
    this.owner.onRange((at - (at - min) * factor) * 1000, (at + (max - at) * factor) * 1000);
  }
}

/** Tags of one unit share a scale; those that are on or off have one of their own. @param {Line} line */
const scaleOf = ({ type, unit }) => (type === "bool" ? ON_OFF : unit || " ");

/** @param {Line} line @param {number} at */
function seriesOf(line, at) {
  const { color, dash } = strokeOf(at);
  const scale = scaleOf(line);
  const paths = line.type === "bool" ? uPlot.paths.stepped({ align: 1 }) : undefined;
  const edge = { scale, stroke: "transparent", width: 0, points: { show: false }, paths };
  return [edge, edge, { label: line.name, scale, stroke: color, width: 1.5, dash, paths, points: { size: 5 } }].map(
    (each) => ({ ...each }),
  );
}

/** @param {string} color `#rrggbb` */
const faded = (color) => (color.length === 7 ? `${color}38` : color);

/** What an axis needs for these texts. @param {any} _ @param {string[] | null} texts */
function roomFor(_, texts) {
  return Math.max(LEAST_AXIS_PX, TICK_PX + DIGIT_PX * Math.max(0, ...(texts ?? []).map((text) => text.length)));
}

/** In full: the marks of a counter differ in their last digits. @param {number} value */
function markText(value) {
  return String(Number(value.toPrecision(12)));
}
