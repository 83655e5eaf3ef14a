// mtcute at the sandbox: one order on standard input, answers on standard output, each a line of JSON.

import { readOrders, tell } from "./orders.mjs";
import { MemoryStorage, TelegramClient } from "@mtcute/node";
import { NodeCryptoProvider } from "@mtcute/node/utils.js";
import { addPublicKey } from "@mtcute/core/utils.js";

const orders = readOrders();
const { action, session, server, api_id, api_hash } = await orders();
const crypto = new NodeCryptoProvider();
await crypto.initialize?.();
addPublicKey(crypto, server.key.pem);

const main = { id: server.dc_id, ipAddress: server.host, port: server.port };
const client = new TelegramClient({
  apiId: api_id,
  apiHash: api_hash,
  storage: new MemoryStorage(),
  defaultDcs: { main, media: main },
  logLevel: 0,
});

if (action === "log in") {
  await client.connect();
  await client.signInQr({ onUrlUpdated: (url) => tell({ url }), onQrScanned: () => {} });
  tell({ session: await client.exportSession() });
} else {
  await client.importSession(session);
  await client.connect();
  tell({ user_id: String((await client.getMe()).id), session: await client.exportSession() });
}
await client.destroy();
process.exit();
