/** What can go wrong, one class for each thing that a caller can do about it. */

/** Anything that Latchkey says no with. `code` is stable; `detail` is a sentence for people. */
export class LatchkeyError extends Error {
  readonly code: string;
  /** Of the HTTP answer; undefined: there was none. */
  readonly status: number | undefined;
  /** What to tell Latchkey's operators. */
  readonly requestId: string | undefined;

  constructor(detail: string, facts: { code: string; status?: number; requestId?: string; cause?: unknown }) {
    super(detail, { cause: facts.cause });
    this.name = new.target.name;
    this.code = facts.code;
    this.status = facts.status;
    this.requestId = facts.requestId;
  }

  get detail(): string {
    return this.message;
  }
}

/** Latchkey cannot be reached, is overloaded, or answers nonsense. Try again, after `retryAfterSeconds` if it is known. */
export class LatchkeyUnavailable extends LatchkeyError {
  retryAfterSeconds: number | undefined;
}

/** There were too many calls. Try again after `retryAfterSeconds`. */
export class RateLimited extends LatchkeyUnavailable {}

/** The API key or login secret is unknown, lacks the scope, or may not be used from here. */
export class AccessDenied extends LatchkeyError {}

/** The call makes no sense as it stands; `errors` says which fields. */
export class InvalidRequest extends LatchkeyError {
  errors: { field: string; message: string }[] = [];
}

/** There is no such login, session or lease, or it is another tenant's. */
export class NotFound extends LatchkeyError {}

/** The thing is not in a state that allows the call: look at it again; `code` says which state. */
export class Conflict extends LatchkeyError {}

/** The session cannot be used in its status: look at it, its user may have to log in anew. */
export class SessionNotActive extends Conflict {}

/** Somebody else holds the session. Try again after `expiresAt`. */
export class SessionLeased extends Conflict {
  holder = "";
  expiresAt = new Date(0);
}

/** The session may not be used any more: disconnect at once. */
export class LeaseLost extends LatchkeyError {}

/** The webhook was not signed with the secret, or not within the last five minutes. Answer 400, do nothing. */
export class WebhookRefused extends LatchkeyError {
  constructor(cause?: unknown) {
    super("This webhook was not signed with the endpoint's secret just now.", { code: "webhook_refused", cause });
  }
}
