/** Webhooks: believe one only when it is signed. Standard Webhooks (https://www.standardwebhooks.com), by WebCrypto. */

import { WebhookRefused } from "./errors.js";

const TOLERANCE_SECONDS = 300;

/** Something that happened. `id` is the same for every try and replay of an event: keep those that you have seen. */
export interface WebhookEvent {
  id: string;
  type: string;
  timestamp: string;
  /** Depends on the type; `session.invalid` has `login_url` for the person to log in again. */
  data: Record<string, unknown>;
}

type Headers_ = Headers | Record<string, string | string[] | undefined>;

/**
 * Verify and read a webhook.
 *
 * @param secret `whsec_…`, as it was shown when the endpoint was made.
 * @param body the request's body as it came, not parsed and written anew.
 * @param headers the request's: a `Headers`, or Node's `request.headers`.
 * @throws WebhookRefused the signature is missing or wrong, or more than five minutes old.
 */
export async function verifyWebhook(secret: string, body: string | Uint8Array, headers: Headers_): Promise<WebhookEvent> {
  const key = await crypto.subtle.importKey("raw", decode(secret.replace(/^whsec_/, "")), HMAC, false, ["verify"]);
  try {
    const [id, sentAt, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => read(headers, name));
    if (!id || !sentAt || !signatures || !(Math.abs(Date.now() / 1000 - Number(sentAt)) <= TOLERANCE_SECONDS)) {
      throw new WebhookRefused();
    }
    const text = typeof body === "string" ? body : new TextDecoder("utf-8", { fatal: true }).decode(body);
    const signed = new TextEncoder().encode(`${id}.${sentAt}.${text}`);
    for (const signature of signatures.split(" ")) {
      if (signature.startsWith("v1,") && (await crypto.subtle.verify(HMAC, key, decode(signature.slice(3)), signed))) {
        return readEvent(id, text);
      }
    }
  } catch (error) {
    throw error instanceof WebhookRefused ? error : new WebhookRefused(error);
  }
  throw new WebhookRefused();
}

const HMAC = { name: "HMAC", hash: "SHA-256" };

function readEvent(id: string, text: string): WebhookEvent {
  const told = JSON.parse(text) as Partial<WebhookEvent> | null;
  if (typeof told?.type !== "string" || typeof told.timestamp !== "string" || typeof told.data !== "object") {
    throw new WebhookRefused();
  }
  return { id, type: told.type, timestamp: told.timestamp, data: told.data };
}

function read(headers: Headers_, name: string): string | undefined {
  if (headers instanceof Headers) return headers.get(name) ?? undefined;
  const found = Object.entries(headers).find(([each]) => each.toLowerCase() === name)?.[1];
  return Array.isArray(found) ? found.join(" ") : found;
}

function decode(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
