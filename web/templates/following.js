// Follows a login until it is over. EventSource cannot send headers, so the event stream is read with fetch; a long poll
// stands in for it.
class Gone extends Error {} // no such login, or another one's secret

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const FINAL = ["authorized", "expired", "failed", "cancelled"];

// `call` asks the API about the login, `newest` is the newest Login seen, `update` takes a newer one, `drawn` a QR code's
// drawing, which the stream brings; `interrupted` hears of trouble that lasts. Throws Gone.
async function follow({ call, newest, update, drawn, interrupted }) {
  const SILENCE_MS = 40000; // the server says something every 15 s
  let failures = 0;

  async function attempt(read) {
    try {
      await read();
      failures = 0;
      return true;
    } catch (error) {
      if (error instanceof Gone) throw error;
      return false;
    }
  }

  function check(response) {
    if (response.status === 404 || response.status === 401) throw new Gone();
    if (!response.ok || !response.body) throw new Error(`status ${response.status}`);
  }

  async function stream() {
    const stop = new AbortController();
    let watchdog = setTimeout(() => stop.abort(), SILENCE_MS);
    try {
      const response = await call("/events?qr=svg", { signal: stop.signal });
      check(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => stop.abort(), SILENCE_MS);
        const events = (text + value).split("\n\n");
        text = events.pop();
        for (const event of events) {
          const field = (name) => (event.split("\n").find((part) => part.startsWith(`${name}: `)) || "").slice(name.length + 2);
          if (field("event") === "qr") drawn(JSON.parse(field("data")));
          else if (field("data")) update(JSON.parse(field("data")));
        }
      }
    } finally {
      clearTimeout(watchdog);
      stop.abort();
    }
  }

  async function poll() {
    const response = await call(newest() ? `?wait=20&version=${newest().version}` : "");
    check(response);
    update(await response.json());
  }

  while (!newest() || !FINAL.includes(newest().status)) {
    if (await attempt(stream)) continue;
    failures += 1;
    if (failures > 1) interrupted();
    await attempt(poll);
    await sleep(Math.min(10000, 500 * 2 ** failures) * (0.5 + Math.random() / 2));
  }
}
