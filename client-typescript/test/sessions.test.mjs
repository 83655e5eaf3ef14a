import assert from "node:assert/strict";
import { test } from "node:test";

import { InvalidRequest, LeaseLost, SessionLeased } from "../dist/index.js";
import { latchkey, sessionIds } from "./stage.mjs";

const [first, second, third] = sessionIds;

test("sessions are listed, read and validated", async () => {
  const page = await latchkey.sessions.listPage({ limit: 1 });
  assert.equal(page.data.length, 1);
  const all = [];
  for await (const session of latchkey.sessions.listAll({ status: "active" })) all.push(session.id);
  assert.ok([first, second].every((id) => all.includes(id)));
  assert.equal((await latchkey.sessions.read(first)).status, "active");
  assert.equal((await latchkey.sessions.validate(first)).id, first);
  await assert.rejects(latchkey.sessions.importSession({ session_string: "nonsense" }), InvalidRequest);
});

test("a lease is held, refused to others, and released with what was found out", async () => {
  const result = await latchkey.leases.hold(second, { holder: "bot-1", ttl_seconds: 60 }, async (lease) => {
    assert.ok(lease.session_string.length > 300);
    assert.equal(lease.fencing_token, 1);
    lease.healthy = true;
    await assert.rejects(latchkey.leases.acquire(second, { holder: "bot-2", ttl_seconds: 60 }), (error) => {
      assert.ok(error instanceof SessionLeased);
      assert.equal(error.holder, "bot-1");
      assert.ok(error.expiresAt > new Date());
      return true;
    });
    return "used";
  });
  assert.equal(result, "used");
  assert.equal((await latchkey.sessions.read(second)).lease, null);
  await assert.rejects(
    latchkey.leases.hold(second, { holder: "bot-1", ttl_seconds: 60 }, async () => {
      throw new RangeError("its own");
    }),
    RangeError,
  );
  assert.equal((await latchkey.sessions.read(second)).lease, null);
});

test("a lease that is lost aborts its signal", async () => {
  await assert.rejects(
    latchkey.leases.hold(third, { holder: "bot-1", ttl_seconds: 10 }, async (lease) => {
      await latchkey.sessions.revoke(third);
      await new Promise((resolve) => lease.signal.addEventListener("abort", resolve));
      assert.ok(lease.signal.reason instanceof LeaseLost);
    }),
    LeaseLost,
  );
});
