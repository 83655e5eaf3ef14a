"use client";
/** The widget as React has it: a button that connects a Telegram account, and the hook that it is made of. */

import { createElement, useCallback, useEffect, useRef, useState } from "react";
import type { ComponentProps, MouseEvent, ReactElement } from "react";

import { loadWidget, type ConnectError, type WidgetOptions } from "./widget.js";

export type { ConnectError, PageUrl } from "./widget.js";

export interface ConnectTelegramOptions extends Omit<WidgetOptions, "signal"> {
  /** Where Latchkey is: `https://latchkey.example`. */
  baseUrl: string;
  /** The account is connected, says the browser: have your server read the session before you believe it. */
  onConnected?: ((sessionId: string) => void) | undefined;
  /** The user closed the dialog or cancelled. */
  onCancelled?: (() => void) | undefined;
  /** A `ConnectError` with its `reason`, a `LatchkeyUnavailable`, or what `pageUrl` was rejected with. */
  onFailed?: ((error: unknown) => void) | undefined;
}

export interface ConnectTelegram {
  /**
   * Open the dialog. Resolves with the session's id, or with null when nobody was connected, after the callback that says why.
   * While a dialog is open, another call opens no second one: it gives the first one's answer.
   */
  connect: () => Promise<string | null>;
  /** A dialog is open, or about to be. */
  isConnecting: boolean;
}

/** Connect a Telegram account by a call. When the component goes, its dialog goes with it, and the login is cancelled. */
export function useConnectTelegram(options: ConnectTelegramOptions): ConnectTelegram {
  const [isConnecting, setConnecting] = useState(false);
  const newest = useRef(options); // callbacks are those of the last rendering
  const underWay = useRef<{ stop: AbortController; answer: Promise<string | null> } | null>(null);
  const { baseUrl } = options;

  useEffect(() => {
    newest.current = options;
  });
  useEffect(() => {
    loadWidget(baseUrl).catch(() => {}); // a click then opens the dialog at once; that it failed is said there
    return () => underWay.current?.stop.abort();
  }, [baseUrl]);

  const connect = useCallback(() => {
    if (underWay.current !== null) return underWay.current.answer;
    const stop = new AbortController();
    setConnecting(true);
    const answer = ask(newest, stop.signal).finally(() => {
      underWay.current = null;
      setConnecting(false);
    });
    underWay.current = { stop, answer };
    return answer;
  }, []);
  return { connect, isConnecting };
}

async function ask(newest: { current: ConnectTelegramOptions }, signal: AbortSignal): Promise<string | null> {
  const { baseUrl, pageUrl, language, mode } = newest.current;
  let sessionId: string;
  try {
    const widget = await loadWidget(baseUrl);
    sessionId = await widget.connect({ pageUrl, language, mode, signal });
  } catch (error) {
    const reason = (error as Partial<ConnectError> | null)?.reason;
    if (signal.aborted) return null; // nobody is there any more to be told
    if (reason === "cancelled") newest.current.onCancelled?.();
    else newest.current.onFailed?.(error);
    return null;
  }
  newest.current.onConnected?.(sessionId);
  return sessionId;
}

export type ConnectTelegramButtonProps = ConnectTelegramOptions &
  Omit<ComponentProps<"button">, keyof ConnectTelegramOptions | "type">;

/** A button that connects the user's Telegram account. It takes what a `button` takes; give it your own words and looks. */
export function ConnectTelegramButton(props: ConnectTelegramButtonProps): ReactElement {
  const { baseUrl, pageUrl, language, mode, onConnected, onCancelled, onFailed, onClick, children, ...button } = props;
  const options = { baseUrl, pageUrl, language, mode, onConnected, onCancelled, onFailed };
  const { connect, isConnecting } = useConnectTelegram(options);
  const click = (event: MouseEvent<HTMLButtonElement>): void => {
    onClick?.(event);
    if (!event.defaultPrevented) void connect();
  };
  // Not disabled while the dialog is open: it could not get the focus back.
  const own = { type: "button", "aria-busy": isConnecting, onClick: click } as const;
  return createElement("button", { ...button, ...own }, children ?? "Connect Telegram");
}
