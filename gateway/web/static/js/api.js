/**
 * Requests to the gateway. The rule of the file: whoever asks gets plain JSON or an ApiError with a text a person
 * understands. A session that has ended is told once, here, for all views.
 */

/** How long an answer may take: a page that waits longer looks as if it worked. */
const TIMEOUT_MS = 10_000;
const CSRF = "X-CSRF-Token";
/** A clock that is off by less is taken for the gateway's: the header it is read from has whole seconds. */
const CLOCK_TOLERANCE_MS = 1500;

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
  }

  /** The gateway's time of day: ages are measured with its clock, not with this browser's. */
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
    try {
      response = await fetch(`api/${path}`, { ...request, signal, credentials: "same-origin", cache: "no-store" });
    } catch (error) {
      if (request.signal?.aborted) throw error;
      throw new ApiError(limit.aborted ? "the gateway does not answer" : "no connection to the gateway", 0);
    }
    this._readClock(response);
    const answer = await response.json().catch(() => null);
    if (response.ok && answer !== null) return answer;
    if (response.status === 401 && path !== "login") this._signedOut();
    const told = answer !== null && typeof answer.error === "string" ? answer.error : "";
    throw new ApiError(told || `the gateway answers with status ${response.status}`, response.status, answer?.code);
  }

  /** @param {Response} response */
  _readClock(response) {
    const date = Date.parse(response.headers.get("Date") ?? "");
    if (Number.isNaN(date)) return;
    const offset = date + 500 - Date.now();
    this._offset_ms = Math.abs(offset) < CLOCK_TOLERANCE_MS ? 0 : offset;
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
