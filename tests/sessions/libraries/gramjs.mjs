// GramJS at the sandbox: one order on standard input, answers on standard output, each a line of JSON.

import { readOrders, tell } from "./orders.mjs";
import bigInt from "big-integer";
import { Api, TelegramClient } from "telegram";
import { _serverKeys } from "telegram/crypto/RSA.js";
import { Logger, PromisedNetSockets } from "telegram/extensions/index.js";
import { StringSession } from "telegram/sessions/index.js";

const orders = readOrders();
const { action, session, server, api_id, api_hash } = await orders();
_serverKeys.set(server.key.fingerprint, { n: bigInt(server.key.modulus), e: server.key.exponent });

const stored = new StringSession(session ?? "");
if (!session) stored.setDC(server.dc_id, server.host, server.port);

/** GramJS connects to port 80, whatever port its session says; this does as the session says. */
class ToThePort extends PromisedNetSockets {
  connect(port, host) {
    return super.connect(stored.port, host);
  }
}

const client = new TelegramClient(stored, api_id, api_hash, {
  connectionRetries: 3,
  networkSocket: ToThePort,
  baseLogger: new Logger("none"), // else it goes to standard output
});
await client.connect();

if (action === "log in") {
  const exportToken = () =>
    client.invoke(new Api.auth.ExportLoginToken({ apiId: api_id, apiHash: api_hash, exceptIds: [] }));
  const { token } = await exportToken();
  tell({ url: `tg://login?token=${token.toString("base64url")}` });
  await orders(); // it was scanned
  await exportToken();
  tell({ session: client.session.save() });
} else {
  tell({ user_id: (await client.getMe()).id.toString(), session: client.session.save() });
}
await client.destroy();
process.exit();
