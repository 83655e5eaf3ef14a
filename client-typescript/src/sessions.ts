/** Sessions: list, read, import, validate, revoke. */

import type { NewSessionBody, RevokeBody, RevokedSessions, Session, SessionPage } from "./schema.js";
import type { CallOptions, Transport } from "./transport.js";

/** Which sessions. */
export interface SessionFilter {
  status?: Session["status"];
  telegram_user_id?: number;
  end_user_id?: string;
}

export class Sessions {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Some sessions; `cursor` is `next_cursor` of the page before, `limit` 1 to 200. */
  listPage(
    filter: SessionFilter & { cursor?: string; limit?: number } = {},
    options: CallOptions = {},
  ): Promise<SessionPage> {
    return this.#transport.json({
      method: "GET",
      path: ["sessions"],
      query: { ...filter },
      repeatable: true,
      signal: options.signal,
    });
  }

  /** Every session, page by page. */
  async *listAll(filter: SessionFilter = {}, options: CallOptions = {}): AsyncGenerator<Session> {
    for (let cursor: string | undefined; ; ) {
      const page = await this.listPage({ ...filter, limit: 200, ...(cursor ? { cursor } : {}) }, options);
      yield* page.data;
      if (page.next_cursor === null) return;
      cursor = page.next_cursor;
    }
  }

  /** Read a session. */
  read(id: string, options: CallOptions = {}): Promise<Session> {
    return this.#transport.json({ method: "GET", path: ["sessions", id], repeatable: true, signal: options.signal });
  }

  /** Import a session: quarantined, and active once Telegram has answered. Stop using the string session yourself before. */
  importSession(session: NewSessionBody, options: CallOptions = {}): Promise<Session> {
    return this.#transport.post(["sessions"], options, session);
  }

  /** Let Latchkey ask Telegram now whether a session lives; see `last_validated_at` a few seconds later. */
  validate(id: string, options: CallOptions = {}): Promise<Session> {
    return this.#transport.post(["sessions", id, "validate"], options);
  }

  /** Log a session out at Telegram and erase it. May be repeated. */
  revoke(id: string, options: CallOptions = {}): Promise<Session> {
    return this.#transport.json({ method: "DELETE", path: ["sessions", id], repeatable: true, signal: options.signal });
  }

  /** After a leak: revoke what a holder or an API key has opened, since a time, or everything. May be repeated. */
  revokeOpened(which: RevokeBody, options: CallOptions = {}): Promise<RevokedSessions> {
    return this.#transport.post(["sessions", "revoke"], options, which);
  }
}
