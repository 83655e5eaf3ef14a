/** Using Latchkey from JavaScript and TypeScript, in Node and (with a login's own secret) in browsers. */

import { Leases } from "./leases.js";
import { Logins } from "./logins.js";
import { Sessions } from "./sessions.js";
import { Transport, type TransportOptions } from "./transport.js";

export * from "./errors.js";
export type { HeldLease, Leases } from "./leases.js";
export { isFinal, type ConnectOptions, type Logins } from "./logins.js";
export type {
  Lease,
  Login,
  NewLeaseBody,
  NewLoginBody,
  NewSessionBody,
  Problem,
  RenewedLease,
  RevokeBody,
  Session,
  SessionPage,
  StartedLogin,
} from "./schema.js";
export type { SessionFilter, Sessions } from "./sessions.js";
export type { CallOptions, TransportOptions as LatchkeyOptions } from "./transport.js";
export { verifyWebhook, type WebhookEvent } from "./webhooks.js";

/** An installation of Latchkey, and who asks. Holds no connection. */
export class Latchkey {
  readonly logins: Logins;
  readonly sessions: Sessions;
  readonly leases: Leases;

  constructor(options: TransportOptions) {
    const transport = new Transport(options);
    this.logins = new Logins(transport);
    this.sessions = new Sessions(transport);
    this.leases = new Leases(transport);
  }
}
