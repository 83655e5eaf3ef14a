"""The examples, run as their readers run them: a login is started, the phone scans, the webhook comes, the page says so."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import requests

from devstack.ports import HOST, free_port
from devstack.probes import accepts_connections
from devstack.programs import Program, running
from devstack.roles import ROOT
from docsite.snippets import read_snippets
from tests.node import build_client, install_packages, run
from tests.stack.city import City
from tests.waiting import wait_until
from tests.web.browser import CHROMIUM, browsing

CONNECTED = "Your Telegram account is connected."
SHOPS = {
    "flask": (sys.executable, "examples/flask_shop.py"),
    "fastapi": (sys.executable, "examples/fastapi_shop.py"),
    "django": (sys.executable, "examples/django_shop.py"),
    "express": ("node", "examples/express/server.mjs"),
}


@contextmanager
def serving(
    city: City, command: tuple[str, ...], *, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run an example against the stack, with a webhook and a place to come back to; where it listens."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    webhook = city.call("POST", "/v1/webhooks", json={"url": f"{url}/webhooks/latchkey"}).json()
    assert city.call("PATCH", "/v1/tenant", json={"redirect_urls": [f"{url}/account"]}).status_code == 200
    program = Program(
        name=Path(command[-1]).stem,
        command=command,
        log=log,
        folder=ROOT,
        environment={
            **os.environ,
            "LATCHKEY_URL": city.web,
            "LATCHKEY_API_KEY": city.stack.description["api_key"],
            "LATCHKEY_WEBHOOK_SECRET": webhook["secret"],
            "SHOP_URL": url,
            "PORT": str(port),
            **(environment or {}),
        },
        ready=lambda: accepts_connections(port),
    )
    try:
        with running(program):
            yield url
    finally:
        city.call("DELETE", f"/v1/webhooks/{webhook['id']}")


@pytest.mark.parametrize("shop", SHOPS)
def test_a_shops_customer_connects_their_account(city: City, shop: str, tmp_path: Path) -> None:
    """The button leads to the login's page; what is not signed is refused; the account page says that it is connected."""
    if shop == "express":
        build_client()
        install_packages(ROOT / "examples" / "express")
    with serving(city, SHOPS[shop], log=tmp_path / "shop.log") as url, requests.Session() as browser:
        form = browser.get(f"{url}/account", timeout=10).text
        hidden = dict(re.findall(r'name="(\w+)" value="([^"]+)"', form))
        sent = browser.post(f"{url}/account/telegram", data=hidden, allow_redirects=False, timeout=20)
        assert sent.status_code in {302, 303}
        page = sent.headers["Location"]
        assert browser.get(page, timeout=10).status_code == 200
        (login_id,) = re.findall(r"/login/(lgn_\w+)#", page)

        event = {"type": "login.authorized", "timestamp": "2026-01-01T00:00:00Z", "data": {"end_user_id": "alice"}}
        headers = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,bm8="}
        forged = requests.post(f"{url}/webhooks/latchkey", json=event, headers=headers, timeout=10)
        assert forged.status_code == 400
        assert CONNECTED not in browser.get(f"{url}/account", timeout=10).text

        account = city.telegram.create_account()
        city.telegram.scan(account["id"], city.wait_for_qr(login_id))
        session_id = city.wait_for(login_id, "authorized")["session_id"]
        wait_until(lambda: CONNECTED in browser.get(f"{url}/account", timeout=10).text, within_seconds=20)
        assert city.login(login_id)["redirect_url"] == f"{url}/account"
        city.call("DELETE", f"/v1/sessions/{session_id}")
        wait_until(lambda: CONNECTED not in browser.get(f"{url}/account", timeout=10).text, within_seconds=30)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_react_page_connects_its_customer(
    city: City, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Under a strict policy, across origins: a dialog that was cancelled says so, the next one ends with the account's name."""
    folder = ROOT / "examples" / "react"
    build_client()
    install_packages(folder)
    built = run(["npm", "run", "--silent", "build"], folder)
    assert built.returncode == 0, built.stdout + built.stderr
    shown = "document.getElementById('account').innerText"
    in_dialog = "document.querySelector('.latchkey-widget').shadowRoot.querySelector"
    with (
        serving(city, ("node", str(folder / "server.mjs")), log=tmp_path / "shop.log") as url,
        browsing(tmp_path_factory.mktemp("browser")) as page,
    ):
        assert city.call("PATCH", "/v1/tenant", json={"origins": [url]}).ok
        try:
            page.size(1280, 800)
            page.go(f"{url}/account")
            page.wait_for("document.querySelector('button')?.textContent === 'Connect Telegram'")
            page.click("document.querySelector('button')")
            page.wait_for_in_frame("!!document.querySelector('#qr svg')")
            page.evaluate(f"{in_dialog}('#close').click()")
            page.wait_for(f"{shown}.includes('Nothing was connected.')")
            page.wait_for("!document.querySelector('.latchkey-widget')")
            assert page.evaluate("document.activeElement.textContent") == "Connect Telegram"

            page.click("document.querySelector('button')")
            page.wait_for_in_frame("!!document.querySelector('#qr svg')")
            login_id = str(page.evaluate_in_frame("location.pathname")).rpartition("/")[2]
            account = city.telegram.create_account(first_name="Ida")
            city.telegram.scan(account["id"], city.wait_for_qr(login_id))
            page.wait_for(f"{shown} === 'Your Telegram account is connected: Ida.'")
            assert page.complaints == []
        finally:
            assert city.call("PATCH", "/v1/tenant", json={"origins": []}).ok
    session_id = city.wait_for(login_id, "authorized")["session_id"]
    assert city.call("DELETE", f"/v1/sessions/{session_id}").ok


def test_the_documentation_shows_the_react_example_as_it_is() -> None:
    """What the reader copies is what runs."""
    shown = [each.body for each in read_snippets(ROOT / "docs" / "widget.md") if each.title == "connect.tsx"]
    assert shown == [(ROOT / "examples" / "react" / "connect.tsx").read_text()]


class BotApi:
    """A Bot API on loopback: hands out updates as they are put in, and writes down what the bot says."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self._updates: list[dict[str, Any]] = []
        self._news = Event()
        api = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path.startswith("/bot123456:made-up/")
                body = json.dumps({"ok": True, "result": api.call(self.path.rpartition("/")[2], fields)}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Answer)
        self.url = f"http://{HOST}:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def call(self, method: str, fields: dict[str, Any]) -> Any:
        """Answer the bot."""
        if method == "sendMessage":
            self.said.append(fields)
            return {}
        assert method == "getUpdates"
        self._news.wait(1.0)
        return [update for update in self._updates if update["update_id"] >= fields["offset"]]

    def write(self, user_id: int, text: str) -> None:
        """Somebody writes to the bot."""
        message = {"text": text, "from": {"id": user_id}, "chat": {"id": user_id, "type": "private"}}
        self._updates.append({"update_id": len(self._updates) + 1, "message": message})
        self._news.set()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def bot_api() -> Iterator[BotApi]:
    """A Bot API."""
    api = BotApi()
    yield api
    api.close()


def test_a_bots_user_connects_their_account(city: City, bot_api: BotApi, tmp_path: Path) -> None:
    """/connect is answered with the page of a login that only this user's account may finish; then the bot says so."""
    user_id = city.telegram.create_account()["id"]
    environment = {"TELEGRAM_BOT_TOKEN": "123456:made-up", "BOT_API_URL": bot_api.url}
    command = (sys.executable, "examples/connect_bot.py")
    with serving(city, command, log=tmp_path / "bot.log", environment=environment):
        bot_api.write(user_id, "hello")
        bot_api.write(user_id, "/connect")
        wait_until(lambda: bot_api.said, within_seconds=20)
        page = bot_api.said[0]["reply_markup"]["inline_keyboard"][0][0]["url"]
        (login_id,) = re.findall(r"/login/(lgn_\w+)#", page)
        assert city.login(login_id)["telegram_user_id"] == user_id
        city.telegram.scan(user_id, city.wait_for_qr(login_id))
        wait_until(lambda: len(bot_api.said) == 2, within_seconds=20)
    assert [each["chat_id"] for each in bot_api.said] == [user_id, str(user_id)]
    assert bot_api.said[1]["text"].startswith("Connected.")
