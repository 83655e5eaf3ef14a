import assert from "node:assert/strict";
import { test } from "node:test";

import { WebhookRefused, verifyWebhook } from "../dist/index.js";
import { webhook } from "./stage.mjs";

const { secret, body, headers } = webhook;

test("a webhook that Latchkey signed is read", async () => {
  const upper = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value]));
  for (const form of [headers, new Headers(headers), upper]) {
    for (const raw of [body, new TextEncoder().encode(body)]) {
      const event = await verifyWebhook(secret, raw, form);
      assert.deepEqual([event.id, event.type, event.data], ["msg_1", "login.authorized", JSON.parse(body).data]);
    }
  }
});

test("anything else is refused", async () => {
  const old = String(Number(headers["webhook-timestamp"]) - 301);
  for (const change of [
    { "webhook-signature": undefined },
    { "webhook-signature": "v1" },
    { "webhook-signature": "v1,%%%" },
    { "webhook-timestamp": "soon" },
    { "webhook-timestamp": old },
    { "webhook-id": "msg_2" },
  ]) {
    await assert.rejects(verifyWebhook(secret, body, { ...headers, ...change }), WebhookRefused);
  }
  await assert.rejects(verifyWebhook(secret, body.replace("lgn_1", "lgn_2"), headers), WebhookRefused);
  await assert.rejects(verifyWebhook("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", body, headers), WebhookRefused);
});
