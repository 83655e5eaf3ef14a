/** Requests over fetch: sent again when that is safe, answered with a value or an error of this package. */

import { LatchkeyUnavailable, NotFound } from "./errors.js";
import { nonsense, readProblem } from "./problems.js";

const CALL_SECONDS = 10;
const FIRST_PAUSE_SECONDS = 0.25;
const LONGEST_PAUSE_SECONDS = 30;

/** What every call takes. */
export interface CallOptions {
  /** Ends the call from outside; it then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface Request extends CallOptions {
  method: "GET" | "POST" | "PUT" | "DELETE";
  /** Parts of the path under /v1; ids are quoted. */
  path: string[];
  query?: Record<string, string | number | boolean | undefined>;
  body?: object;
  headers?: Record<string, string>;
  /** A request that may have arrived may be sent again. */
  repeatable?: boolean;
  /** How often it is sent at most when Latchkey is away or asks to wait. */
  tries?: number;
  seconds?: number;
}

export interface TransportOptions {
  /** `https://latchkey.example`. */
  baseUrl: string;
  /** `lk_…`. Keep it on a server: whoever has it acts as your tenant. */
  apiKey?: string;
  /** Instead of an API key, a login's own `client_secret`: for that login alone; a browser may have it. */
  loginSecret?: string;
  /** Instead of the global one. */
  fetch?: typeof fetch;
}

/** Where Latchkey is and who asks. */
export class Transport {
  readonly #baseUrl: string;
  readonly #headers: Record<string, string>;
  readonly #fetch: typeof fetch;

  constructor(options: TransportOptions) {
    if ((options.apiKey === undefined) === (options.loginSecret === undefined)) {
      throw new TypeError("say apiKey or loginSecret");
    }
    this.#baseUrl = options.baseUrl.replace(/\/+$/, "");
    this.#headers =
      options.loginSecret === undefined
        ? { Authorization: `Bearer ${options.apiKey}` }
        : { "Login-Secret": options.loginSecret };
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  }

  /** A POST that may be sent again: under its idempotency key it has one effect, and one answer. */
  post<T>(path: string[], options: CallOptions & { idempotencyKey?: string }, body?: object): Promise<T> {
    return this.json({
      method: "POST",
      path,
      headers: { "Idempotency-Key": options.idempotencyKey ?? crypto.randomUUID() },
      repeatable: true,
      signal: options.signal,
      ...(body ? { body } : {}),
    });
  }

  /** Send, and read JSON. Members that a later Latchkey adds are passed through. */
  async json<T>(request: Request): Promise<T> {
    const response = await this.send(request);
    try {
      return (await response.json()) as T;
    } catch {
      throw nonsense("no JSON");
    }
  }

  /** Send; what was refused with 429 or 503 has done nothing and is sent again, what got no answer only if it is repeatable. */
  async send(request: Request): Promise<Response> {
    const tries = request.tries ?? 3;
    for (let number = 1; ; number++) {
      try {
        return await this.#once(request);
      } catch (error) {
        if (!(error instanceof LatchkeyUnavailable)) throw error;
        const nothingDone = error.status === 429 || error.status === 503;
        const pause = error.retryAfterSeconds ?? FIRST_PAUSE_SECONDS * 2 ** number * (0.5 + Math.random() / 2);
        if (number >= tries || pause > LONGEST_PAUSE_SECONDS || !(request.repeatable || nothingDone)) throw error;
        await sleep(pause, request.signal);
      }
    }
  }

  async #once(request: Request): Promise<Response> {
    const limit = AbortSignal.timeout((request.seconds ?? CALL_SECONDS) * 1000);
    const url = this.#url(request);
    let response: Response;
    try {
      response = await this.#fetch(url, {
        method: request.method,
        headers: {
          ...this.#headers,
          ...request.headers,
          ...(request.body === undefined ? {} : { "Content-Type": "application/json" }),
        },
        ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
        signal: request.signal ? AbortSignal.any([limit, request.signal]) : limit,
        redirect: "error",
      });
    } catch (cause) {
      request.signal?.throwIfAborted();
      throw new LatchkeyUnavailable("Latchkey cannot be reached.", { code: "unavailable", cause });
    }
    if (!response.ok) throw await readProblem(response);
    return response;
  }

  #url(request: Request): string {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) query.set(name, String(value));
    }
    const path = request.path.map(quote).join("/");
    return `${this.#baseUrl}/v1/${path}${query.size ? `?${query}` : ""}`;
  }
}

/** Wait; an aborted signal ends it with its reason. */
export async function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

function quote(part: string): string {
  // fetch would take these for steps in the path.
  if (part === "." || part === ".." || part === "") {
    throw new NotFound(`There is nothing at "${part}".`, { code: "not_found" });
  }
  return encodeURIComponent(part);
}
