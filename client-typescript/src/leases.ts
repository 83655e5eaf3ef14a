/**
 * Leases: whoever uses a session holds one, because Telegram ends an auth key that two connections use.
 *
 * No call here is sent again by itself: a lease counts from when it was asked for.
 */

import { LatchkeyUnavailable, LeaseLost } from "./errors.js";
import type { Lease, NewLeaseBody, RenewedLease, RenewLeaseBody } from "./schema.js";
import { sleep, type CallOptions, type Transport } from "./transport.js";

const LONGEST_RENEWAL_SECONDS = 20; // a revoked session leaves its holder 60 s, and a refused renewal is how one hears of it

/** A lease that is being kept. */
export interface HeldLease extends Lease {
  /** Aborts, with LeaseLost, when the session may not be used any more: disconnect at once. */
  readonly signal: AbortSignal;
  /** What Telegram's answers say: told to Latchkey with the next renewal, or with the release. */
  healthy: boolean | undefined;
}

export class Leases {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Acquire a lease. Rejects with SessionLeased while somebody else has one. */
  acquire(sessionId: string, lease: NewLeaseBody, options: CallOptions = {}): Promise<Lease> {
    return this.#transport.json({ method: "POST", path: place(sessionId), body: lease, tries: 1, signal: options.signal });
  }

  /** Let a lease go on until `ttl_seconds` after you asked. Rejects with LeaseLost: disconnect at once. */
  renew(sessionId: string, leaseId: string, lease: RenewLeaseBody, options: CallOptions = {}): Promise<RenewedLease> {
    return this.#transport.json({
      method: "PUT",
      path: [...place(sessionId), leaseId],
      body: lease,
      tries: 1,
      signal: options.signal,
    });
  }

  /** Release a lease. Disconnect from Telegram before. */
  async release(
    sessionId: string,
    leaseId: string,
    { healthy, signal }: CallOptions & { healthy?: boolean | undefined } = {},
  ): Promise<void> {
    await this.#transport.send({
      method: "DELETE",
      path: [...place(sessionId), leaseId],
      query: { healthy },
      tries: 1,
      signal,
    });
  }

  /**
   * Acquire a lease, keep it while `use` runs, and release it afterwards.
   *
   * `use` has to be disconnected from Telegram when it settles, whatever happens, and to disconnect at once when `lease.signal`
   * aborts: that comes some seconds before somebody else could get the session. Rejects with LeaseLost if it did.
   */
  async hold<T>(sessionId: string, lease: NewLeaseBody, use: (lease: HeldLease) => Promise<T>): Promise<T> {
    const [lost, over] = [new AbortController(), new AbortController()];
    const askedAt = performance.now();
    const held: HeldLease = { ...(await this.acquire(sessionId, lease)), signal: lost.signal, healthy: undefined };
    const keeping = this.#keep(sessionId, held, { ttlSeconds: lease.ttl_seconds, askedAt, lost, over: over.signal });
    try {
      const result = await use(held);
      lost.signal.throwIfAborted();
      return result;
    } catch (error) {
      throw lost.signal.aborted ? lost.signal.reason : error;
    } finally {
      over.abort();
      await keeping;
      if (!lost.signal.aborted) {
        await this.release(sessionId, held.lease_id, { healthy: held.healthy }).catch(() => undefined); // it runs out
      }
    }
  }

  async #keep(
    sessionId: string,
    held: HeldLease,
    facts: { ttlSeconds: number; askedAt: number; lost: AbortController; over: AbortSignal },
  ): Promise<void> {
    const { ttlSeconds, lost, over } = facts;
    const margin = Math.min(10, Math.max(3, ttlSeconds / 4));
    const usual = Math.min(LONGEST_RENEWAL_SECONDS, ttlSeconds / 3);
    const goesOnFrom = (askedAt: number) => [askedAt + ttlSeconds - margin, askedAt + usual] as const;
    let [until, renewAt] = goesOnFrom(facts.askedAt / 1000);
    while (!over.aborted) {
      try {
        await sleep(Math.max(0, Math.min(renewAt, until) - performance.now() / 1000), over);
        const left = until - performance.now() / 1000;
        if (left <= 0) throw lostLease("Latchkey could not be reached to renew the lease in time.");
        const [askedAt, healthy] = [performance.now() / 1000, held.healthy];
        await this.renew(
          sessionId,
          held.lease_id,
          { ttl_seconds: ttlSeconds, ...(healthy === undefined ? {} : { healthy }) },
          { signal: AbortSignal.any([over, AbortSignal.timeout(Math.min(left, ttlSeconds / 4) * 1000)]) },
        );
        [until, renewAt] = goesOnFrom(askedAt);
        if (held.healthy === healthy) held.healthy = undefined;
      } catch (error) {
        if (over.aborted) return;
        if (error instanceof LatchkeyUnavailable || isTimeout(error)) {
          renewAt = performance.now() / 1000 + Math.min(2, ttlSeconds / 12);
          continue;
        }
        lost.abort(error instanceof LeaseLost ? error : lostLease(`The lease is not renewed any more: ${error}`, error));
        return;
      }
    }
  }
}

function place(sessionId: string): string[] {
  return ["sessions", sessionId, "lease"];
}

function lostLease(detail: string, cause?: unknown): LeaseLost {
  return new LeaseLost(detail, { code: "lease_lost", cause });
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === "TimeoutError";
}
