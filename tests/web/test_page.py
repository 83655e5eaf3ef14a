"""The hosted login page, in a real browser against a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

from app.clock import utc_now
from app.logins.secrets import RESEND
from tests.web.browser import CHROMIUM, Page
from tests.web.live import Live
from tests.web.playing_worker import PlayingWorker

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

NO_STREAMS = """
    const fetchAnything = window.fetch;
    window.fetch = (url, options) =>
      String(url).includes("/events") ? Promise.reject(new TypeError("cut")) : fetchAnything(url, options);
"""


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """A phone's screen, on which nothing may go wrong unseen."""
    browser.size(390, 844, phone=True)
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []


def status(page: Page, text: str) -> None:
    """Wait until the page's status line says this."""
    page.wait_for(f"document.getElementById('status').textContent.includes({text!r})")


def test_the_page_shows_the_code_and_renews_it(live: Live, page: Page) -> None:
    """The QR code on the screen is the current one, as the API draws it, and the next one replaces it."""
    login = live.start_login()
    page.go(login["page_url"])
    status(page, "Preparing")
    worker = PlayingWorker(live.core, login["id"])
    for _ in range(2):
        worker.publish_qr()
        drawn = live.call("GET", f"/v1/logins/{login['id']}/qr.svg").text
        lines = re.search(r' d="([^"]+)"', drawn)
        assert lines is not None
        page.wait_for(f"document.querySelector('#qr path')?.getAttribute('d') === {lines[1]!r}")
    assert re.fullmatch(r"\d+:\d\d left", page.evaluate("document.getElementById('countdown').textContent"))
    worker.finish("authorized")
    status(page, "Connected")


def test_a_code_that_nobody_renews_fades(live: Live, page: Page) -> None:
    """No phone takes it any more; the next one is as clear as ever."""
    login = live.start_login()
    worker = PlayingWorker(live.core, login["id"])
    worker.publish_qr(life_seconds=-1, kept_seconds=60)
    page.go(login["page_url"])
    page.evaluate("document.getElementById('to-qr').click()")
    page.wait_for("document.getElementById('qr').classList.contains('stale')")
    worker.publish_qr()
    page.wait_for("!document.getElementById('qr').classList.contains('stale')")


def test_the_stream_brings_the_drawings_and_is_asked_for_once(live: Live, page: Page) -> None:
    """A page on a slow network waits for its document and for the login, and for nothing else."""
    login = live.start_login()
    worker = PlayingWorker(live.core, login["id"])
    worker.publish_qr()
    page.watch_requests()
    page.go(login["page_url"])
    page.wait_for("!!document.querySelector('#qr svg')")
    before = page.evaluate("document.querySelector('#qr path').getAttribute('d')")
    worker.publish_qr()
    page.wait_for(f"document.querySelector('#qr path').getAttribute('d') !== {before!r}")
    asked = [each.removeprefix(f"{live.url}/v1/logins/{login['id']}") for each in page.requests if "/v1/" in each]
    assert asked == ["/events?qr=svg"]


def test_the_password_form_tells_what_is_left(live: Live, page: Page) -> None:
    """Hint, tries left, a wrong password said so, the right one passed on."""
    login = live.start_login()
    worker = PlayingWorker(live.core, login["id"])
    worker.ask_password(attempts_left=5, hint_text="first dog")
    page.go(login["page_url"])
    page.wait_for("document.activeElement.id === 'password'")
    text = page.evaluate("document.body.innerText")
    assert "first dog" in text
    assert "5 tries left" in text
    page.type("wrong")
    assert worker.take_answer("password") == "wrong"
    assert page.evaluate("document.getElementById('password').readOnly")
    worker.ask_password(attempts_left=4)
    page.wait_for("document.body.innerText.includes('That is not the password. 4 tries left.')")
    assert page.evaluate("document.activeElement.id") == "password"
    page.type("right")
    assert worker.take_answer("password") == "right"
    assert "Checking" in page.evaluate("document.body.innerText")
    worker.finish("authorized")
    status(page, "Connected")


def test_a_flood_wait_counts_down(live: Live, page: Page) -> None:
    """While Telegram asks to wait, the form is locked and says for how long."""
    login = live.start_login()
    worker = PlayingWorker(live.core, login["id"])
    worker.ask_password()
    worker.advance(retry_after_at=utc_now() + timedelta(seconds=3))
    page.go(login["page_url"])
    page.wait_for("/Telegram asks for a pause. You can go on in \\d seconds?/.test(document.body.innerText)")
    assert page.evaluate("document.getElementById('password').readOnly")
    page.wait_for("!document.getElementById('password').readOnly")


def test_the_code_form_passes_the_code_on(live: Live, page: Page) -> None:
    """Where the code went, and a field for it; what people type between digits is left out."""
    login = live.start_login(method="code", phone="+15551234567")
    worker = PlayingWorker(live.core, login["id"])
    worker.ask_code()
    page.go(login["page_url"])
    page.wait_for("document.activeElement.id === 'code'")
    assert "to your Telegram app" in page.evaluate("document.body.innerText")
    page.evaluate("document.getElementById('resend').click()")
    page.wait_for("/A new code is on its way/.test(document.body.innerText)")
    assert worker.take_answer("code") == RESEND
    page.type("1-2345")
    assert worker.take_answer("code") == "12345"
    worker.finish("failed", reason="phone_invalid")
    status(page, "does not know this phone number")


@pytest.mark.parametrize(
    ("code", "says", "keyboard"),
    [
        ({"delivery": "sms"}, "by SMS", "numeric"),
        ({"delivery": "call"}, "is calling you", "numeric"),
        ({"delivery": "fragment"}, "fragment.com", "numeric"),
        ({"delivery": "email", "length": 6, "pattern": "a***e@example.com"}, "a***e@example.com", "numeric"),
        ({"delivery": "missed_call", "length": 6, "pattern": "4477"}, "the last 6 digits", "numeric"),
        ({"delivery": "word", "length": None, "beginning": "c"}, "secret word by SMS. It begins with “c”.", "text"),
        ({"delivery": "phrase", "length": None}, "secret phrase by SMS.", "text"),
    ],
    ids=lambda each: each.get("delivery", "") if isinstance(each, dict) else "",
)
def test_the_page_says_where_the_code_is(
    live: Live, page: Page, code: dict[str, Any], says: str, keyboard: str
) -> None:
    """In plain words for each way of sending one, with the keyboard that the code is typed on."""
    login = live.start_login(method="code", phone="+15551234567")
    PlayingWorker(live.core, login["id"]).ask_code(**code)
    page.go(login["page_url"])
    page.wait_for("document.activeElement.id === 'code'")
    assert says in page.evaluate("document.getElementById('code-delivery').textContent")
    assert page.evaluate("document.getElementById('code').inputMode") == keyboard


def test_a_word_is_typed_as_well_as_digits(live: Live, page: Page) -> None:
    """What was typed goes to the server as it is, which knows what a code looks like: letters and digits of any script."""
    login = live.start_login(method="code", phone="+15551234567")
    worker = PlayingWorker(live.core, login["id"])
    worker.ask_code(delivery="phrase", length=None, beginning="amber")
    page.go(login["page_url"])
    page.wait_for("document.activeElement.id === 'code'")
    page.type("amber  canyon")
    assert worker.take_answer("code") == "amber canyon"
    worker.ask_code(length=5)
    page.go(login["page_url"])
    page.wait_for("document.activeElement.id === 'code'")
    page.type("١٢٣ ٤٥")
    assert worker.take_answer("code") == "12345"


def test_the_page_says_that_there_is_no_other_way(live: Live, page: Page) -> None:
    """The button that asks for the code once more goes, for as long as the code is the same."""
    login = live.start_login(method="code", phone="+15551234567")
    worker = PlayingWorker(live.core, login["id"])
    worker.ask_code(delivery="sms")
    page.go(login["page_url"])
    page.wait_for("document.activeElement.id === 'code'")
    page.evaluate("document.getElementById('resend').click()")
    assert worker.take_answer("code") == RESEND
    worker.ask_code(delivery="sms", no_other_way=True)
    page.wait_for("document.getElementById('code-note').textContent.includes('no other way')")
    assert page.evaluate("document.getElementById('resend').hidden")
    worker.ask_code(delivery="app")
    page.wait_for("!document.getElementById('resend').hidden")
    assert "no other way" not in page.evaluate("document.body.innerText")


def test_a_code_of_the_wrong_length_is_told_at_once(live: Live, page: Page) -> None:
    """The page says so, no try is lost, and the field is open for the right one."""
    login = live.start_login(method="code", phone="+15551234567")
    worker = PlayingWorker(live.core, login["id"])
    worker.ask_code()
    page.go(login["page_url"])
    page.wait_for("document.activeElement.id === 'code'")
    page.type("1234")
    page.wait_for("document.getElementById('code-note').textContent.includes('cannot be the code')")
    assert not page.evaluate("document.getElementById('code').readOnly")
    assert all("422" in each for each in page.complaints)
    page.complaints.clear()  # the browser logs every answer of that kind
    page.evaluate("document.getElementById('code').value = ''")
    page.type("12345")
    assert worker.take_answer("code") == "12345"


def test_the_page_lives_without_streams(live: Live, page: Page) -> None:
    """Where streams are cut, long polls carry the page."""
    script = page.before_each_page(NO_STREAMS)
    try:
        login = live.start_login()
        page.go(login["page_url"])
        status(page, "Preparing")
        worker = PlayingWorker(live.core, login["id"])
        worker.publish_qr()
        page.wait_for("!!document.querySelector('#qr svg')")
        worker.finish("expired")
        status(page, "The time is up")
    finally:
        page.no_longer_before(script)


def test_cancel_cancels(live: Live, page: Page) -> None:
    """The button ends the login."""
    login = live.start_login()
    page.go(login["page_url"])
    status(page, "Preparing")
    page.evaluate("document.getElementById('cancel').click()")
    status(page, "Cancelled")
    assert page.evaluate("document.getElementById('status').className") == "calm"
    assert live.call("GET", f"/v1/logins/{login['id']}").json()["status"] == "cancelled"


def test_the_page_speaks_the_logins_language(live: Live, page: Page) -> None:
    """The locale of the login goes before the browser's, and an unknown one falls back."""
    login = live.start_login(locale="ru-RU")
    page.go(login["page_url"])
    status(page, "Готовим код")
    assert page.evaluate("document.documentElement.lang") == "ru"
    PlayingWorker(live.core, login["id"]).ask_password(attempts_left=2)
    page.wait_for("document.body.innerText.includes('Осталось 2 попытки')")


def test_a_wrong_or_missing_secret_is_told(live: Live, browser: Page) -> None:
    """The page says that the link is not valid, and no more."""
    login = live.start_login()
    for url in (f"{live.url}/login/{login['id']}", f"{live.url}/login/{login['id']}#ls_wrong"):
        browser.go(url)
        status(browser, "no longer valid")


def test_the_document_is_self_contained_and_locked_down(live: Live) -> None:
    """It loads nothing from elsewhere, runs only its own script, and is not kept or framed."""
    answer = requests.get(f"{live.url}/login/lgn_x", timeout=10)
    policy = answer.headers["Content-Security-Policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)
    assert nonce is not None
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    scripts = re.findall(r"<script ([^>]*)>", answer.text)
    own = f'nonce="{nonce[1]}"'
    assert scripts == [own, 'type="application/json" id="settings"', own]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", answer.text)
    assert requests.get(f"{live.url}/login/lgn_x", timeout=10).headers["Content-Security-Policy"] != policy


def test_the_secret_is_in_no_log(live: Live, page: Page) -> None:
    """The page's secret travels in a header, so that no line of the server's log has it."""
    login = live.start_login()
    page.go(login["page_url"])
    status(page, "Preparing")
    assert login["client_secret"] not in live.log.read_text()
    assert login["id"] in live.log.read_text()


def test_the_page_travels_packed(live: Live) -> None:
    """A third of its weight, where the browser takes it; the same document either way."""
    path = f"/login/{live.start_login()['id']}"
    packed = live.call("GET", path)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < 20_000
    plain = requests.get(live.url + path, headers={"Accept-Encoding": "identity"}, timeout=10)
    assert "Content-Encoding" not in plain.headers
    without_nonce = [re.sub(r'nonce="[^"]+"', "", answer.text) for answer in (packed, plain)]
    assert without_nonce[0] == without_nonce[1]
    assert "Accept-Encoding" in plain.headers["Vary"]
