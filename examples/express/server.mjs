// A shop on Express whose customers connect their Telegram account. See ../README.md.
//
//   npm --prefix client-typescript ci && npm --prefix examples/express ci && node examples/express/server.mjs
import express from "express";
import { Latchkey, WebhookRefused, verifyWebhook } from "latchkey-client";

const { LATCHKEY_URL, LATCHKEY_API_KEY, LATCHKEY_WEBHOOK_SECRET, SHOP_URL, PORT = "5000" } = process.env;
const latchkey = new Latchkey({ baseUrl: LATCHKEY_URL, apiKey: LATCHKEY_API_KEY });
const app = express();

const sessions = new Map(); // customer -> Latchkey's session id: a table of yours
const seen = new Set(); // ids of events that came already: another one

// Who asks: by your own authentication.
const currentCustomer = (_request) => "alice";

app.get("/account", (request, response) => {
  response.send(
    sessions.has(currentCustomer(request))
      ? "Your Telegram account is connected."
      : '<form method="post" action="/account/telegram"><button>Connect Telegram</button></form>',
  );
});

// Start a login for the customer and send them to its page; they come back to /account.
app.post("/account/telegram", async (request, response) => {
  const customer = currentCustomer(request);
  const login = await latchkey.logins.start({ end_user_id: customer, redirect_url: `${SHOP_URL}/account` });
  if (login.reused) sessions.set(customer, login.session_id);
  response.redirect(303, login.reused ? "/account" : login.page_url);
});

// Take what happened, once, if Latchkey signed it. The body must be as it came: raw, not parsed.
app.post("/webhooks/latchkey", express.raw({ type: "application/json" }), async (request, response) => {
  let event;
  try {
    event = await verifyWebhook(LATCHKEY_WEBHOOK_SECRET, request.body, request.headers);
  } catch (error) {
    if (!(error instanceof WebhookRefused)) throw error;
    response.sendStatus(400);
    return;
  }
  if (!seen.has(event.id)) {
    seen.add(event.id);
    const { end_user_id: customer, session_id: sessionId } = event.data;
    if (event.type === "login.authorized" && customer) sessions.set(customer, sessionId);
    if (["session.invalid", "session.revoked"].includes(event.type)) sessions.delete(customer);
  }
  response.sendStatus(204);
});

app.listen(Number(PORT), "127.0.0.1");
