/* What is waiting to be scanned, and the tap that scans it. */

import { button, call, find, make, say, showRows } from "./elements.js";

const REFUSALS = {
  AUTH_TOKEN_EXPIRED: "That code has just run out; a new one is on its way. Tap again in a moment.",
  AUTH_TOKEN_INVALID: "Telegram does not know that code.",
  AUTH_TOKEN_ALREADY_ACCEPTED: "That code was scanned already.",
  AUTH_TOKEN_EXCEPTION: "The device asked not to be logged in to this account once more.",
  USER_DEACTIVATED: "This account is deactivated: its phone cannot scan.",
  USER_DEACTIVATED_BAN: "This account is banned: its phone cannot scan.",
};
const RENEWAL_MS = 3_000;  // a device asks for the next code soon after the last one ran out: its row waits for that

let shown = [];

export function refusal(error) {
  return REFUSALS[error] ? `${REFUSALS[error]} (${error})` : error;
}

export function showWaiting(tokens, account, refresh) {
  const live = new Map(tokens.map(token => [token.auth_key_id, token]));
  const now = Date.now();
  const isRenewing = token => {
    const ranOutMs = now - Date.parse(token.expires_at);
    return ranOutMs >= 0 && ranOutMs < RENEWAL_MS;
  };
  const arrived = tokens.filter(token => !shown.some(each => each.auth_key_id === token.auth_key_id));
  tellNews(arrived);
  // In the order of their arrival, whoever has renewed: a row does not move under the finger that is about to tap it.
  shown = [...shown.map(each => live.get(each.auth_key_id) ?? each), ...arrived]
    .filter(token => live.has(token.auth_key_id) || isRenewing(token));

  const current = key => shown.find(token => token.auth_key_id === key);
  const row = token => {
    const about = `version ${token.app_version} · data centre ${token.dc_id}`;
    const words = make("div", "", make("div", "name", token.device_model), make("div", "soft", about), make("div", "soft left"));
    const scan = button("action", "Scan", async () => {
      try {
        await call("POST", `/accounts/${account.id}/scan`, { url: current(token.auth_key_id).url });
        shown = shown.filter(each => each.auth_key_id !== token.auth_key_id);
        say(`Accepted: ${token.device_model} is being logged in as ${account.first_name}.`
          + (account.has_password ? " It will ask for the 2FA password." : ""));
      } catch (error) { say(refusal(error.message), false); }
      refresh();
    });
    scan.setAttribute("aria-label", `Scan the code of ${token.device_model} as ${account.first_name}`);
    return make("li", "", words, scan);
  };
  const key = token => JSON.stringify([token.auth_key_id, token.device_model, token.app_version, account]);
  showRows(find("waiting"), shown, key, row, "Nothing is waiting. Start a login in your application and its QR code appears here.");
  shown.forEach((token, index) => {
    const seconds = Math.ceil((Date.parse(token.expires_at) - now) / 1000);
    find("waiting").children[index].querySelector(".left").textContent = token.except_ids.includes(account.id)
      ? `It is logged in as ${account.first_name} already.`
      : seconds > 0 ? `Its code is good for ${seconds} s more.` : "Its next code is on its way.";
  });
}

/* For whoever listens instead of looking. */
function tellNews(arrived) {
  if (arrived.length) find("news").textContent = `${arrived.map(token => token.device_model).join(", ")}: waiting to be scanned.`;
}
