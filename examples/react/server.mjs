// A shop whose account page is written in React. See ../README.md.
//
//   npm --prefix client-typescript ci && npm --prefix examples/react ci && npm --prefix examples/react run build
//   node examples/react/server.mjs
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { Latchkey } from "latchkey-client";

const { LATCHKEY_URL, LATCHKEY_API_KEY, SHOP_URL, PORT = "5000" } = process.env;
const latchkey = new Latchkey({ baseUrl: LATCHKEY_URL, apiKey: LATCHKEY_API_KEY });

const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Shop</title><link rel="icon" href="data:,"><h1>Your account</h1><div id="account"></div>
<script src="/app.js"></script></html>`;
// What a policy of yours must allow: Latchkey's script, its page in a frame, and its API for when frames are refused.
const POLICY =
  `default-src 'none'; img-src data:; script-src 'self' ${LATCHKEY_URL}; ` +
  `frame-src ${LATCHKEY_URL}; connect-src 'self' ${LATCHKEY_URL}`;

// Who asks: by your own authentication.
const currentCustomer = (_request) => "alice";

const routes = {
  "GET /account": () => ["text/html", PAGE],
  "GET /app.js": () => ["text/javascript", readFileSync(new URL("dist/app.js", import.meta.url))],
  // Start a login for the customer, whose page this shop's own page alone may embed.
  "POST /account/telegram": async (customer) => {
    const login = await latchkey.logins.start({ end_user_id: customer, origin: SHOP_URL });
    return ["application/json", JSON.stringify({ page_url: login.page_url })];
  },
  "GET /account/telegram": async (customer) => {
    const [session] = (await latchkey.sessions.listPage({ end_user_id: customer, status: "active" })).data;
    const connected = session ? { name: session.first_name } : null;
    return ["application/json", JSON.stringify({ latchkey: LATCHKEY_URL, connected })];
  },
};

createServer(async (request, response) => {
  try {
    const route = routes[`${request.method} ${request.url}`];
    if (route === undefined) return void response.writeHead(404).end();
    const [type, body] = await route(currentCustomer(request));
    response.writeHead(200, { "Content-Type": type, "Content-Security-Policy": POLICY }).end(body);
  } catch (error) {
    console.error(error);
    response.writeHead(502).end();
  }
}).listen(Number(PORT), "127.0.0.1");
