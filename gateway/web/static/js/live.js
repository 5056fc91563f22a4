/**
 * What changes, as it changes: one stream of server-sent events for all views.
 *
 * The rule of the file: who subscribes is told `resync` whenever what it knows may be old (at the start, after a broken
 * connection, when the gateway says so), and then loads its snapshot anew, until that works. When the topics change, the
 * new stream is open before the old one is closed, and all load anew: what was on its way in the old one is lost.
 * Nothing is called live before those who missed something have loaded.
 *
 * A stream that is silent is as dead as one that is closed: a cable that was pulled says nothing.
 */

/** The gateway tells its uptime every second, because the page's own state is always subscribed to. Longer than this
 * without a word is no connection, whatever the socket says. */
const SILENCE_MS = 4_000;
/** For a stream to open. */
const OPEN_MS = 8_000;
const WATCH_MS = 500;
const RETRY_FIRST_MS = 250;
const RETRY_MOST_MS = 3_000;
/** What is subscribed to and left within this time (a change of view) does not open a stream of its own. */
const SETTLE_MS = 50;
/** Between two tries to load a snapshot that did not come. */
const RELOAD_MS = 1_000;
/** A page that nobody sees gives its connection back: a browser has six for one gateway, and this is one of them. */
const HIDDEN_MS = 30_000;

/** @typedef {"state" | "tags" | "events" | "clients"} Topic */
/** @typedef {{resync?: () => Promise<void>} & Partial<Record<Topic, (message: any) => void>>} Handlers */
/** @typedef {{handlers: Handlers, fresh: boolean}} Subscriber `fresh`: it is to load its snapshot */

/**
 * `behind`: loads that must end before it is live.
 * @typedef {{source: EventSource, topics: Set<Topic>, isOpen: boolean, begun_ms: number, behind: number}} Stream
 */

/** @type {Topic[]} */
const TOPICS = ["state", "tags", "events", "clients"];

export class Live {
  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this._api = api;
    /** @type {Set<Subscriber>} */
    this._subscribers = new Set();
    /** @type {Set<(live: Live) => void>} */
    this._watchers = new Set();
    /** @type {Stream | null} */
    this._stream = null;
    /** The one that is to take its place. @type {Stream | null} */
    this._next = null;
    this._started = false;
    this._isLive = false;
    this._heard_ms = 0;
    this._lost_ms = Date.now();
    this._retry_ms = RETRY_FIRST_MS;
    /** @type {number | undefined} */
    this._timer = undefined;
    /** @type {number | undefined} */
    this._settle = undefined;
    /** @type {number | undefined} */
    this._hidden = undefined;
    this._watch = 0;
    /** Of the gateway's process. */
    this._boot = "";
    /** Why the gateway gives us no stream; empty: it does, or cannot be reached. */
    this.refusal = "";
    /** Called when the gateway was started anew, with its version. @type {(version: string) => void} */
    this.onRestart = () => {};
    document.addEventListener("visibilitychange", () => this._onVisibility());
    window.addEventListener("online", () => this._retryNow());
    window.addEventListener("pagehide", () => this._closeAll());
    window.addEventListener("pageshow", (event) => event.persisted && this._retryNow());
  }

  /** Whether what the page shows is what is. */
  get isLive() {
    return this._isLive;
  }

  /** Whether the gateway is heard, though snapshots may still be missing. */
  get isConnected() {
    return this._stream !== null;
  }

  /** Seconds since something came from the gateway; null: it never did. */
  get silent_s() {
    return this._heard_ms ? (Date.now() - this._heard_ms) / 1000 : null;
  }

  /** Seconds without a connection; 0 while there is one. */
  get lost_s() {
    return this._isLive ? 0 : (Date.now() - this._lost_ms) / 1000;
  }

  /** `fn` is called when `isLive` changes. @param {(live: Live) => void} fn @returns {() => void} */
  onStatus(fn) {
    this._watchers.add(fn);
    return () => this._watchers.delete(fn);
  }

  /** Connect; harmless when it has. */
  start() {
    if (this._started) return;
    this._started = true;
    this._lost_ms = Date.now();
    this._watch = window.setInterval(() => this._look(), WATCH_MS);
    this._settleSoon();
  }

  stop() {
    this._started = false;
    window.clearInterval(this._watch);
    this._closeAll();
    this._setLive(false);
  }

  /**
   * Be told of the topics in `handlers`; `resync` comes first: load the snapshot, or throw. The function returned ends
   * it.
   * @param {Handlers} handlers @returns {() => void}
   */
  subscribe(handlers) {
    const subscriber = { handlers, fresh: true };
    this._subscribers.add(subscriber);
    this._settleSoon();
    return () => {
      this._subscribers.delete(subscriber);
      this._settleSoon();
    };
  }

  /** What these handlers know is old: they load anew, and until then nothing is live. @param {Handlers} handlers */
  missed(handlers) {
    this._catchUp([...this._subscribers].filter((subscriber) => subscriber.handlers === handlers));
  }

  // -- the stream -----------------------------------------------------------------------------------------------

  _wanted() {
    return new Set(TOPICS.filter((topic) => [...this._subscribers].some(({ handlers }) => handlers[topic])));
  }

  _settleSoon() {
    if (!this._started) return;
    window.clearTimeout(this._settle);
    this._settle = window.setTimeout(() => this._settleNow(), SETTLE_MS);
  }

  /** A stream with the topics that are wanted now. */
  _settleNow() {
    if (!this._started || this._timer !== undefined || this._isAway()) return;
    const wanted = this._wanted();
    if (wanted.size === 0) return this._closeAll();
    const current = this._next ?? this._stream;
    const same =
      current !== null && wanted.size === current.topics.size && [...wanted].every((t) => current.topics.has(t));
    if (!same) this._open(wanted);
    else if (current.isOpen) this._welcome(current.topics);
  }

  /** @param {Set<Topic>} topics */
  _open(topics) {
    this._next?.source.close();
    const source = new EventSource(`api/stream?topics=${[...topics].join(",")}`);
    const stream = { source, topics, isOpen: false, begun_ms: Date.now(), behind: 0 };
    this._next = stream;
    source.onopen = () => this._opened(stream);
    source.onerror = () => this._failed(stream);
    for (const topic of topics) source.addEventListener(topic, (event) => this._heard(stream, topic, event));
    source.addEventListener("ping", () => this._alive(stream));
    source.addEventListener("hello", (event) => this._met(stream, JSON.parse(event.data)));
    source.addEventListener("resync", () => {
      this._alive(stream);
      if (stream === this._stream) this._catchUp([...this._subscribers]);
    });
  }

  /** @param {Stream} stream */
  _opened(stream) {
    if (stream !== this._next) return;
    stream.isOpen = true;
    const wasLive = this._isLive;
    this._stream?.source.close();
    this._stream = stream;
    this._next = null;
    this._retry_ms = RETRY_FIRST_MS;
    this.refusal = "";
    this._alive(stream);
    for (const subscriber of this._subscribers) subscriber.fresh = true;
    const loads = this._welcome(stream.topics);
    if (!wasLive) void this._liveAfter(stream, loads);
  }

  /** @param {Stream} stream @param {{boot: string, version: string}} process */
  _met(stream, { boot, version }) {
    if (stream !== this._stream) return;
    const before = this._boot;
    this._boot = boot;
    if (before && boot !== before) this.onRestart(version);
  }

  /** Tell the new ones to load their snapshot. @param {Set<Topic>} topics */
  _welcome(topics) {
    const served = (/** @type {Handlers} */ handlers) =>
      TOPICS.every((topic) => !handlers[topic] || topics.has(topic));
    return [...this._subscribers].filter(({ fresh, handlers }) => fresh && served(handlers)).map((s) => this._load(s));
  }

  /** @param {Subscriber[]} subscribers */
  _catchUp(subscribers) {
    if (this._stream === null) return;
    this._setLive(false);
    void this._liveAfter(
      this._stream,
      subscribers.map((subscriber) => this._load(subscriber)),
    );
  }

  /** Nothing is live before these loads have ended. @param {Stream} stream @param {Promise<void>[]} loads */
  async _liveAfter(stream, loads) {
    stream.behind++;
    await Promise.all(loads);
    stream.behind--;
    if (stream === this._stream && stream.behind === 0) this._setLive(true);
  }

  /** Until it works, or nobody wants it any more. @param {Subscriber} subscriber */
  async _load(subscriber) {
    const stream = this._stream;
    subscriber.fresh = false;
    while (stream === this._stream && this._subscribers.has(subscriber)) {
      try {
        return await subscriber.handlers.resync?.();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, RELOAD_MS));
      }
    }
  }

  /** @param {Stream} stream @param {Topic} topic @param {MessageEvent} event */
  _heard(stream, topic, event) {
    if (stream !== this._stream) return;
    this._alive(stream);
    const message = JSON.parse(event.data);
    for (const { handlers } of [...this._subscribers]) handlers[topic]?.(message);
  }

  /** @param {Stream} stream */
  _alive(stream) {
    if (stream === this._stream) this._heard_ms = Date.now();
  }

  /** @param {Stream} stream */
  _failed(stream) {
    stream.source.close();
    if (stream === this._next) {
      this._next = null;
      if (this._stream) return this._again(); // the old one still serves
    } else if (stream === this._stream) this._stream = null;
    else return;
    this._lose();
  }

  _look() {
    if (this._stream && Date.now() - this._heard_ms > SILENCE_MS) this._lose();
    else if (this._next && Date.now() - this._next.begun_ms > OPEN_MS) this._failed(this._next);
  }

  _lose() {
    this._closeAll();
    this._setLive(false);
    this._again();
  }

  _again() {
    if (!this._started || this._timer !== undefined) return;
    const wait_ms = this._retry_ms;
    this._retry_ms = Math.min(2 * wait_ms, RETRY_MOST_MS);
    this._timer = window.setTimeout(async () => {
      this._timer = undefined;
      // A stream that is refused does not say why; the session does.
      const isReached = await this._api.loadSession().then(
        () => true,
        () => false,
      );
      if (!this._api.isLetIn) return this._api.onSignedOut();
      this.refusal = isReached ? await this._api.refusal("stream?topics=state") : "";
      if (!this._started) return;
      if (this.refusal && this._stream) {
        // The old one has the place that the new one lacks.
        this._closeAll();
        this._setLive(false);
      }
      this._settleNow();
    }, wait_ms);
  }

  _retryNow() {
    if (!this._started || this._isLive) return;
    window.clearTimeout(this._timer);
    this._timer = undefined;
    this._retry_ms = RETRY_FIRST_MS;
    this._settleNow();
  }

  _closeAll() {
    this._stream?.source.close();
    this._next?.source.close();
    this._stream = this._next = null;
    window.clearTimeout(this._settle);
    window.clearTimeout(this._timer);
    this._timer = undefined;
  }

  /** @param {boolean} isLive */
  _setLive(isLive) {
    if (isLive === this._isLive) return;
    this._isLive = isLive;
    if (!isLive) this._lost_ms = this._heard_ms || Date.now();
    for (const watcher of [...this._watchers]) watcher(this);
  }

  // -- a page that nobody sees ----------------------------------------------------------------------------------

  _isAway() {
    return document.hidden && this._hidden === undefined;
  }

  _onVisibility() {
    window.clearTimeout(this._hidden);
    this._hidden = undefined;
    if (!document.hidden) return this._retryNow();
    this._hidden = window.setTimeout(() => {
      this._hidden = undefined;
      this._closeAll();
      this._setLive(false);
    }, HIDDEN_MS);
  }
}
