/* Keeps the page up to date: asks the control API once a second, and gives each part what it shows. */

import { setUpAccount, showAccount } from "./account.js";
import { showCodes, showNotices } from "./codes.js";
import { call, find, make, say } from "./elements.js";
import { setUpMisbehaviour, showFaults, showNetwork } from "./misbehaviour.js";
import { showWaiting } from "./waiting.js";

const INTERVAL_MS = 1_000;
const VIOLATIONS = {
  flood_wait: "· calls during a flood wait",
  parallel_auth_key: "· one key on two connections",
  unpaced: "· calls less than 200 ms apart",
};

let chosen = Number(location.hash.slice(1)) || null;  // /phone#5000000002 is the phone of that account
let asked = 0, shown = 0;

async function refresh() {
  const turn = ++asked;
  try {
    const [accounts, tokens, messages, network, faults, statistics] = await Promise.all(
      ["/accounts", "/login-tokens", "/messages", "/network", "/faults", "/stats"].map(path => call("GET", path)));
    const account = accounts.data.find(each => each.id === chosen) ?? accounts.data[0];
    const [authorizations, codes] = account ? await Promise.all(
      ["authorizations", "messages"].map(path => call("GET", `/accounts/${account.id}/${path}`))) : [];
    if (turn < shown) return;  // a later answer was faster
    shown = turn;
    showNotices(messages.data, accounts.data);
    showNetwork(network);
    showFaults(faults.data);
    showStatistics(statistics);
    showOwners(accounts.data, account);
    if (account) {
      showWaiting(tokens.data, account, refresh);
      showAccount(account, authorizations.data);
      showCodes(codes.data);
    }
    find("trouble").hidden = true;
  } catch (error) {
    find("trouble").textContent = `The sandbox does not answer (${error.message}). This page goes on when it does.`;
    find("trouble").hidden = false;
  }
}

function showOwners(accounts, account) {
  find("nobody").hidden = account !== undefined;
  find("owned").hidden = account === undefined;
  if (!account) return;
  const list = find("owner");
  const names = accounts.map(each => {
    const state = each.state === "active" ? "" : `, ${each.state}`;
    return [each.id, `${each.first_name} (+${each.phone}${state})`];
  });
  if (list.dataset.names !== JSON.stringify(names)) {
    list.dataset.names = JSON.stringify(names);
    list.replaceChildren(...names.map(([id, name]) => Object.assign(make("option", "", name), { value: id })));
  }
  list.value = account.id;
  find("face").textContent = [...account.first_name][0] ?? "?";
  find("whose").textContent = `Phone of ${account.first_name}`;
}

function showStatistics(statistics) {
  const broken = Object.entries(statistics.violations).filter(([, count]) => count);
  const total = broken.reduce((sum, [, count]) => sum + count, 0);
  const rows = [["Connections", statistics.connections], ["Devices logged in", statistics.authorized_keys],
    ["Violations of Telegram's rules", total, total > 0], ...broken.map(([name, count]) => [VIOLATIONS[name] ?? name, count])];
  find("statistics").replaceChildren(...rows.flatMap(([words, count, isBad]) =>
    [make("dt", "", words), make("dd", isBad ? "bad" : "", count)]));
}

function own(id) {
  chosen = Number(id);
  history.replaceState(null, "", `#${chosen}`);
  return refresh();
}

async function create(fields) {
  try {
    const account = await call("POST", "/accounts", fields);
    await own(account.id);
    say(`${account.first_name} has a phone now, and this is it.`);
    return true;
  } catch (error) {
    say(error.message, false);
    return false;
  }
}

find("owner").onchange = event => own(event.target.value);
find("first").onclick = () => create({ first_name: "Alice" });
find("create").onsubmit = async event => {
  event.preventDefault();
  const fields = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value !== ""));
  if (!await create({ ...fields, dc_id: Number(fields.dc_id) })) return;
  event.target.reset();
  find("adding").open = false;
  find("owner").focus();
};

setUpAccount(refresh);
setUpMisbehaviour(refresh);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
(async () => {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise(resolve => setTimeout(resolve, INTERVAL_MS));
  }
})();
