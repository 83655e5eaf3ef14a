// Latchkey's widget: the hosted login page in a dialog of the application's own page. One script tag, one call:
//
//   <script src="https://latchkey.example/widget.js"></script>
//   const sessionId = await Latchkey.connect({ pageUrl });
//
// The reference is docs/widget.md. What this page and that one say to each other is checked by origin and window, both ways.
(() => {
  "use strict";
  const HOME = new URL(document.currentScript.src).origin;
  const TEXTS = {{ texts | tojson }};
  const STYLE = {{ style | tojson }};
  const RIGHT_TO_LEFT = {{ right_to_left | tojson }};
  const PAGE = /^\/login\/([A-Za-z0-9_-]+)$/;
  const FINAL = ["authorized", "expired", "failed", "cancelled"];
  const REFUSED_MS = 2000; // a frame that has loaded and says nothing shows something else
  const SILENT_MS = 12000;
  const READ_MS = 1500; // long enough to see who was connected
  const CANCEL_MS = 2000; // long enough for the page to pass it on
  const WAIT_SECONDS = 25;

  class ConnectError extends Error {
    constructor(reason) {
      super(`The account was not connected: ${reason}.`);
      this.name = "ConnectError";
      this.reason = reason;
    }
  }

  // Resolves with the id of the session, or rejects with a ConnectError, whose `reason` is stable.
  function connect({ pageUrl, language, mode = "frame", signal } = {}) {
    return new Promise((resolve, reject) => new Connection({ pageUrl, language, mode, signal, resolve, reject }).begin());
  }

  class Connection {
    constructor({ pageUrl, language, mode, signal, resolve, reject }) {
      Object.assign(this, { pageUrl, language, mode, signal, resolve, reject });
      this.over = new AbortController(); // whatever waits, waits no longer
      this.ended = null; // how the login ended, if the user may start it again
      this.speaks = false; // the frame shows the page, and nothing else
    }

    // --- the dialog ---

    begin() {
      this.build();
      const { signal } = this.over;
      addEventListener("message", (event) => this.hear(event), { signal });
      if (this.signal) {
        if (this.signal.aborted) return this.fail("aborted");
        this.signal.addEventListener("abort", () => this.leave("aborted"), { signal });
      }
      this.open().catch((error) => this.fail(error));
    }

    build() {
      const [language, texts] = choose(this.language);
      const make = (name, members) => Object.assign(document.createElement(name), members);
      const host = make("div", { className: "latchkey-widget" });
      const shadow = host.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet(); // unlike a style element, no policy of the page's forbids it
      sheet.replaceSync(STYLE);
      shadow.adoptedStyleSheets = [sheet];
      const dialog = make("dialog", { lang: language, dir: RIGHT_TO_LEFT.includes(language) ? "rtl" : "ltr" });
      dialog.setAttribute("aria-label", texts.heading);
      const close = make("button", { type: "button", id: "close", textContent: "\u00d7" });
      close.setAttribute("aria-label", texts.close);
      close.addEventListener("click", () => this.leave());
      dialog.addEventListener("cancel", (event) => {
        event.preventDefault(); // Escape
        this.leave();
      });
      const wait = make("div", { id: "wait" });
      dialog.append(close, wait);
      shadow.append(dialog);
      document.body.append(host);
      dialog.showModal();
      Object.assign(this, { host, dialog, wait, texts, make, frame: null });
    }

    async open() {
      // An error of the application's own is its to read: the promise rejects with that.
      const given = await (typeof this.pageUrl === "function" ? this.pageUrl() : this.pageUrl);
      const page = URL.canParse(given) ? new URL(given) : null;
      const match = page && page.origin === HOME && page.hash.length > 1 && PAGE.exec(page.pathname);
      if (!match) throw new ConnectError("invalid_page_url");
      if (this.over.signal.aborted) return;
      Object.assign(this, { page, loginId: match[1], secret: page.hash.slice(1) });
      if (this.language) page.searchParams.set("lang", this.language);
      if (this.mode === "tab") this.offerTab();
      else this.embed();
    }

    embed() {
      const frame = this.make("iframe", { title: this.texts.heading, src: this.page.href, referrerPolicy: "no-referrer" });
      frame.allow = "clipboard-write";
      frame.hidden = true;
      const giveUp = () => this.speaks || this.offerTab();
      frame.addEventListener("load", () => setTimeout(giveUp, REFUSED_MS), { once: true });
      setTimeout(giveUp, SILENT_MS);
      this.frame = frame;
      this.dialog.append(frame);
    }

    offerTab() {
      if (this.over.signal.aborted || this.link) return;
      if (this.frame) this.frame.remove();
      this.frame = null;
      const text = this.make("p", { textContent: this.texts.heading });
      this.link = this.make("a", { href: this.page.href, target: "_blank", rel: "noopener", textContent: this.texts.open_tab });
      this.link.addEventListener("click", () => (text.textContent = this.texts.tab_waiting));
      this.wait.remove();
      this.dialog.append(text, this.link);
      this.link.focus();
      this.follow();
    }

    remove() {
      this.over.abort();
      this.dialog.close(); // gives the focus back
      this.host.remove();
    }

    // --- the frame's page ---

    hear({ origin, source, data }) {
      if (!this.frame || origin !== HOME || source !== this.frame.contentWindow) return;
      if (!data || data.source !== "latchkey") return;
      if (data.type === "ready") {
        this.speaks = true;
        this.ended = null;
        this.wait.hidden = true;
        this.frame.hidden = false;
        this.frame.focus();
      } else if (data.type === "size") this.frame.style.height = `${Math.max(0, Number(data.height) || 0)}px`;
      else if (data.type === "escape") this.leave();
      else if (data.type === "end") this.end(data);
    }

    // --- a tab of its own, which no window here has a hold on: the login itself tells ---

    async follow() {
      const { signal } = this.over;
      for (let version, failures = 0; !signal.aborted; ) {
        try {
          const query = version === undefined ? "" : `?wait=${WAIT_SECONDS}&version=${version}`;
          const response = await this.call(query, { signal });
          if (response.status === 404) return this.end({ status: "gone" });
          if (!response.ok) throw new Error(`status ${response.status}`);
          const login = await response.json();
          if (FINAL.includes(login.status)) return this.end(login);
          version = login.version;
          failures = 0;
        } catch {
          failures += 1;
          await new Promise((resolve) => setTimeout(resolve, Math.min(10000, 500 * 2 ** failures)));
        }
      }
    }

    call(query, options) {
      return fetch(`${HOME}/v1/logins/${this.loginId}${query}`, {
        ...options,
        ...{ cache: "no-store", credentials: "omit", headers: { "Login-Secret": this.secret } },
      });
    }

    // --- the end ---

    end({ status, reason, session_id: sessionId }) {
      if (status === "authorized") {
        this.resolve(sessionId);
        setTimeout(() => this.remove(), this.frame ? READ_MS : 0);
      } else if (status === "cancelled" || !this.frame) this.fail(reason || status);
      else this.ended = reason || status; // the page offers to start again
    }

    fail(reason) {
      this.reject(reason instanceof Error ? reason : new ConnectError(reason));
      this.remove();
    }

    // Whoever closes the dialog cancels the login that is under way.
    leave(reason = "cancelled") {
      if (this.over.signal.aborted) return;
      if (this.ended) return this.fail(this.ended);
      this.reject(new ConnectError(reason));
      if (this.frame && this.speaks) {
        this.frame.contentWindow.postMessage({ source: "latchkey-host", type: "cancel" }, HOME);
        this.over.abort();
        this.dialog.close();
        setTimeout(() => this.remove(), CANCEL_MS);
      } else {
        if (this.secret) this.call("", { method: "DELETE", keepalive: true }).catch(() => {});
        this.remove();
      }
    }
  }

  function choose(language) {
    for (const tag of [language, document.documentElement.lang, ...(navigator.languages || [])]) {
      const found = (tag || "").toLowerCase().split("-")[0];
      if (found in TEXTS) return [found, TEXTS[found]];
    }
    return ["en", TEXTS.en];
  }

  window.Latchkey = Object.freeze({ home: HOME, connect, ConnectError });
})();
