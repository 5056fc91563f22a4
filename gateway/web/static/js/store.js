/**
 * What the page knows of the gateway, shared by its views: the state (links, devices, findings) and the tags.
 *
 * The rule of the file: rows arrive whole and are put in place of the old ones; who listens is told which have changed, so
 * that a view touches only those. A snapshot that is on its way does not lose the changes that come meanwhile.
 */

/**
 * @typedef {Record<string, any>} Row as `gateway status --json` shows it
 * @typedef {{whose: "PLC" | "network" | "us", text: string, more?: string[], device?: string | null, link?: string | null}} Finding
 * @typedef {{all: boolean, links: Set<string>, devices: Set<string>}} Change `all`: everything may be another
 */

export class State {
  /** @param {import("./api.js").Api} api @param {import("./live.js").Live} live */
  constructor(api, live) {
    this._api = api;
    this._live = live;
    /** False until the first snapshot is here. */
    this.isLoaded = false;
    /** @type {Row} */
    this.gateway = {};
    /** What came with the last snapshot: server, audit, serial, dial_in, routes. @type {Row} */
    this.rest = {};
    /** @type {Map<string, Row>} */
    this.links = new Map();
    /** @type {Map<string, Row>} */
    this.devices = new Map();
    /** @type {Finding[]} */
    this.findings = [];
    /** Names of devices by link; null: to be made. @type {Map<string, string[]> | null} */
    this._members = null;
    /** @type {Set<(change: Change) => void>} */
    this._listeners = new Set();
    /** @type {any[] | null} */
    this._waiting = null;
    /** @type {() => void} */
    this._leave = () => {};
  }

  start() {
    this._leave();
    this._leave = this._live.subscribe({ resync: () => this.load(), state: (message) => this._take(message) });
  }

  stop() {
    this._leave();
    this._leave = () => {};
    this.isLoaded = false;
    this.gateway = {};
    this.rest = {};
    this.links.clear();
    this.devices.clear();
    this.findings = [];
  }

  /** The devices of a link, by name. @param {string} link @returns {string[]} */
  membersOf(link) {
    if (this._members === null) {
      this._members = new Map();
      for (const { name, link } of this.devices.values()) {
        const members = this._members.get(link);
        if (members) members.push(name);
        else this._members.set(link, [name]);
      }
    }
    return this._members.get(link) ?? [];
  }

  /** @param {(change: Change) => void} fn @returns {() => void} */
  onChange(fn) {
    this._listeners.add(fn);
    return () => this._listeners.delete(fn);
  }

  /** Load the snapshot, or throw; what the stream brings meanwhile comes on top of it. */
  async load() {
    const waiting = (this._waiting = /** @type {any[]} */ ([]));
    let snapshot;
    try {
      snapshot = await this._api.get("state");
    } catch (error) {
      if (this._waiting !== waiting) return;
      this._waiting = null;
      for (const message of waiting) this._take(message);
      throw error;
    }
    if (this._waiting !== waiting) return; // a later one is on its way
    this._waiting = null;
    const { gateway, links, devices, findings, ...rest } = snapshot;
    this.gateway = gateway;
    this.rest = rest;
    this.links = new Map(links.map((/** @type {Row} */ row) => [row.name, row]));
    this.devices = new Map(devices.map((/** @type {Row} */ row) => [row.name, row]));
    this.findings = findings;
    this.isLoaded = true;
    for (const message of waiting) this._merge(message);
    this._tell({ all: true, links: new Set(), devices: new Set() });
  }

  /** @param {any} message */
  _take(message) {
    if (this._waiting) this._waiting.push(message);
    else if (this.isLoaded) this._tell(this._merge(message));
  }

  /** @param {any} message @returns {Change} */
  _merge(message) {
    const change = { all: false, links: new Set(), devices: new Set() };
    if (message.gateway) this.gateway = { ...this.gateway, ...message.gateway };
    if (message.findings) this.findings = message.findings;
    for (const kind of /** @type {const} */ (["links", "devices"])) {
      for (const row of message[kind] ?? []) {
        this[kind].set(row.name, row);
        change[kind].add(row.name);
      }
      for (const name of message.gone?.[kind] ?? []) {
        this[kind].delete(name);
        change[kind].add(name);
      }
    }
    return change;
  }

  /** @param {Change} change */
  _tell(change) {
    if (change.all || change.devices.size) this._members = null;
    for (const listener of [...this._listeners]) listener(change);
  }
}

/**
 * @typedef {{i: number, device: string, name: string, at: string, type: string, unit: string, to: string | null,
 *   write: boolean, range: [number | string, number | string] | null, order: string, every_s: number, description?: string,
 *   scale?: number, offset?: number, as?: string | null}} Tag
 * @typedef {{value: any, quality: "good" | "uncertain" | "bad", time_ms: number | null, cause: string}} Sample `value`:
 *   an integer that JavaScript would round is a text of its digits
 * @typedef {{time_ms: number | null}} Block when its tags were read last
 */

/** A tag's value; its time is its block's, which is told once for all tags of it. @implements {Sample} */
class Shown {
  /** @param {any} value @param {Sample["quality"]} quality @param {string} cause @param {Block} block */
  constructor(value, quality, cause, block) {
    this.value = value;
    this.quality = quality;
    this.cause = cause;
    this.block = block;
  }

  get time_ms() {
    return this.block.time_ms;
  }
}

const NO_SAMPLE = Object.freeze({ value: null, quality: /** @type {const} */ ("bad"), time_ms: null, cause: "" });

/** Every tag of the plant and its latest value; kept up to date while at least one view holds it open. */
export class Tags {
  /** @param {import("./api.js").Api} api @param {import("./live.js").Live} live */
  constructor(api, live) {
    this._api = api;
    this._live = live;
    this.isLoaded = false;
    this.generation = -1;
    /** Of the gateway's process that these are of. */
    this.boot = "";
    /** By index. @type {Map<number, Tag>} */
    this.tags = new Map();
    /** @type {Map<number, Sample>} */
    this._samples = new Map();
    /** By number. @type {Map<number, Block>} */
    this._blocks = new Map();
    /** @type {Set<(changed: number[] | null) => void>} */
    this._listeners = new Set();
    /** @type {any[] | null} */
    this._waiting = null;
    /** @type {(() => void) | null} */
    this._leave = null;
    /** @type {import("./live.js").Handlers} */
    this._handlers = { resync: () => this.load(), tags: (message) => this._take(message) };
  }

  /**
   * `fn(changed)` is called with the indices of tags that changed, or null when all may be others. The function
   * returned ends it.
   * @param {(changed: number[] | null) => void} fn @returns {() => void}
   */
  open(fn) {
    this._listeners.add(fn);
    if (this._leave === null) this._leave = this._live.subscribe(this._handlers);
    else if (this.isLoaded) fn(null);
    return () => {
      this._listeners.delete(fn);
      if (this._listeners.size === 0) this.close();
    };
  }

  close() {
    this._listeners.clear();
    this._leave?.();
    this._leave = null;
    this._waiting = null;
    this.isLoaded = false;
    this.tags = new Map();
    this._samples = new Map();
    this._blocks = new Map();
  }

  /** Whether somebody waits for them. */
  get isAwaited() {
    return this._leave !== null && !this.isLoaded;
  }

  /** @param {number} i @returns {Sample} */
  sample(i) {
    return this._samples.get(i) ?? NO_SAMPLE;
  }

  async load() {
    const waiting = (this._waiting = /** @type {any[]} */ ([]));
    let snapshot;
    try {
      snapshot = await this._api.get("tags");
    } catch (error) {
      if (this._waiting !== waiting) return;
      this._waiting = null;
      throw error;
    }
    if (this._waiting !== waiting) return;
    this._waiting = null;
    this.generation = snapshot.generation;
    this.boot = snapshot.boot;
    this._blocks = new Map();
    this.tags = new Map(snapshot.tags.map((/** @type {Tag} */ tag) => [tag.i, tag]));
    this._samples = new Map();
    this._set(snapshot.values);
    this.isLoaded = true;
    for (const message of waiting) if (message.generation === this.generation) this._merge(message);
    this._tell(null);
    if (waiting.some((message) => message.generation > this.generation)) await this.load(); // a reload came meanwhile
  }

  /** @param {any} message */
  _take(message) {
    if (this._waiting) this._waiting.push(message);
    else if (message.generation !== this.generation) this._live.missed(this._handlers);
    else if (this.isLoaded) {
      this._merge(message);
      if (message.changed.length) this._tell(message.changed.map((/** @type {any[]} */ each) => each[0]));
    }
  }

  /** @param {any} message */
  _merge({ now_ms, times, changed }) {
    this._api.heardClock(now_ms);
    for (const [number, time_ms] of times) this._block(number).time_ms = time_ms;
    this._set(changed);
  }

  /** @param {any[][]} values */
  _set(values) {
    for (const [i, value, quality, time_ms, cause, number] of values) {
      const block = this._block(number);
      block.time_ms = time_ms;
      this._samples.set(i, new Shown(value, quality, cause, block));
    }
  }

  /** @param {number} number @returns {Block} */
  _block(number) {
    let block = this._blocks.get(number);
    if (block === undefined) this._blocks.set(number, (block = { time_ms: null }));
    return block;
  }

  /** @param {number[] | null} changed */
  _tell(changed) {
    for (const listener of [...this._listeners]) listener(changed);
  }
}
