/** What Latchkey answers instead of what was asked for: problem+json (RFC 9457) becomes an error by its `code`. */

import {
  AccessDenied,
  Conflict,
  InvalidRequest,
  LatchkeyError,
  LatchkeyUnavailable,
  LeaseLost,
  NotFound,
  RateLimited,
  SessionLeased,
  SessionNotActive,
} from "./errors.js";

type Kind = new (detail: string, facts: { code: string; status?: number; requestId?: string }) => LatchkeyError;

const BY_CODE: Record<string, Kind> = {
  idempotency_key_in_use: LatchkeyUnavailable, // the same request is still being worked on
  lease_lost: LeaseLost,
  not_found: NotFound,
  rate_limited: RateLimited,
  session_leased: SessionLeased,
  session_not_active: SessionNotActive,
};
const BY_STATUS: Record<number, Kind> = { 401: AccessDenied, 403: AccessDenied, 409: Conflict, 429: RateLimited };

/** Make the error for an answer that is not ok. */
export async function readProblem(response: Response): Promise<LatchkeyError> {
  const problem = await members(response);
  const code = text(problem["code"]) ?? "error";
  const kind = BY_CODE[code] ?? BY_STATUS[response.status] ?? (response.status >= 500 ? LatchkeyUnavailable : InvalidRequest);
  const requestId = text(problem["request_id"]);
  const error = new kind(text(problem["detail"]) ?? `Latchkey answered ${response.status}.`, {
    code,
    status: response.status,
    ...(requestId === undefined ? {} : { requestId }),
  });
  if (error instanceof LatchkeyUnavailable) error.retryAfterSeconds = retryAfterSeconds(response);
  if (error instanceof InvalidRequest && Array.isArray(problem["errors"])) error.errors = problem["errors"];
  if (error instanceof SessionLeased) {
    const [holder, until] = [text(problem["holder"]), Date.parse(text(problem["expires_at"]) ?? "")];
    if (holder === undefined || Number.isNaN(until)) return nonsense("a lease without holder or end");
    error.holder = holder;
    error.expiresAt = new Date(until);
  }
  return error;
}

/** The error for an answer that cannot be Latchkey's. */
export function nonsense(what: string): LatchkeyUnavailable {
  return new LatchkeyUnavailable(`What answered is not Latchkey: it sent ${what}.`, { code: "unavailable" });
}

async function members(response: Response): Promise<Record<string, unknown>> {
  try {
    const told: unknown = await response.json();
    return typeof told === "object" && told !== null ? (told as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function retryAfterSeconds(response: Response): number | undefined {
  const told = response.headers.get("retry-after") ?? "";
  return /^\d+$/.test(told) ? Number(told) : undefined;
}

function text(told: unknown): string | undefined {
  return typeof told === "string" ? told : undefined;
}
