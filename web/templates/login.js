// Shows one login and drives it. The secret comes in the fragment, which browsers keep to themselves, and leaves in a
// header only. Inside Telegram there is no fragment of ours: there, miniapp.js says which login it is.
(() => {
  const { loginId, application, origin, disabled } = settings;
  const { has, say, isolate, plural, clock, soon } = words;
  const inTelegram = typeof miniApp === "undefined" ? null : miniApp;
  const ANSWER_MS = 20000; // a password is checked within seconds
  const RESEND_MS = 15000;
  const RENEWED_BY = -0.1; // lives after its end, in which the next code comes, usually at once
  const SLOW_MS = 5000; // a code is there within a second, usually
  const LEAVE_MS = 2500; // long enough to read who was connected
  const onPhone = matchMedia("(pointer: coarse)").matches;
  const framed = Boolean(origin) && parent !== window;

  const $ = (id) => document.getElementById(id);
  const tooFast = (response) => say("too_fast", { when: soon(Number(response.headers.get("Retry-After")) || 1) });

  let id = loginId; // whose secret this is
  let secret = inTelegram ? "" : early.secret;
  let login = null; // the newest Login seen
  let drawn = null; // the login URL on the screen
  let drawing = { url: null, svg: "" }; // the newest that came
  let asked = null; // what form was answered last: {kind, attempts, until}
  let clockOffset = 0; // the server's clock less ours, in ms
  let waitUntil = 0; // when Telegram's flood wait is over, by the server's clock
  let leads = onPhone || inTelegram ? "phone" : "qr"; // what is shown while either would do; Telegram refuses a code on its own screen
  let resentUntil = 0; // when a code that was asked for again has had its moment to arrive, by the server's clock
  let otherNumber = false; // the user wants the code at another number
  let queuedAt = Date.now(); // since when nothing has been on show

  const now = () => Date.now() + clockOffset;

  async function call(path, options = {}) {
    const asked = !inTelegram && early.take(id, path, options.signal);
    const response = await (asked ||
      fetch(`/v1/logins/${id}${path}`, {
        ...options,
        cache: "no-store",
        headers: { "Login-Secret": secret, ...(options.body ? { "Content-Type": "application/json" } : {}) },
      }));
    const date = Date.parse(response.headers.get("Date"));
    if (date) clockOffset = date + 500 - Date.now(); // it comes in whole seconds
    return response;
  }

  function followLogin() {
    const interrupted = () => ($("status").textContent = say(navigator.onLine === false ? "offline" : "reconnecting"));
    const keep = (newer) => (drawing = newer);
    return follow({ call, newest: () => login, update, drawn: keep, interrupted }).catch((error) => {
      if (!(error instanceof Gone)) throw error;
      gone();
    });
  }

  // --- showing ---

  function update(newer) {
    if (login && newer.version < login.version) return;
    login = newer;
    waitUntil = login.retry_after ? now() + login.retry_after * 1000 : 0;
    render();
  }

  const PARTS = ["wait", "scan", "phone-form", "password-form", "code-form", "done"];

  function show(key, part, tone = "") {
    // The text is only touched when it changes, so that screen readers do not repeat it.
    const text = say(key, { application: isolate(application) });
    if ($("status").textContent !== text) $("status").textContent = text;
    $("status").className = tone;
    for (const id of PARTS) {
      const appears = id === part && $(id).hidden;
      $(id).hidden = id !== part;
      if (appears && id.endsWith("-form") && !(id === "phone-form" && onPhone)) $(id).querySelector("input").focus();
    }
    keepFocus(part);
    const final = part === "done";
    $("mark").className = tone;
    $("running").hidden = final;
    $("meaning").hidden = final && tone !== "good";
    document.title = final ? text : say("title");
  }

  // What had the focus may be hidden now: who has no mouse goes on from what came instead.
  function keepFocus(part) {
    if (!document.activeElement.closest("[hidden]")) return;
    const next = [...$(part).querySelectorAll("button, a, input")].find((each) => !each.closest("[hidden]"));
    (next || $("status")).focus();
  }

  function render() {
    const { status } = login;
    if (FINAL.includes(status)) return renderEnd();
    if (status === "queued") {
      show(Date.now() - queuedAt > SLOW_MS ? "slow" : login.method === "code" ? "sending_code" : "queued", "wait");
    } else {
      queuedAt = Date.now();
      if (status === "password_required") show(status, "password-form");
      else if (otherNumber || (status === "waiting_for_scan" && leads === "phone")) show("phone_lead", "phone-form");
      else if (status === "code_required") show(status, "code-form");
      else show(status, "scan");
    }
    if (status === "waiting_for_scan") drawQr();
    if (status === "password_required") renderPassword(login.password);
    if (status === "code_required") renderCode(login.code);
    tick();
  }

  function renderEnd() {
    const { status, reason, account } = login;
    const key = status === "failed" && has(`reason_${reason}`) ? `reason_${reason}` : status;
    const tones = { authorized: "good", cancelled: "calm" };
    $("again").hidden = status === "authorized";
    show(key, "done", tones[status] || "bad");
    const name = account && [account.first_name, account.username && `@${account.username}`].filter(Boolean).join(", ");
    $("account").hidden = !name;
    if (name) $("account").textContent = say("connected_as", { name: isolate(name) });
    offerBack();
  }

  // Where the application wants its user to go, or to be told of the end when this page is embedded in one of its own.
  function offerBack() {
    if (framed) {
      return tellFrame("end", { status: login.status, reason: login.reason, session_id: login.session_id });
    }
    if (!login.redirect_url) return;
    const back = new URL(login.redirect_url);
    back.searchParams.set("login_id", login.id);
    back.searchParams.set("status", login.status);
    $("back").href = back;
    $("back").textContent = say("back_to", { application: isolate(application) });
    $("back").hidden = false;
    if (login.status === "authorized") setTimeout(() => location.assign(back), LEAVE_MS);
  }

  function gone() {
    if (inTelegram && inTelegram.forget()) return beginInTelegram();
    tellFrame("end", { status: "gone", reason: null, session_id: null });
    show(disabled ? "tenant_disabled" : "gone", "done", "bad");
  }

  async function drawQr() {
    const url = login.qr && login.qr.url;
    $("qr").classList.toggle("stale", !url);
    if (!url || url === drawn) return;
    drawn = url;
    try {
      const text = drawing.url === url ? drawing.svg : await askForDrawing();
      const svg = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
      svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
      svg.removeAttribute("width");
      svg.removeAttribute("height");
      if (drawn === url) $("qr").replaceChildren(document.importNode(svg, true));
    } catch {
      if (drawn === url) drawn = null;
      await sleep(1000);
      if (login.status === "waiting_for_scan" && login.qr) drawQr();
    }
  }

  async function askForDrawing() {
    const response = await call("/qr.svg");
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response.text();
  }

  function renderPassword({ hint, attempts_left: left }) {
    $("password-hint").hidden = !hint;
    if (hint) $("password-hint").textContent = say("password_hint", { hint: isolate(hint) });
    renderForm("password", left);
  }

  function renderCode({ delivery, length, beginning, pattern, no_other_way: noOtherWay, attempts_left: left }) {
    const key = has(`code_by_${delivery}`) ? `code_by_${delivery}` : "code_by_other";
    const begins = beginning ? say("code_begins", { text: isolate(beginning) }) : "";
    const digits = plural("last_digits", length || 0);
    $("code-delivery").textContent = say(key, { digits, pattern: isolate(pattern || ""), beginning: begins }).trim();
    const inWords = delivery === "word" || delivery === "phrase";
    $("code").inputMode = inWords ? "text" : "numeric";
    $("code").classList.toggle("words", inWords);
    if (Boolean(noOtherWay) !== $("resend").hidden) note("code", noOtherWay ? say("no_other_way") : "", true);
    $("resend").hidden = Boolean(noOtherWay);
    renderForm("code", left);
    renderResend();
  }

  // By which way it comes next, and when it may be asked for.
  function renderResend() {
    const { next_delivery: next, resend_at: at } = login.code;
    const text = say(has(`resend_by_${next}`) ? `resend_by_${next}` : "resend");
    const left = Math.ceil((Math.max(Date.parse(at) || 0, resentUntil) - now()) / 1000);
    $("resend").disabled = left > 0;
    $("resend").textContent = left > 0 ? `${text} · ${isolate(clock(left))}` : text;
  }

  function renderForm(kind, left) {
    const wrong = asked && asked.kind === kind && left < asked.attempts;
    const waits = asked && asked.kind === kind && !wrong && asked.until > Date.now();
    const input = $(kind);
    if (wrong) {
      asked = null;
      input.value = "";
      input.setAttribute("aria-invalid", "true");
      note(kind, `${say(`${kind}_wrong`)} ${plural("attempts", left)}`);
    } else if (!waits && waitUntil <= now() && !$(`${kind}-note`).textContent) {
      note(kind, plural("attempts", left), true);
    }
    lock(kind, waits || waitUntil > now());
    if (wrong) input.focus();
  }

  function note(kind, text, calm = false) {
    $(`${kind}-note`).textContent = text;
    $(`${kind}-note`).classList.toggle("calm", calm);
  }

  function lock(kind, locked) {
    $(`${kind}-form`).querySelector('[type="submit"]').disabled = locked;
    $(kind).readOnly = locked;
  }

  // --- answering ---

  function answers(kind) {
    $(`${kind}-form`).addEventListener("submit", async (event) => {
      event.preventDefault();
      const input = $(kind);
      const typed = input.value; // as it is: the server knows what a code looks like, and a password may be anything
      if (!typed || !login[kind] || input.readOnly) return input.focus();
      asked = { kind, attempts: login[kind].attempts_left, until: Date.now() + ANSWER_MS };
      input.removeAttribute("aria-invalid");
      note(kind, say("checking"), true);
      lock(kind, true);
      try {
        const response = await call(`/${kind}`, { method: "POST", body: JSON.stringify({ [kind]: typed }) });
        if (response.status === 429) return refuse(kind, tooFast(response));
        if (response.status === 422 && kind === "code") return refuse(kind, say("code_impossible"));
        if (response.status !== 202 && response.status !== 409) return refuse(kind, say("not_sent"));
        setTimeout(() => unanswered(kind), ANSWER_MS);
      } catch {
        refuse(kind, say("not_sent"));
      }
    });
  }

  function refuse(kind, text) {
    asked = null;
    note(kind, text);
    lock(kind, false);
  }

  function unanswered(kind) {
    if (asked && asked.kind === kind && asked.until <= Date.now() && waitUntil <= now()) refuse(kind, say("not_sent"));
  }

  // --- time ---

  function tick() {
    if (!login || FINAL.includes(login.status)) return;
    const left = Math.max(0, Math.floor((Date.parse(login.expires_at) - now()) / 1000));
    $("countdown").textContent = say("time_left", { time: clock(left) });
    if (login.qr) {
      const life = (Date.parse(login.qr.expires_at) - now()) / 30000;
      $("code-life").style.setProperty("--left", Math.max(0, Math.min(1, life)).toFixed(3));
      $("qr").classList.toggle("stale", life < RENEWED_BY); // nobody renews it: no phone takes it any more
    }
    if (login.code) renderResend();
    if (login.status === "queued" && Date.now() - queuedAt > SLOW_MS && waitUntil <= now()) show("slow", "wait");
    const wait = Math.ceil((waitUntil - now()) / 1000);
    if (wait > 0) {
      const kind = { password_required: "password", code_required: "code" }[login.status];
      if (kind) note(kind, say("flood_wait", { when: soon(wait) }), true);
      else $("status").textContent = say("flood_wait", { when: soon(wait) });
    } else if (waitUntil) {
      waitUntil = 0;
      for (const kind of ["password", "code"]) note(kind, "");
      render();
    }
  }

  // --- going another way ---

  async function switchTo(body) {
    const response = await call("/method", { method: "POST", body: JSON.stringify(body) });
    if (response.status === 202) {
      queuedAt = Date.now();
      update(await response.json());
    }
    return response;
  }

  async function toQr() {
    leads = "qr";
    otherNumber = false;
    if (login.method === "code") await switchTo({ method: "qr" }).catch(() => {});
    render();
  }

  function beginNumber() {
    const code = countries.codeOfThisPlace();
    if (code) $("phone").value = `+${code} `;
    showCountry();
  }

  function showCountry() {
    const region = countries.regionOf($("phone").value);
    $("country").textContent = region ? countries.flag(region) : "🌐";
    $("country").title = region ? countries.nameOf(region) : "";
  }

  $("phone").addEventListener("input", showCountry);
  $("phone-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = $("phone-form").querySelector('[type="submit"]');
    button.disabled = true;
    note("phone", "");
    try {
      const response = await switchTo({ method: "code", phone: $("phone").value });
      if (response.status === 202) otherNumber = false;
      else if (response.status === 422) note("phone", say("phone_impossible"));
      else if (response.status === 429) note("phone", tooFast(response));
      else note("phone", say("not_sent"));
    } catch {
      note("phone", say("not_sent"));
    } finally {
      button.disabled = false;
    }
    render();
  });
  $("to-phone").addEventListener("click", () => {
    leads = "phone";
    render();
    $("phone").focus();
  });
  $("to-qr").addEventListener("click", toQr);
  $("code-to-qr").addEventListener("click", toQr);
  $("other-number").addEventListener("click", () => {
    otherNumber = true;
    render();
    $("phone").focus();
  });
  $("again").addEventListener("click", async () => {
    $("again").disabled = true;
    try {
      const response = await call("/again", { method: "POST" });
      const next = await response.json();
      if (response.status === 202) return goOn(next);
      $("status").textContent = say("ask_for_new");
      $("again").hidden = true;
    } catch {
      $("status").textContent = say("not_sent");
    } finally {
      $("again").disabled = false;
    }
  });
  $("language").addEventListener("change", () => {
    location.search = `?lang=${$("language").value}`;
  });

  // --- in a frame of the application's own page ---

  // Both ways: only that origin hears, and only it is listened to.
  function tellFrame(type, members = {}) {
    if (framed) parent.postMessage({ source: "latchkey", type, login_id: id, ...members }, origin);
  }

  function livesInFrame() {
    document.documentElement.classList.add("framed");
    addEventListener("message", ({ source, origin: from, data }) => {
      if (source === parent && from === origin && data && data.source === "latchkey-host" && data.type === "cancel") cancel();
    });
    addEventListener("keydown", ({ key, target, isComposing }) => {
      if (key === "Escape" && !isComposing && target !== $("language")) tellFrame("escape");
    });
    new ResizeObserver(() => tellFrame("size", { height: document.documentElement.offsetHeight })).observe(document.body);
    tellFrame("ready");
  }

  // --- beginning ---

  // The next login of the same person: on a page of its own, or here where the page's address says nothing of a login.
  function goOn(next) {
    if (!inTelegram) return location.assign(`/login/${next.id}${location.search}#${next.client_secret}`);
    inTelegram.keep(next);
    adopt(next);
  }

  function adopt(next) {
    [id, secret, login, drawn, asked, waitUntil, queuedAt] = [next.id, next.client_secret, null, null, null, 0, Date.now()];
    for (const kind of ["password", "code"]) {
      $(kind).value = "";
      note(kind, "");
      lock(kind, false);
    }
    show("queued", "wait");
    followLogin();
  }

  async function beginInTelegram() {
    for (let failures = 0; ; failures += 1) {
      const began = await inTelegram.begin();
      if (began.login) return adopt(began.login);
      if (began.refusal) return show(began.refusal, "done", "bad");
      const { response } = began;
      $("status").textContent = response && response.status === 429 ? tooFast(response) : say("reconnecting");
      const told = response && Number(response.headers.get("Retry-After"));
      await sleep(told ? told * 1000 : Math.min(10000, 500 * 2 ** failures));
    }
  }

  if (framed) livesInFrame();
  if (disabled || !(secret || inTelegram)) return gone();
  beginNumber();
  $("same-phone").hidden = $("phone-why").hidden = !onPhone;
  for (const name of ["online", "offline"]) {
    addEventListener(name, () => login && (name === "online" ? render() : ($("status").textContent = say("offline"))));
  }
  for (const name of ["keydown", "keyup"]) {
    $("password").addEventListener(name, (event) => {
      if (event.getModifierState) $("caps").hidden = !event.getModifierState("CapsLock");
    });
  }
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(`${location.origin}/login/${id}#${secret}`);
      $("copy").textContent = say("copied");
    } catch {
      $("copy").hidden = true; // no permission
    }
  });
  $("reveal").addEventListener("click", () => {
    const shown = $("password").type === "password";
    $("password").type = shown ? "text" : "password";
    $("reveal").textContent = say(shown ? "hide" : "show");
    $("reveal").setAttribute("aria-pressed", String(shown));
  });
  async function cancel() {
    $("cancel").disabled = true;
    try {
      await call("", { method: "DELETE", keepalive: true }); // even if the page goes at once
    } finally {
      $("cancel").disabled = false;
    }
  }
  $("cancel").addEventListener("click", cancel);
  $("resend").addEventListener("click", async () => {
    resentUntil = now() + RESEND_MS;
    renderResend();
    try {
      const response = await call("/code/resend", { method: "POST" });
      if ($("resend").hidden) return; // it has been answered already: there is no other way
      note("code", say(response.status === 202 ? "resent" : "not_sent"), response.status === 202);
    } catch {
      note("code", say("not_sent"));
    }
  });
  answers("password");
  answers("code");
  setInterval(tick, 1000);
  if (inTelegram) beginInTelegram();
  else followLogin();
})();
