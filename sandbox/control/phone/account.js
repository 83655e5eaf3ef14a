/* The chosen account on its phone: devices, two-step verification, whether it may use Telegram. */

import { button, call, choose, clock, explain, find, make, option, say, showRows, toggle, turn } from "./elements.js";

const STATES = [
  ["active", "Active", "Everything works."],
  ["deactivated", "Deactivated", "The owner has deleted the account: every call of its devices says so."],
  ["banned", "Banned", "Telegram has banned the account: every call of its devices says so, and no code is sent."],
];

let account, refresh, isSetting = false;

/* Do something to the account, say what came of it, and show how things stand now. */
async function change(verb, path, body, done) {
  try {
    await call(verb, `/accounts/${account.id}${path}`, body);
    say(done);
    return true;
  } catch (error) {
    say(error.message, false);
    return false;
  } finally { refresh(); }
}

const twoStep = toggle("Password", "", wanted => {
  isSetting = wanted && !isSetting;
  if (!wanted) return change("DELETE", "/password", undefined, "The password is removed.");
  showPasswordForm();
  if (isSetting) find("password").elements.password.focus();
});
const twoStepButton = twoStep.querySelector("button");

export function setUpAccount(refreshPage) {
  refresh = refreshPage;
  find("two-step").append(twoStep);
  twoStepButton.setAttribute("aria-controls", "password");
  find("standing").append(...STATES.map(([value, name, sentence]) => option(value, name, sentence,
    state => change("POST", "/state", { state }, `${account.first_name}'s account is ${state}.`))));
  find("terminate-all").onclick = async () => {
    await change("DELETE", "/authorizations", undefined, "All devices are logged out.");
    find("devices-title").focus();
  };
  find("password").onsubmit = async event => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(event.target));
    if (!await change("PUT", "/password", fields, "The password is set. New logins are asked for it.")) return;
    isSetting = false;
    event.target.reset();
    twoStepButton.focus();
  };
}

function showPasswordForm() {
  find("password").hidden = !isSetting;
  twoStepButton.setAttribute("aria-expanded", isSetting);
}

export function showAccount(shown, authorizations) {
  if (shown.id !== account?.id || shown.has_password) isSetting = false;
  account = shown;
  showPasswordForm();
  turn(twoStep, account.has_password);
  const hint = account.hint ? ` Its hint: “${account.hint}”.` : "";
  explain(twoStep, account.has_password ? `New logins are asked for it.${hint} Switch off to remove it.` : "New logins need no password.");
  choose(find("standing"), account.state);
  showRows(find("devices"), authorizations, JSON.stringify, deviceRow, "Nothing is logged in beside this phone.");
  find("terminate-all").hidden = authorizations.length < 2;
}

function deviceRow(authorization) {
  const words = make("div", "", make("div", "name", authorization.device_model),
    make("div", "soft", `app ${authorization.api_id}`), make("div", "soft", `since ${clock(authorization.created_at)}`));
  if (authorization.password_pending) words.append(make("div", "soft bad", "waits for the 2FA password"));
  const terminate = button("quiet bad", "Terminate", () =>
    change("DELETE", `/authorizations/${authorization.hash}`, undefined, `${authorization.device_model} is logged out.`));
  terminate.setAttribute("aria-label", `Terminate ${authorization.device_model}`);
  return make("li", "", words, terminate);
}
