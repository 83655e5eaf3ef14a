/* Network modes and faults: what this Telegram does wrong on purpose. */

import { button, call, choose, find, make, option, say, showRows, toggle, turn } from "./elements.js";

const MODES = [
  ["ok", "Works", "Connections are accepted and answered."],
  ["refuse", "Refuses", "Nobody listens: new connections fail at once, open ones live on."],
  ["accept_and_close", "Hangs up", "New connections are accepted and closed at once, open ones live on."],
  ["silent", "Black hole", "Nothing is read and nothing is sent, on old connections and new ones, until this ends."],
];
const SLOW_MS = 1_500;
const UNTIL_SWITCHED_OFF = 1_000_000;  // the most calls that a fault may wait for
const FAULTS = [
  ["Flood wait", "Who asks for a login token is told to wait 20 seconds first. The wait that has begun outlasts the switch.",
    { method: "auth.exportLoginToken", error: "FLOOD_WAIT_20" }],
  ["Lost updates", "After a scan, the waiting device is not told. It learns of it when it asks again.",
    { method: "*", lose_update: true }],
  ["Refused scans", "The phone scans, and Telegram says that the code has run out.",
    { method: "auth.acceptLoginToken", error: "AUTH_TOKEN_EXPIRED" }],
  ["No codes", "Who asks for a login code by phone number is told that there were too many.",
    { method: "auth.sendCode", error: "PHONE_NUMBER_FLOOD" }],
  ["Wrong password", "Every 2FA password is wrong, the right one as well.",
    { method: "auth.checkPassword", error: "PASSWORD_HASH_INVALID" }],
  ["Internal errors", "Every call is answered with an error of Telegram's own, number 500.",
    { method: "*", error: "INTERNAL_SERVER_ERROR" }],
  ["Cut connections", "Every call ends its connection, without an answer.",
    { method: "*", drop_connection: true }],
  ["Silence", "Every call is read, and none is answered.",
    { method: "*", silent: true }],
];
const EFFECTS = ["error", "delay_ms", "drop_connection", "silent", "lose_update"];

let waiting = [], refresh;
const isOf = (effects, fault) => fault.method === effects.method && fault.user_id === null && fault.auth_key_id === null
  && EFFECTS.every(name => (fault[name] || null) === (effects[name] || null));

async function change(verb, path, body, done) {
  try {
    await call(verb, path, body);
    say(done);
  } catch (error) { say(error.message, false); }
  refresh();
}

const slow = toggle("Slow", `Every answer takes ${SLOW_MS / 1000} seconds longer.`, wanted =>
  change("POST", "/network", { latency_ms: wanted ? SLOW_MS : 0 }, wanted ? "The network is slow." : "The network is fast."));

const switches = FAULTS.map(([name, sentence, effects]) => ({
  effects,
  element: toggle(name, sentence, async wanted => {
    if (wanted) return change("POST", "/faults", { ...effects, times: UNTIL_SWITCHED_OFF }, `${name}: on.`);
    for (const fault of waiting.filter(each => isOf(effects, each))) await change("DELETE", `/faults/${fault.id}`, undefined, `${name}: off.`);
  }),
}));

export function setUpMisbehaviour(refreshPage) {
  refresh = refreshPage;
  find("network").append(...MODES.map(([value, name, sentence]) => option(value, name, sentence,
    mode => change("POST", "/network", { mode }, `The network: ${name.toLowerCase()}.`))));
  find("slow").append(slow);
  find("faults").append(...switches.map(({ element }) => element));
  find("cut").onclick = () => change("POST", "/network", { cut_all: true }, "Every open connection is cut.");
  find("clear-faults").onclick = async () => {
    await change("DELETE", "/faults", undefined, "All faults and flood waits are cleared.");
    find("faults-title").focus();
  };
}

export function showNetwork(network) {
  choose(find("network"), network.mode);
  turn(slow, network.latency_ms > 0);
}

export function showFaults(faults) {
  waiting = faults;
  for (const { effects, element } of switches) turn(element, faults.some(fault => isOf(effects, fault)));
  const others = faults.filter(fault => !switches.some(({ effects }) => isOf(effects, fault)));
  showRows(find("other-faults"), others, JSON.stringify, otherRow);
  find("clear-faults").hidden = !faults.length;
}

/* A fault that no switch stands for: somebody has posted it. */
function otherRow(fault) {
  const effects = EFFECTS.filter(name => fault[name]).map(name => fault[name] === true ? name : `${name} ${fault[name]}`);
  const whom = [fault.user_id && `account ${fault.user_id}`, fault.auth_key_id && `key ${fault.auth_key_id}`].filter(Boolean);
  const about = [...effects, ...whom, fault.times === 1 ? "once" : `${fault.times} times`].join(" · ");
  return make("li", "", make("div", "", make("div", "name", fault.method), make("div", "soft", about)),
    button("quiet", "Remove", () => change("DELETE", `/faults/${fault.id}`, undefined, "The fault is removed.")));
}
