/* Login codes: as notifications while they are new, whoever's phone they are for, and in the phone's list. */

import { button, clock, find, make, say, showRows } from "./elements.js";

const NEW_MS = 120_000;
const SHOWN_AT_ONCE = 2;
const dismissed = new Set();
const idOf = message => JSON.stringify([message.account_id, message.sent_at, message.code]);

export function showNotices(messages, accounts) {
  const isNew = message => Date.now() - Date.parse(message.sent_at) < NEW_MS && !dismissed.has(idOf(message));
  const fresh = messages.filter(isNew).slice(-SHOWN_AT_ONCE).reverse();
  const list = find("notices");
  const row = message => {
    const owner = accounts.find(account => account.id === message.account_id);
    const dismiss = button("quiet", "Dismiss", () => {
      dismissed.add(idOf(message));
      showNotices(messages, accounts);
    });
    const about = `Telegram, to ${owner?.first_name ?? "somebody"} by ${message.delivery.replaceAll("_", " ")}`;
    return make("div", "notice", make("p", "soft", about), make("p", "name", message.text),
      button("quiet", `Copy ${message.code}`, () => copy(message.code)), dismiss);
  };
  showRows(list, fresh, idOf, row);
}

async function copy(code) {
  try {
    await navigator.clipboard.writeText(code);
    say(`${code} is copied.`);
  } catch { say("The browser does not let this page copy: write it off, please.", false); }
}

export function showCodes(messages) {
  const row = message => make("li", "", make("div", "", message.text, make("div", "soft", clock(message.sent_at))));
  showRows(find("codes"), messages.toReversed(), idOf, row, "No code so far.");
}
