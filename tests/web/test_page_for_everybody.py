"""The hosted page for whoever cannot see it or has no mouse; and what it asks of the network."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.web.axe import findings
from tests.web.browser import CHROMIUM, Page
from tests.web.init_data import init_data
from tests.web.live import Live
from tests.web.page_states import DESKTOP, PHONE, STATES, State, show
from tests.web.playing_worker import PlayingWorker
from tests.web.test_mini_app_page import DARK_THEME, open_for
from tests.web.test_mini_app_page import address as mini_app_address
from web.page_texts import TEXTS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

_TAB, _ENTER, _SPACE = 9, 13, 32
_FOCUSED = "document.activeElement.id || document.activeElement.type || document.activeElement.tagName"


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """A screen on which nothing may be complained of: no error, and no violation of the page's policy."""
    browser.size(*DESKTOP)
    browser.complaints.clear()
    yield browser
    browser.expected = ()
    assert browser.complaints == []


def tab_to(page: Page, element: str) -> None:
    """Go on by the Tab key until an element has the focus."""
    for _ in range(12):
        if page.evaluate(_FOCUSED) == element:
            return
        page.press("Tab", code=_TAB)
    raise AssertionError(f"Tab never reached {element}")


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_axe_finds_nothing_in_any_state(acme: Live, page: Page, axe: str, state: State) -> None:
    """By day on a desktop and by night on a phone; failures differ by their sentence alone."""
    screens = [(DESKTOP, False), (PHONE, True)]
    for screen, dark in screens[1:] if state.name.startswith("failed") else screens:
        show(page, acme, state, screen=screen, dark=dark)
        assert findings(page, axe) == []


@pytest.mark.parametrize("language", sorted(set(TEXTS) - {"en"}))
def test_axe_finds_nothing_in_any_language(acme: Live, page: Page, axe: str, language: str) -> None:
    """The page and each language's name say which language they are in."""
    show(page, acme, STATES[2], screen=DESKTOP, language=language)
    assert findings(page, axe) == []


def test_axe_finds_nothing_in_the_mini_app(acme: Live, page: Page, axe: str) -> None:
    """In colours of Telegram's own, some of which are too faint as they come; and where it cannot tell who opened it."""
    page.expected = ("telegram-web-app.js",)
    page.size(*PHONE, phone=True)
    worker = open_for(page, acme, 2001, theme=DARK_THEME)
    assert findings(page, axe) == []
    worker.ask_password(attempts_left=1)
    page.wait_for("!document.getElementById('password-form').hidden")
    assert findings(page, axe) == []
    faint = {"bg_color": "#ffffff", "text_color": "#222222", "link_color": "#2481cc", "button_color": "#8ec5fc"}
    open_for(page, acme, 2002, theme=faint)
    assert findings(page, axe) == []
    page.go(mini_app_address(acme, ""))
    page.wait_for("!document.getElementById('done').hidden")
    assert findings(page, axe) == []


def test_the_keyboard_alone_will_do(acme: Live, page: Page) -> None:
    """From the QR code to the phone number, the code, a wrong password and the end; the focus is never lost on the way."""
    login = acme.start_login()
    PlayingWorker(acme.core, login["id"]).publish_qr()
    page.go(login["page_url"])
    page.wait_for("!document.getElementById('scan').hidden")
    tab_to(page, "to-phone")
    page.type("")
    page.wait_for("document.activeElement.id === 'phone'")
    tab_to(page, "to-qr")
    page.type("")
    page.wait_for("document.activeElement.id === 'to-phone'")
    page.press(" ", code=_SPACE)
    page.wait_for("document.activeElement.id === 'phone'")
    page.evaluate("document.activeElement.value = ''")
    page.type("+4915112345678")
    page.wait_for("document.getElementById('status').textContent.includes('asked for a login code')")
    worker = PlayingWorker(acme.core, login["id"])
    worker.ask_code()
    page.wait_for("document.activeElement.id === 'code'")
    page.type("12345")
    assert worker.take_answer("code") == "12345"
    worker.ask_password()
    page.wait_for("document.activeElement.id === 'password'")
    page.press("Tab", code=_TAB)
    assert page.evaluate(_FOCUSED) == "reveal"
    page.type("")
    assert page.evaluate("document.getElementById('password').type") == "text"
    page.press("Tab", code=_TAB, shift=True)
    page.type("right")
    assert worker.take_answer("password") == "right"
    worker.finish("expired")
    page.wait_for("document.activeElement.id === 'again'")


def test_the_focus_is_always_to_be_seen(acme: Live, page: Page) -> None:
    """Each thing that Tab reaches has an outline; nothing that is hidden is reached; a big enough place to tap."""
    show(page, acme, STATES[2], screen=DESKTOP)
    reached = []
    for _ in range(6):
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert page.evaluate("document.activeElement.getBoundingClientRect().height") >= 44
        reached.append(page.evaluate(_FOCUSED))
        page.press("Tab", code=_TAB)
        if page.evaluate("document.activeElement === document.body"):
            break
    assert reached == ["password", "reveal", "submit", "cancel", "language"]


def test_no_request_leaves_the_origin(acme: Live, page: Page) -> None:
    """Whatever happens on the page: everything it asks for, it asks of its own server."""
    page.watch_requests()
    login = acme.start_login()
    worker = PlayingWorker(acme.core, login["id"])
    page.go(login["page_url"])
    worker.publish_qr()
    page.wait_for("!!document.querySelector('#qr svg')")
    worker.ask_password()
    page.wait_for("!document.getElementById('password-form').hidden")
    page.type("secret")
    assert worker.take_answer("password") == "secret"
    worker.finish("expired")
    page.wait_for("!document.getElementById('done').hidden")
    page.evaluate("document.getElementById('again').click()")
    page.wait_for(f"!location.pathname.endsWith({login['id']!r}) && document.readyState === 'complete'")
    assert page.requests
    assert [url for url in page.requests if not url.startswith((f"{acme.url}/", "data:", "about:"))] == []
    assert [url for url in page.requests if login["client_secret"] in url.partition("#")[0]] == []


def test_the_mini_app_asks_for_telegrams_script_and_nothing_else(acme: Live, page: Page) -> None:
    """Of anybody but its own server. What Telegram signed is in no address that is asked for."""
    page.expected = ("telegram-web-app.js",)
    page.watch_requests()
    signed = init_data(user_id=2003)
    page.go(mini_app_address(acme, signed))
    page.wait_for("document.getElementById('status').textContent.includes('Preparing')")
    elsewhere = {url for url in page.requests if not url.startswith((f"{acme.url}/", "data:", "about:"))}
    assert elsewhere == {"https://telegram.org/js/telegram-web-app.js"}
    assert "tgWebAppData" not in json.dumps([url.partition("#")[0] for url in page.requests])
