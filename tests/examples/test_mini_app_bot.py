"""The example bot, against a Bot API that writes down what it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from examples.mini_app_bot import Bot

TOKEN, PAGE = "123456:made-up", "https://latchkey.example/miniapp"
Asked = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def bot_api() -> Iterator[tuple[str, Asked]]:
    """Where it listens, and what it was asked. Somebody has just written /start, and something else."""
    asked: Asked = []
    updates = [
        {"update_id": 7, "message": {"text": "/start offer-7", "chat": {"id": 42, "type": "private"}}},
        {"update_id": 8, "message": {"text": "hello", "chat": {"id": 42, "type": "private"}}},
    ]

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            token, _, method = self.path.removeprefix("/bot").partition("/")
            assert token == TOKEN
            asked.append((method, fields))
            body = json.dumps({"ok": True, "result": updates if method == "getUpdates" else True}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_start_is_answered_with_a_button_that_opens_the_mini_app(bot_api: tuple[str, Asked]) -> None:
    """And the menu button opens it, too. Nothing else is answered; the next poll goes on behind what was seen."""
    api_url, asked = bot_api
    bot = Bot(token=TOKEN, page_url=PAGE, api_url=api_url)
    bot.set_menu_button()
    bot.answer_updates()
    assert [method for method, _ in asked] == ["setChatMenuButton", "getUpdates", "sendMessage"]
    assert asked[0][1]["menu_button"]["web_app"] == {"url": PAGE}
    assert asked[2][1]["chat_id"] == 42
    assert asked[2][1]["reply_markup"]["inline_keyboard"][0][0]["web_app"] == {"url": PAGE}
    bot.answer_updates()
    assert asked[3][1]["offset"] == 9
