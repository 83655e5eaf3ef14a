// The React component, in a document without a screen: what it says to whom, and when. That the real widget opens and closes
// is for a real browser to show: tests/web/test_react_example.py.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { afterEach, test } from "node:test";

import { JSDOM, VirtualConsole } from "jsdom";

import { baseUrl } from "./stage.mjs";

const page = new JSDOM("<!doctype html><main></main>", {
  ...{ url: "https://acme.example/", runScripts: "dangerously", resources: "usable" },
  virtualConsole: new VirtualConsole(), // that a script was not loaded need not be printed
});
const { window: tab } = page;
Object.assign(globalThis, { window: tab, document: tab.document, IS_REACT_ACT_ENVIRONMENT: true });
globalThis.navigator ??= tab.navigator; // later versions of Node have their own

const { act, createElement, StrictMode } = await import("react");
const { createRoot } = await import("react-dom/client");
const { renderToString } = await import("react-dom/server");
const { LatchkeyUnavailable } = await import("../dist/index.js");
const { ConnectTelegramButton, useConnectTelegram } = await import("../dist/react.js");
const { loadWidget } = await import("../dist/widget.js");

const HOME = "https://latchkey.example";

// Stands in for the widget's dialog, which a test ends as it likes.
function standIn() {
  const dialogs = [];
  const connect = (options) =>
    new Promise((resolve, reject) => {
      dialogs.push({ options, resolve, fail: (reason) => reject(Object.assign(new Error(reason), { reason })), reject });
      options.signal.addEventListener("abort", () => reject(Object.assign(new Error("aborted"), { reason: "aborted" })));
    });
  window.Latchkey = { home: HOME, connect };
  return dialogs;
}

let root = null;
async function render(element) {
  root ??= createRoot(document.querySelector("main"));
  await act(async () => root.render(element));
}
async function unmount() {
  await act(async () => root.unmount());
  root = null;
}
const button = () => document.querySelector("button");
const click = () => act(async () => button().click());

afterEach(async () => {
  if (root) await unmount();
  delete window.Latchkey;
});

function listening() {
  const heard = [];
  const callbacks = {
    onConnected: (sessionId) => heard.push(["connected", sessionId]),
    onCancelled: () => heard.push(["cancelled"]),
    onFailed: (error) => heard.push(["failed", error.reason ?? error.code ?? error.message]),
  };
  return { heard, props: { baseUrl: HOME, pageUrl: `${HOME}/login/lgn_x#ls_x`, ...callbacks } };
}

test("a click opens the dialog, and its end is told to the one whom it concerns", async () => {
  const [dialogs, { heard, props }] = [standIn(), listening()];
  await render(createElement(ConnectTelegramButton, { ...props, language: "fa", mode: "tab", className: "big" }, "Connect"));
  assert.deepEqual([button().textContent, button().className, button().type], ["Connect", "big", "button"]);
  for (const [end, said] of [
    [(dialog) => dialog.resolve("ses_1"), ["connected", "ses_1"]],
    [(dialog) => dialog.fail("cancelled"), ["cancelled"]],
    [(dialog) => dialog.fail("account_banned"), ["failed", "account_banned"]],
    [(dialog) => dialog.reject(new TypeError("your server is away")), ["failed", "your server is away"]],
  ]) {
    await click();
    assert.equal(button().getAttribute("aria-busy"), "true");
    const { pageUrl, language, mode } = dialogs.at(-1).options;
    assert.deepEqual([pageUrl, language, mode], [props.pageUrl, "fa", "tab"]);
    await act(async () => end(dialogs.at(-1)));
    assert.equal(button().getAttribute("aria-busy"), "false");
    assert.deepEqual(heard.splice(0), [said]);
  }
});

test("impatient clicks open one dialog, in strict mode too", async () => {
  const [dialogs, { heard, props }] = [standIn(), listening()];
  await render(createElement(StrictMode, null, createElement(ConnectTelegramButton, props)));
  await click();
  await click();
  assert.equal(dialogs.length, 1);
  await act(async () => dialogs[0].resolve("ses_1"));
  assert.deepEqual(heard, [["connected", "ses_1"]]);
});

test("the callbacks are those of the newest rendering", async () => {
  const [dialogs, { heard, props }] = [standIn(), listening()];
  await render(createElement(ConnectTelegramButton, { ...props, onConnected: () => assert.fail("an old callback") }));
  await click();
  await render(createElement(ConnectTelegramButton, props));
  await act(async () => dialogs[0].resolve("ses_1"));
  assert.deepEqual(heard, [["connected", "ses_1"]]);
});

test("the dialog goes with its component, which hears no more", async () => {
  const [dialogs, { heard, props }] = [standIn(), listening()];
  await render(createElement(ConnectTelegramButton, props));
  await click();
  await unmount();
  assert.equal(dialogs[0].options.signal.aborted, true);
  assert.deepEqual(heard, []);
});

test("a click that the application prevents opens nothing", async () => {
  const [dialogs, { props }] = [standIn(), listening()];
  await render(createElement(ConnectTelegramButton, { ...props, onClick: (event) => event.preventDefault() }));
  await click();
  assert.equal(dialogs.length, 0);
});

test("the hook resolves with the session's id, or with null", async () => {
  const [dialogs, { props }] = [standIn(), listening()];
  let connect;
  const Own = () => {
    ({ connect } = useConnectTelegram(props));
    return null;
  };
  await render(createElement(Own));
  for (const [end, answer] of [[() => dialogs[0].resolve("ses_1"), "ses_1"], [() => dialogs[1].fail("expired"), null]]) {
    let asked;
    await act(async () => {
      asked = connect();
    });
    await act(async () => end());
    assert.equal(await asked, answer);
  }
});

test("a server renders the button without a browser", () => {
  const { window: kept } = globalThis;
  delete globalThis.window;
  try {
    const html = renderToString(createElement(ConnectTelegramButton, { baseUrl: HOME, pageUrl: "" }));
    assert.equal(html, '<button type="button" aria-busy="false">Connect Telegram</button>');
  } finally {
    globalThis.window = kept;
  }
});

test("the script comes from the Latchkey that is named, once", async () => {
  const [one, other] = await Promise.all([loadWidget(baseUrl), loadWidget(`${baseUrl}/`)]);
  assert.equal(one, other);
  assert.equal(one.home, new URL(baseUrl).origin);
  assert.equal(document.querySelectorAll(`script[src="${baseUrl}/widget.js"]`).length, 1);
  assert.equal(await loadWidget(baseUrl), window.Latchkey);
});

test("a script that cannot be loaded is said at the click, and asked for again at the next", async () => {
  let asked = 0;
  const server = createServer((_, response) => response.writeHead((asked += 1) < 3 ? 503 : 200).end("// not the widget"));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${server.address().port}`;
  const { heard, props } = listening();
  try {
    await assert.rejects(loadWidget(address), LatchkeyUnavailable);
    for (const times of [2, 3]) {
      await assert.rejects(loadWidget(address), (error) => error.code === "widget_unavailable");
      assert.equal(asked, times);
    }
    await render(createElement(ConnectTelegramButton, { ...props, baseUrl: address }));
    await click();
    while (heard.length === 0) await act(() => new Promise((resolve) => setTimeout(resolve, 10)));
    assert.deepEqual(heard, [["failed", "widget_unavailable"]]);
    assert.equal(document.querySelectorAll(`script[src^="${address}"]`).length, 0);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
