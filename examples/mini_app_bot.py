"""A bot whose menu button, and whose answer to /start, open Latchkey's Mini App. Plain Bot API calls, nothing to install.

    TELEGRAM_BOT_TOKEN=123456:… PUBLIC_URL=https://latchkey.example python examples/mini_app_bot.py

Telegram opens Mini Apps by https only. Give Latchkey's web role the same TELEGRAM_BOT_TOKEN.

Source: https://core.telegram.org/bots/api, https://core.telegram.org/bots/webapps
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

_POLL_SECONDS = 50
_RETRY_SECONDS = 5


class Bot:
    """The bot, as far as it opens the Mini App."""

    def __init__(self, *, token: str, page_url: str, api_url: str = "https://api.telegram.org") -> None:
        self._calls_url = f"{api_url}/bot{token}"
        self._button = {"text": "Connect my account", "web_app": {"url": page_url}}
        self._next_update = 0

    def set_menu_button(self) -> None:
        """Put the Mini App beside the message field of every chat with the bot."""
        self._call("setChatMenuButton", menu_button={"type": "web_app", **self._button})

    def answer_updates(self) -> None:
        """Wait for messages, and answer /start with a button."""
        updates = self._call("getUpdates", offset=self._next_update, timeout=_POLL_SECONDS, allowed_updates=["message"])
        for update in updates:
            self._next_update = update["update_id"] + 1
            message = update.get("message", {})
            if message.get("text", "").startswith("/start") and message["chat"]["type"] == "private":
                self._call(
                    "sendMessage",
                    chat_id=message["chat"]["id"],
                    text="Connect your account here. Codes and passwords go to that page, never into this chat.",
                    reply_markup={"inline_keyboard": [[self._button]]},
                )

    def _call(self, method: str, **fields: object) -> Any:
        request = urllib.request.Request(
            f"{self._calls_url}/{method}", json.dumps(fields).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=_POLL_SECONDS + 10) as answer:
            return json.load(answer)["result"]


def main() -> None:
    """Run the bot until Ctrl-C."""
    try:
        token, public_url = os.environ["TELEGRAM_BOT_TOKEN"], os.environ["PUBLIC_URL"]
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set")
    bot = Bot(token=token, page_url=f"{public_url.rstrip('/')}/miniapp")
    bot.set_menu_button()
    while True:
        try:
            bot.answer_updates()
        except (urllib.error.URLError, TimeoutError) as error:
            # Never the request itself: its address has the token in it.
            print(f"Telegram cannot be reached ({type(error).__name__}); trying again", file=sys.stderr)
            time.sleep(_RETRY_SECONDS)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
