import assert from "node:assert/strict";
import { test } from "node:test";

import {
  AccessDenied,
  Conflict,
  InvalidRequest,
  Latchkey,
  LatchkeyUnavailable,
  NotFound,
  isFinal,
} from "../dist/index.js";
import { baseUrl, latchkey } from "./stage.mjs";

test("a login is started, shown, followed and cancelled", async () => {
  const started = await latchkey.logins.start({ end_user_id: "alice-1", metadata: { play: "qr" } });
  assert.ok(started.page_url.endsWith(`/login/${started.id}#${started.client_secret}`));
  const seen = [];
  for await (const login of latchkey.logins.follow(started.id)) {
    seen.push(login.status);
    if (login.status === "waiting_for_scan") {
      assert.match(login.qr.url, /^tg:\/\/login\?token=/);
      assert.match(await latchkey.logins.qrSvg(started.id), /^<svg/);
      assert.equal(new Uint8Array(await latchkey.logins.qrPng(started.id))[0], 0x89);
      await latchkey.logins.cancel(started.id);
    }
  }
  assert.equal(seen.at(-1), "cancelled");
  assert.ok(isFinal(await latchkey.logins.wait(started.id)));
});

test("connect asks what the person has to type", async () => {
  const started = await latchkey.logins.start({ metadata: { play: "typed" } });
  const [codes, passwords, shown] = [["12", "12345"], ["wrong", "right"], []];
  const ended = await latchkey.logins.connect(started.id, {
    onChange: (login) => shown.push(login.status),
    askCode: async () => codes.shift(),
    askPassword: (login) => (login.password.hint === "first dog" ? passwords.shift() : null),
  });
  assert.deepEqual([ended.reason, codes, passwords], ["password_attempts_exhausted", [], []]);
  assert.ok(shown.includes("code_required") && shown.includes("password_required"));
});

test("the login's own secret serves for it alone, and starts it again", async () => {
  const [started, other] = [await latchkey.logins.start(), await latchkey.logins.start()];
  const person = new Latchkey({ baseUrl, loginSecret: started.client_secret });
  assert.equal((await person.logins.switchMethod(started.id, { method: "code", phone: "+4915112345678" })).method, "code");
  await person.logins.cancel(started.id);
  await assert.rejects(person.logins.read(other.id), NotFound);
  assert.notEqual((await person.logins.again(started.id)).id, started.id);
  await assert.rejects(latchkey.logins.again(started.id), AccessDenied);
});

test("what is refused is told apart", async () => {
  await assert.rejects(latchkey.logins.start({ method: "code" }), (error) => {
    assert.ok(error instanceof InvalidRequest);
    assert.deepEqual(error.errors, [{ field: "phone", message: "is needed with method code" }]);
    return true;
  });
  await assert.rejects(latchkey.logins.read("lgn_of_nobody"), NotFound);
  await assert.rejects(latchkey.logins.read("../sessions"), NotFound);
  await assert.rejects(latchkey.logins.read(".."), NotFound);
  const started = await latchkey.logins.start({}, { idempotencyKey: "once" });
  assert.equal((await latchkey.logins.start({}, { idempotencyKey: "once" })).id, started.id);
  await assert.rejects(latchkey.logins.start({ end_user_id: "b" }, { idempotencyKey: "once" }), {
    code: "idempotency_key_reused",
  });
  await assert.rejects(latchkey.logins.qrSvg(started.id), (error) => error instanceof Conflict && error.code === "no_qr");
  await assert.rejects(new Latchkey({ baseUrl, apiKey: "lk_wrong" }).logins.start(), AccessDenied);
  assert.throws(() => new Latchkey({ baseUrl }), TypeError);
});

test("what cannot be reached is sent again, but only what may be", async () => {
  const tried = [];
  const fetch = async (url, init) => {
    tried.push(init.method);
    throw new TypeError("fetch failed");
  };
  const away = new Latchkey({ baseUrl, apiKey: "lk_1", fetch });
  await assert.rejects(away.logins.read("lgn_1"), LatchkeyUnavailable);
  await assert.rejects(away.logins.cancel("lgn_1"), LatchkeyUnavailable);
  assert.deepEqual(tried, ["GET", "GET", "GET", "DELETE"]);
});

test("a start whose answer got lost is sent again, and starts one login", async () => {
  const answers = [];
  const fetch = async (url, init) => {
    const answer = await globalThis.fetch(url, init);
    answers.push(await answer.clone().json());
    if (answers.length === 1) throw new TypeError("fetch failed");
    return answer;
  };
  const shaky = new Latchkey({ baseUrl, apiKey: process.env.LATCHKEY_API_KEY, fetch });
  const started = await shaky.logins.start({ end_user_id: "shaky" });
  assert.deepEqual(answers.map((each) => each.id), [started.id, started.id]);
});

test("a call is ended from outside", async () => {
  const started = await latchkey.logins.start();
  await assert.rejects(latchkey.logins.wait(started.id, { signal: AbortSignal.timeout(300) }), { name: "TimeoutError" });
});
