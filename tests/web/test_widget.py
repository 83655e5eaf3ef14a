"""The widget, across two origins: an application's page on one loopback port, Latchkey on another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import requests

from app.models import TelegramSession, Tenant
from tests.waiting import wait_until
from tests.web.axe import findings
from tests.web.browser import CHROMIUM, Page
from tests.web.live import Live
from tests.web.page_states import DESKTOP, PHONE, look
from tests.web.playing_worker import PlayingWorker

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

SESSION = "ses_of_the_widget"
APPLICATION = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Acme</title><link rel="icon" href="data:,"><h1>Acme</h1><button id="connect">Connect</button>
<script src="{latchkey}/widget.js"></script><script src="/app.js"></script></html>"""
APP_SCRIPT = """
let outcome = null;
function start(options) {
  outcome = null;
  document.getElementById("connect").focus();
  Latchkey.connect(options).then(
    (sessionId) => { outcome = { sessionId }; },
    (error) => { outcome = { reason: error.reason, isOurs: error instanceof Latchkey.ConnectError }; },
  );
}
const inDialog = (selector) => document.querySelector(".latchkey-widget")?.shadowRoot.querySelector(selector);
"""


@contextmanager
def application(latchkey: str) -> Iterator[str]:
    """Somebody's application that has the widget's script tag, under a strict policy; yields its origin."""
    policy = (
        f"default-src 'none'; script-src 'self' {latchkey}; frame-src {latchkey}; connect-src {latchkey}; img-src data:"
    )

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_script = self.path == "/app.js"
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
            self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write((APP_SCRIPT if is_script else APPLICATION.format(latchkey=latchkey)).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def origin(acme: Live) -> Iterator[str]:
    """The origin of an application that Alice's tenant has on its list."""
    with application(acme.url) as origin:
        with acme.core.transaction() as db:
            db.get_one(Tenant, "alice").origins = [origin]
            db.add(
                TelegramSession(
                    id=SESSION, tenant_id="alice", telegram_user_id=77, dc_id=2, status="active", username="bob"
                )
            )
        yield origin
        with acme.core.transaction() as db:
            db.get_one(Tenant, "alice").origins = []


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """A desktop's screen."""
    browser.size(*DESKTOP)
    browser.complaints.clear()
    yield browser
    browser.expected = ()
    assert browser.complaints == []


def start(page: Page, origin: str, login: dict[str, Any], **options: object) -> None:
    """Open the application's page, and have it connect."""
    page.go(f"{origin}/")
    page.evaluate(f"start({json.dumps({'pageUrl': login['page_url'], **options})})")


def outcome(page: Page) -> dict[str, Any]:
    """What became of it."""
    found: dict[str, Any] = page.wait_for("outcome")
    return found


def status_of(live: Live, login: dict[str, Any]) -> str:
    """The login's status, as the API tells."""
    found: str = live.call("GET", f"/v1/logins/{login['id']}").json()["status"]
    return found


def test_a_login_in_a_dialog_ends_with_its_session(acme: Live, origin: str, page: Page) -> None:
    """The page is shown in a frame as high as it needs; the promise resolves, the dialog goes, the focus is where it was."""
    login = acme.start_login(origin=origin)
    worker = PlayingWorker(acme.core, login["id"])
    worker.publish_qr()
    start(page, origin, login)
    page.wait_for_in_frame("!!document.querySelector('#qr svg')")
    page.wait_for("!inDialog('iframe').hidden && inDialog('#wait').hidden")
    look(page, "widget", width=DESKTOP[0])
    worker.ask_password()
    page.wait_for_in_frame("document.activeElement.id === 'password'")
    page.type("correct")
    assert worker.take_answer("password") == "correct"
    worker.finish("authorized", session_id=SESSION)
    assert outcome(page) == {"sessionId": SESSION}
    page.wait_for("!document.querySelector('.latchkey-widget')")
    assert page.evaluate("document.activeElement.id") == "connect"


def test_it_fits_a_phone_and_speaks_the_language_that_is_asked_for(acme: Live, origin: str, page: Page) -> None:
    """Both the dialog and the page in it, from right to left where it must be."""
    page.size(*PHONE, phone=True)
    login = acme.start_login(origin=origin)
    PlayingWorker(acme.core, login["id"]).publish_qr()
    start(page, origin, login, language="fa")
    page.wait_for_in_frame(
        "document.documentElement.lang === 'fa' && document.getElementById('phone-form')?.hidden === false"
    )
    assert page.evaluate("inDialog('dialog').dir") == "rtl"
    assert page.evaluate("inDialog('#close').getAttribute('aria-label')") == "بستن"
    assert page.evaluate_in_frame("document.documentElement.scrollWidth <= innerWidth")
    look(page, "widget", width=PHONE[0], language="fa")


@pytest.mark.parametrize("mode", ["frame", "tab"])
def test_axe_finds_nothing_in_the_dialog(acme: Live, origin: str, page: Page, axe: str, mode: str) -> None:
    """Its names, its colours, its focus; the page inside is looked at by itself."""
    login = acme.start_login(origin=origin)
    start(page, origin, login, mode=mode, language="ar")
    page.wait_for("!!inDialog('a')" if mode == "tab" else "!!inDialog('iframe') && !inDialog('iframe').hidden")
    assert [each for each in findings(page, axe) if "latchkey-widget" in each] == []


@pytest.mark.parametrize("where", ["button", "key in the dialog", "key in the frame", "signal"])
def test_closing_the_dialog_cancels_the_login(acme: Live, origin: str, page: Page, where: str) -> None:
    """By its button, by Escape wherever the focus is, or by the application's own signal."""
    login = acme.start_login(origin=origin)
    page.go(f"{origin}/")
    page.evaluate(
        f"window.stop = new AbortController(); start({{ pageUrl: {login['page_url']!r}, signal: stop.signal }})"
    )
    page.wait_for("!!inDialog('iframe') && !inDialog('iframe').hidden")
    if where == "button":
        page.evaluate("inDialog('#close').click()")
    elif where == "signal":
        page.evaluate("stop.abort()")
    else:
        page.evaluate(f"inDialog({'#close' if where == 'key in the dialog' else 'iframe'!r}).focus()")
        page.press("Escape", code=27)
    reason = "aborted" if where == "signal" else "cancelled"
    assert outcome(page) == {"reason": reason, "isOurs": True}
    wait_until(lambda: status_of(acme, login) == "cancelled")
    page.wait_for("!document.querySelector('.latchkey-widget')")


def test_what_went_wrong_is_the_reason_once_the_dialog_is_closed(acme: Live, origin: str, page: Page) -> None:
    """Until then the user may start again, in the same dialog."""
    login = acme.start_login(origin=origin)
    worker = PlayingWorker(acme.core, login["id"])
    start(page, origin, login)
    page.wait_for("!!inDialog('iframe') && !inDialog('iframe').hidden")
    worker.finish("failed", reason="ownership_mismatch")
    page.wait_for_in_frame("!document.getElementById('done').hidden")
    assert page.evaluate("outcome") is None
    page.evaluate_in_frame("document.getElementById('again').click()")
    page.wait_for_in_frame(f"!location.pathname.endsWith({login['id']!r}) && document.readyState === 'complete'")
    page.wait_for_in_frame("document.getElementById('status').textContent.includes('Preparing')")
    PlayingWorker(acme.core, page.evaluate_in_frame("location.pathname.split('/').pop()")).finish("expired")
    page.wait_for_in_frame("!document.getElementById('done').hidden")
    page.evaluate("inDialog('#close').click()")
    assert outcome(page) == {"reason": "expired", "isOurs": True}


def test_a_tab_serves_where_frames_are_refused(acme: Live, origin: str, page: Page) -> None:
    """A login that names no origin is shown by nobody's page; its own tab shows it, and the login itself tells of its end."""
    page.expected = ("frame-ancestors",)
    login = acme.start_login()
    start(page, origin, login)
    page.wait_for("!!inDialog('a')")
    assert not page.evaluate("inDialog('iframe')")
    look(page, "widget tab", width=DESKTOP[0])
    page.click("inDialog('a')")
    page.wait_for("inDialog('p').textContent.includes('Go on in the new tab')")
    wait_until(lambda: login["page_url"].partition("#")[0] in [each.partition("#")[0] for each in page.other_tabs()])
    PlayingWorker(acme.core, login["id"]).finish("authorized", session_id=SESSION)
    assert outcome(page) == {"sessionId": SESSION}
    page.wait_for("!document.querySelector('.latchkey-widget')")


def test_a_tab_can_be_asked_for(acme: Live, origin: str, page: Page) -> None:
    """And closing the dialog cancels the login there, too."""
    login = acme.start_login()
    start(page, origin, login, mode="tab")
    page.wait_for("!!inDialog('a')")
    page.evaluate("inDialog('#close').click()")
    assert outcome(page) == {"reason": "cancelled", "isOurs": True}
    wait_until(lambda: status_of(acme, login) == "cancelled")


def test_another_origin_gets_neither_the_page_nor_a_word(acme: Live, origin: str, page: Page) -> None:
    """A page that is not on the tenant's list shows no frame, though the login's address has leaked to it."""
    page.expected = ("frame-ancestors",)
    login = acme.start_login(origin=origin)
    with application(acme.url) as stranger:
        page.go(f"{stranger}/")
        page.evaluate("window.heard = []; addEventListener('message', (event) => heard.push(event.data))")
        page.evaluate(f"start({{ pageUrl: {login['page_url']!r} }})")
        page.wait_for("!!inDialog('a')")
        assert page.evaluate("heard") == []
        page.go("about:blank")


def test_an_origin_that_left_the_list_embeds_nothing_more(acme: Live, origin: str) -> None:
    """Logins that were started before are no exception."""
    login = acme.start_login(origin=origin)
    path = f"/login/{login['id']}"
    assert acme.call("GET", path).headers["Content-Security-Policy"].endswith(f"frame-ancestors {origin}")
    with acme.core.transaction() as db:
        db.get_one(Tenant, "alice").origins = []
    try:
        assert acme.call("GET", path).headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    finally:
        with acme.core.transaction() as db:
            db.get_one(Tenant, "alice").origins = [origin]


def test_neither_side_listens_to_anybody_else(acme: Live, origin: str, page: Page) -> None:
    """A message from the wrong window is no end of a login, and cancels none, whatever it says."""
    login = acme.start_login(origin=origin)
    start(page, origin, login)
    page.wait_for("!!inDialog('iframe') && !inDialog('iframe').hidden")
    forged = {"source": "latchkey", "type": "end", "status": "authorized", "session_id": "ses_forged"}
    page.evaluate(f"postMessage({json.dumps(forged)}, '*')")
    page.evaluate_in_frame("window.postMessage({ source: 'latchkey-host', type: 'cancel' }, '*')")
    PlayingWorker(acme.core, login["id"]).publish_qr()
    page.wait_for_in_frame("!!document.querySelector('#qr svg')")
    assert page.evaluate("outcome") is None
    assert status_of(acme, login) == "waiting_for_scan"
    page.evaluate("inDialog('#close').click()")
    assert outcome(page)["reason"] == "cancelled"


@pytest.mark.parametrize(
    "address", ["https://evil.example/login/lgn_x#ls_x", "/login/lgn_x#ls_x", "{home}/docs#x", "{home}/login/lgn_x"]
)
def test_only_a_page_of_latchkeys_is_opened(acme: Live, origin: str, page: Page, address: str) -> None:
    """The one that the script came from; with its secret."""
    start(page, origin, {"page_url": address.replace("{home}", acme.url)})
    assert outcome(page) == {"reason": "invalid_page_url", "isOurs": True}
    assert not page.evaluate("document.querySelector('.latchkey-widget')")


def test_a_page_url_may_come_later_or_not_at_all(acme: Live, origin: str, page: Page) -> None:
    """A promise of it opens the dialog at once; what the application itself is refused with comes through as it is."""
    login = acme.start_login(origin=origin)
    page.go(f"{origin}/")
    page.evaluate(f"start({{ pageUrl: async () => {login['page_url']!r} }})")
    page.wait_for("!!inDialog('iframe') && !inDialog('iframe').hidden")
    page.evaluate("inDialog('#close').click()")
    outcome(page)
    page.evaluate(
        "outcome = null; Latchkey.connect({ pageUrl: Promise.reject(new TypeError('no server')) })"
        ".catch((error) => { outcome = { message: error.message } }); 0"
    )
    assert outcome(page) == {"message": "no server"}


def test_the_script_is_kept_and_holds_no_secret(live: Live) -> None:
    """Browsers ask again after an hour, and get nothing anew while it is the same."""
    answer = live.call("GET", "/widget.js")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert len(answer.content) < 20_000
    etag = answer.headers["ETag"]
    assert requests.get(f"{live.url}/widget.js", headers={"If-None-Match": etag}, timeout=10).status_code == 304
