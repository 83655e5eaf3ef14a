/**
 * The widget, for programs that have no script tag for it: the script comes from the Latchkey that shows the login, once,
 * so that there is one widget, always of the server's own version. Browsers only.
 */

import { LatchkeyUnavailable } from "./errors.js";

/** Where the login's page is: its `page_url`, a promise of it, or a function that starts the login and returns either. */
export type PageUrl = string | PromiseLike<string> | (() => string | PromiseLike<string>);

export interface WidgetOptions {
  pageUrl: PageUrl;
  /** A language tag; without it, the language of your page, then the browser's. */
  language?: string | undefined;
  /** `tab` opens the page in a tab of its own, as the widget does anyway where frames are refused. */
  mode?: "frame" | "tab" | undefined;
  /** Closes the dialog and cancels the login. */
  signal?: AbortSignal | undefined;
}

/** Raised when nobody was connected. */
export interface ConnectError extends Error {
  /** `cancelled`, `aborted`, `expired`, `gone`, `invalid_page_url`, or one of a failed login's reasons. Stable. */
  readonly reason: string;
}

export interface Widget {
  /** The origin that the script came from, whose pages alone it opens. */
  readonly home: string;
  /** Open the dialog; resolves with the session's id, rejects with a `ConnectError`, or with what `pageUrl` was rejected with. */
  connect(options: WidgetOptions): Promise<string>;
  readonly ConnectError: abstract new (...parameters: never[]) => ConnectError;
}

declare global {
  interface Window {
    Latchkey?: Widget;
  }
}

const loading = new Map<string, Promise<Widget>>();

/**
 * Load the widget of a Latchkey into this page, or find it there. May be repeated, to have it at hand before it is needed.
 *
 * @throws LatchkeyUnavailable The script cannot be loaded: the network, or a policy of the page's own. The next call tries again.
 */
export function loadWidget(baseUrl: string): Promise<Widget> {
  const address = new URL("widget.js", baseUrl.endsWith("/") ? baseUrl : `${baseUrl}/`);
  if (window.Latchkey?.home === address.origin) return Promise.resolve(window.Latchkey);
  let widget = loading.get(address.href);
  if (widget === undefined) {
    widget = addScript(address);
    loading.set(address.href, widget);
    widget.catch(() => loading.delete(address.href));
  }
  return widget;
}

function addScript(address: URL): Promise<Widget> {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address.href;
    script.addEventListener("load", () => {
      if (window.Latchkey?.home === address.origin) resolve(window.Latchkey);
      else refuse();
    });
    script.addEventListener("error", refuse);
    function refuse(): void {
      script.remove();
      reject(new LatchkeyUnavailable(`${address.href} cannot be loaded.`, { code: "widget_unavailable" }));
    }
    document.head.append(script);
  });
}
