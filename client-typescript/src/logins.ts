/** Logins: start one, follow it, show its QR code, pass on what the person typed. */

import { Conflict, InvalidRequest } from "./errors.js";
import type { Login, MethodBody, NewLoginBody, StartedLogin } from "./schema.js";
import type { CallOptions, Request, Transport } from "./transport.js";

const LONGEST_WAIT_SECONDS = 30;
const CALL_SECONDS = 10;
const ANSWER_LIFE_MS = 60_000; // what was typed is forgotten after that, when nobody could take it
const FINAL: readonly string[] = ["authorized", "expired", "failed", "cancelled"];

type Answer = string | null | undefined | Promise<string | null | undefined>;

/** What `connect` calls while a person goes through a login. */
export interface ConnectOptions extends CallOptions {
  /** After each change: show `login.qr.url` while there is one. */
  onChange?: (login: Login) => unknown;
  /** Returns the 2FA password that the person typed; null: no answer now, the login goes on waiting. */
  askPassword?: (login: Login) => Answer;
  /** Returns the login code, likewise. */
  askCode?: (login: Login) => Answer;
}

/** Whether nothing will change any more. */
export function isFinal(login: Login): boolean {
  return FINAL.includes(login.status);
}

export class Logins {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * Start a login. Send the person to its `page_url`, or show the QR code yourself.
   *
   * `idempotencyKey` names this start: the same one again within 24 h starts nothing. Without one, a new one is made, so that a
   * start whose answer got lost can be sent again. `reused` comes back true when an active session serves already.
   */
  start(login: NewLoginBody = {}, options: CallOptions & { idempotencyKey?: string } = {}): Promise<StartedLogin> {
    return this.#transport.post(["logins"], options, login);
  }

  /** Read a login. */
  read(id: string, options: CallOptions = {}): Promise<Login> {
    return this.#transport.json(get(id, [], options));
  }

  /** Read a login when it has changed: a long poll. `version` is the one you have; after `waitSeconds` (0 to 30) it comes as it is. */
  nextVersion(
    id: string,
    { version, waitSeconds = LONGEST_WAIT_SECONDS, signal }: CallOptions & { version: number; waitSeconds?: number },
  ): Promise<Login> {
    return this.#transport.json({
      ...get(id, [], { signal }),
      query: { wait: waitSeconds, version },
      seconds: waitSeconds + CALL_SECONDS,
    });
  }

  /** A login as it is, then after each change newer than `version`; the last one is final. */
  async *follow(id: string, { version = -1, signal }: CallOptions & { version?: number } = {}): AsyncGenerator<Login> {
    for (let seen = version; ; ) {
      const login = await this.nextVersion(id, { version: Math.max(seen, 0), signal });
      if (login.version > seen) {
        seen = login.version;
        yield login;
      }
      if (isFinal(login)) return;
    }
  }

  /** Wait until a login is over, for as long as it lives; end it sooner with `signal: AbortSignal.timeout(…)`. */
  async wait(id: string, options: CallOptions = {}): Promise<Login> {
    let login = await this.read(id, options);
    while (!isFinal(login)) login = await this.nextVersion(id, { version: login.version, ...options });
    return login;
  }

  /** Go through a login with a person in front of this program; resolves when it is over. Asks anew while attempts are left. */
  async connect(id: string, options: ConnectOptions): Promise<Login> {
    let [version, answered, answerLostAt] = [-1, "", 0];
    for (;;) {
      const login = await this.nextVersion(id, { version: Math.max(version, 0), signal: options.signal });
      if (login.version > version) {
        version = login.version;
        await options.onChange?.(login);
      }
      if (isFinal(login)) return login;
      const standing = JSON.stringify([login.status, login.password, login.code]);
      const waits = login.status === "password_required" || login.status === "code_required";
      if (!waits || (standing === answered && Date.now() < answerLostAt)) continue;
      if (login.status === "password_required") {
        await this.#answer(login, options.askPassword, (typed) => this.submitPassword(id, typed, options));
      } else {
        await this.#answer(login, options.askCode, (typed) => this.submitCode(id, typed, options));
      }
      [answered, answerLostAt] = [standing, Date.now() + ANSWER_LIFE_MS];
    }
  }

  /** The current QR code as SVG. Rejects with Conflict `no_qr` while there is none. */
  async qrSvg(id: string, options: CallOptions = {}): Promise<string> {
    return (await this.#transport.send(get(id, ["qr.svg"], options))).text();
  }

  /** The current QR code as PNG. Rejects as `qrSvg` does. */
  async qrPng(id: string, options: CallOptions = {}): Promise<ArrayBuffer> {
    return (await this.#transport.send(get(id, ["qr.png"], options))).arrayBuffer();
  }

  /** Pass on the 2FA password, character for character; what became of it is in the login's next version. */
  submitPassword(id: string, password: string, options: CallOptions = {}): Promise<Login> {
    return this.#transport.post(["logins", id, "password"], options, { password });
  }

  /** Pass on the login code, in any form that people write it. InvalidRequest: it cannot be right, and no attempt is lost. */
  submitCode(id: string, code: string, options: CallOptions = {}): Promise<Login> {
    return this.#transport.post(["logins", id, "code"], options, { code });
  }

  /** Ask Telegram for the login code once more, by its next way of delivery. */
  resendCode(id: string, options: CallOptions = {}): Promise<Login> {
    return this.#transport.post(["logins", id, "code", "resend"], options);
  }

  /** Let the same login go on the other way: by phone code (with `phone`), or by QR code. */
  switchMethod(id: string, method: MethodBody, options: CallOptions = {}): Promise<Login> {
    return this.#transport.post(["logins", id, "method"], options, method);
  }

  /** Start a login that ended without a session again. For a client with the login's own secret, not with an API key. */
  again(id: string, options: CallOptions = {}): Promise<StartedLogin> {
    return this.#transport.post(["logins", id, "again"], options);
  }

  /** Cancel a login. Rejects with Conflict `login_final` when it is over. */
  cancel(id: string, options: CallOptions = {}): Promise<Login> {
    return this.#transport.json({ method: "DELETE", path: ["logins", id], signal: options.signal });
  }

  async #answer(
    login: Login,
    ask: ((login: Login) => Answer) | undefined,
    submit: (typed: string) => Promise<Login>,
  ): Promise<void> {
    for (;;) {
      const typed = await ask?.(login);
      if (typed === null || typed === undefined) return;
      try {
        await submit(typed);
        return;
      } catch (error) {
        if (error instanceof Conflict) return; // the login has moved on meanwhile
        if (!(error instanceof InvalidRequest)) throw error; // else it cannot be the code that was sent
      }
    }
  }
}

function get(id: string, parts: string[], options: CallOptions): Request {
  return { method: "GET", path: ["logins", id, ...parts], repeatable: true, signal: options.signal };
}
