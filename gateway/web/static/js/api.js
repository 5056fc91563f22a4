/**
 * Requests to the gateway. The rule of the file: whoever asks gets plain JSON or an ApiError with a text a person
 * understands. A session that has ended is told once, here, for all views.
 */

/** How long an answer may take: a page that waits longer looks as if it worked. */
const TIMEOUT_MS = 10_000;
const CSRF = "X-CSRF-Token";
/** The gateway's time of day in milliseconds, of every answer. */
const CLOCK = "x-now-ms";
/** What is known of the gateway's clock is measured anew after this: ours may drift. */
const CLOCK_KEPT_MS = 60_000;

export class ApiError extends Error {
  /** @param {string} message @param {number} status 0: no answer at all @param {string | number} [code] */
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }

  get isUnreachable() {
    return this.status === 0;
  }
}

/**
 * Who looks, and what they may. One object for the life of the page: it changes in place.
 * @typedef {object} Session
 * @property {string | null} user
 * @property {"viewer" | "operator" | "engineer" | null} role
 * @property {boolean} login users are configured
 * @property {boolean} may_write
 * @property {string} csrf
 * @property {string} version
 * @property {string} gateway its name
 */

export class Api {
  constructor() {
    /** @type {Session} */
    this.session = { user: null, role: null, login: false, may_write: false, csrf: "", version: "", gateway: "" };
    /** Called when the gateway no longer knows us. @type {() => void} */
    this.onSignedOut = () => {};
    this._offset_ms = 0;
    /** How far `now()` may be ahead: as long as the answer took that it was read from. */
    this._doubt_ms = Infinity;
    this._measured_ms = 0;
  }

  /**
   * The gateway's time of day: ages are measured with its clock, not with this browser's. It is ahead by what an answer
   * takes rather than behind, so that no age is shown younger than it is.
   */
  now() {
    return Date.now() + this._offset_ms;
  }

  /** Whether the page may show anything. */
  get isLetIn() {
    return !this.session.login || this.session.user !== null;
  }

  /** @param {string} path without `api/` @param {{signal?: AbortSignal}} [options] @returns {Promise<any>} */
  get(path, options = {}) {
    return this._ask(path, { signal: options.signal });
  }

  /** @param {string} path @param {unknown} body @param {{signal?: AbortSignal}} [options] @returns {Promise<any>} */
  post(path, body, options = {}) {
    return this._ask(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", [CSRF]: this.session.csrf },
      body: JSON.stringify(body),
      signal: options.signal,
    });
  }

  async loadSession() {
    Object.assign(this.session, await this.get("session"));
    return this.session;
  }

  /** @param {string} user @param {string} password */
  async login(user, password) {
    Object.assign(this.session, await this.post("login", { user, password }));
  }

  async logout() {
    await this.post("logout", {});
    await this.loadSession();
  }

  /** @param {string} path @param {RequestInit} request @returns {Promise<any>} */
  async _ask(path, request) {
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    const signal = request.signal ? AbortSignal.any([request.signal, limit]) : limit;
    let response;
    const sent_ms = performance.now();
    try {
      response = await fetch(`api/${path}`, { ...request, signal, credentials: "same-origin", cache: "no-store" });
    } catch (error) {
      if (request.signal?.aborted) throw error;
      throw new ApiError(limit.aborted ? "the gateway does not answer" : "no connection to the gateway", 0);
    }
    this._readClock(Number(response.headers.get(CLOCK)), performance.now() - sent_ms);
    const answer = await response.json().catch(() => null);
    if (response.ok && answer !== null) return answer;
    if (response.status === 401 && path !== "login") this._signedOut();
    const told = answer !== null && typeof answer.error === "string" ? answer.error : "";
    throw new ApiError(told || `the gateway answers with status ${response.status}`, response.status, answer?.code);
  }

  /** The gateway said this time just now, or a moment ago. @param {number} told_ms */
  heardClock(told_ms) {
    const behind_ms = told_ms - this.now();
    if (behind_ms > 0) this._offset_ms += behind_ms;
  }

  /**
   * When the answer came the gateway's clock was between what it told and that and what the answer took. The narrowest
   * of these counts, as long as the others do not prove it wrong: one of the clocks was set.
   * @param {number} told_ms @param {number} took_ms
   */
  _readClock(told_ms, took_ms) {
    if (!told_ms) return;
    const latest_ms = told_ms + took_ms;
    const isWrong = this.now() < told_ms || this.now() > latest_ms + this._doubt_ms;
    const isOld = Date.now() - this._measured_ms > CLOCK_KEPT_MS;
    if (!isWrong && !isOld && took_ms > this._doubt_ms) return;
    this._offset_ms = latest_ms - Date.now();
    this._doubt_ms = took_ms;
    this._measured_ms = Date.now();
  }

  /**
   * Why a stream is refused: the browser's own EventSource does not tell. Empty: it is not.
   * @param {string} path @returns {Promise<string>}
   */
  async refusal(path) {
    const ended = new AbortController();
    try {
      const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(TIMEOUT_MS)]);
      const response = await fetch(`api/${path}`, { signal, credentials: "same-origin", cache: "no-store" });
      return response.ok ? "" : String((await response.json()).error ?? "");
    } catch {
      return "";
    } finally {
      ended.abort();
    }
  }

  _signedOut() {
    if (this.session.user === null && !this.isLetIn) return;
    this.session.user = null;
    this.session.role = null;
    this.session.may_write = false;
    this.session.login = true;
    this.onSignedOut();
  }
}
