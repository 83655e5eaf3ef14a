"""The hosted page inside Telegram, in a real browser: with what Telegram puts around it, and without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.web.browser import CHROMIUM, Page
from tests.web.init_data import init_data
from tests.web.live import Live
from tests.web.page_states import PHONE, look
from tests.web.playing_worker import PlayingWorker

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

DARK_THEME = {
    "bg_color": "#17212b",
    "text_color": "#f5f5f5",
    "hint_color": "#708499",
    "link_color": "#6ab3f3",
    "button_color": "#5288c1",
    "button_text_color": "#ffffff",
    "secondary_bg_color": "#232e3c",
}
# What Telegram's script makes, as far as the page uses it; every call is written down.
TELEGRAM = """
window.calls = [];
const note = (name) => (...given) => { calls.push([name, ...given]); };
const handlers = {};
const button = (name) => ({
  setParams(params) { calls.push([name, params]); this.params = params; },
  show: note(name + ".show"), hide: note(name + ".hide"),
  onClick(handler) { handlers[name] = handler; },
});
window.press = (name) => handlers[name]();
window.Telegram = { WebApp: {
  initData: new URLSearchParams(location.hash.slice(1)).get("tgWebAppData") || "",
  themeParams: JSON.parse(new URLSearchParams(location.hash.slice(1)).get("tgWebAppThemeParams") || "{}"),
  ready: note("ready"), expand: note("expand"), close: note("close"),
  enableClosingConfirmation: note("confirm"), disableClosingConfirmation: note("do not confirm"),
  onEvent: (name, handler) => { handlers[name] = handler; },
  MainButton: button("main"), BackButton: button("back"),
  HapticFeedback: { notificationOccurred: note("buzz"), impactOccurred: note("tap") },
} };
"""


@pytest.fixture
def phone(browser: Page) -> Iterator[Page]:
    """A phone's screen."""
    browser.size(*PHONE, phone=True)
    browser.complaints.clear()
    browser.expected = ("telegram-web-app.js",)  # out of reach in tests
    yield browser
    browser.expected = ()
    assert browser.complaints == []


@pytest.fixture
def in_telegram(phone: Page) -> Iterator[Page]:
    """A phone on which Telegram's script has been loaded."""
    script = phone.before_each_page(TELEGRAM)
    yield phone
    phone.no_longer_before(script)


def address(live: Live, signed: str, *, theme: dict[str, str] | None = None, query: str = "?lang=en") -> str:
    """The Mini App's address as Telegram opens it."""
    launch = {"tgWebAppData": signed, "tgWebAppVersion": "8.0", "tgWebAppThemeParams": json.dumps(theme or {})}
    return f"{live.url}/miniapp{query}#{urlencode(launch)}"


def started_login(live: Live, user_id: int) -> str:
    """The login that the page has started for somebody."""
    shown = live.call("POST", "/v1/logins", json={"telegram_user_id": user_id}).json()
    login_id: str = shown["id"]
    return login_id


def shown(page: Page, element: str) -> None:
    """Wait until a part of the page is on show."""
    page.wait_for(f"!document.getElementById({element!r}).closest('[hidden]')")


def open_for(page: Page, live: Live, user_id: int, *, theme: dict[str, str] | None = None) -> PlayingWorker:
    """Open the Mini App for somebody, and wait for the phone form; returns who drives the login."""
    page.go(address(live, init_data(user_id=user_id), theme=theme))
    page.wait_for("document.getElementById('status').textContent.includes('Preparing')")
    worker = PlayingWorker(live.core, started_login(live, user_id))
    worker.publish_qr()
    shown(page, "phone-form")
    return worker


def calls(page: Page) -> list[list[Any]]:
    """What the page has asked of Telegram."""
    asked: list[list[Any]] = page.evaluate("calls")
    return asked


def test_a_login_from_the_first_tap_to_the_last(acme: Live, in_telegram: Page) -> None:
    """The number first, by Telegram's own button; then code and password; wrong ones buzz; at the end the button closes."""
    page = in_telegram
    open_for(page, acme, 1001)
    assert ["ready"] in calls(page)
    assert ["expand"] in calls(page)
    assert page.evaluate("getComputedStyle(document.querySelector('#phone-form [type=submit]')).display") == "none"
    page.wait_for("Telegram.WebApp.MainButton.params.text === 'Send me a code'")
    page.evaluate("document.getElementById('phone').value = '+4915112345678'; press('main')")
    page.wait_for("document.getElementById('status').textContent.includes('asked for a login code')")
    assert page.evaluate("Telegram.WebApp.MainButton.params.is_visible") is False
    worker = PlayingWorker(acme.core, started_login(acme, 1001))
    worker.ask_code()
    shown(page, "code-form")
    page.wait_for("Telegram.WebApp.MainButton.params.text === 'Continue'")
    worker.ask_password()
    shown(page, "password-form")
    page.evaluate("document.getElementById('password').value = 'wrong'; press('main')")
    assert worker.take_answer("password") == "wrong"
    page.wait_for("!Telegram.WebApp.MainButton.params.is_active")
    worker.ask_password(attempts_left=4)
    page.wait_for("calls.some(([name, kind]) => name === 'buzz' && kind === 'error')")
    look(page, "mini app password", width=PHONE[0])
    worker.finish("authorized")
    page.wait_for("calls.some(([name, kind]) => name === 'buzz' && kind === 'success')")
    assert page.evaluate("Telegram.WebApp.MainButton.params.text") == "Close"
    assert calls(page)[-1] == ["do not confirm"]
    page.evaluate("press('main')")
    assert calls(page)[-1] == ["close"]


def test_the_qr_code_is_beside_it_for_another_screen(acme: Live, in_telegram: Page) -> None:
    """With the way there and, by Telegram's back button, the way back."""
    page = in_telegram
    open_for(page, acme, 1002)
    page.evaluate("document.getElementById('to-qr').click()")
    shown(page, "scan")
    page.wait_for("!!document.querySelector('#qr svg') && calls.at(-1)[0] === 'back.show'")
    look(page, "mini app code for another screen", width=PHONE[0])
    page.evaluate("press('back')")
    shown(page, "phone-form")
    page.wait_for("calls.at(-1)[0] === 'back.hide'")


def test_telegrams_colours_are_worn_where_they_can_be_read(acme: Live, in_telegram: Page) -> None:
    """Ground and letters as they are; a button on which white cannot be read gets darker; a change is followed."""
    page = in_telegram
    open_for(page, acme, 1003, theme=DARK_THEME)
    assert page.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor") == "rgb(23, 33, 43)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(245, 245, 245)"
    assert page.evaluate("document.documentElement.style.colorScheme") == "dark"
    assert page.evaluate("document.documentElement.style.getPropertyValue('--brand')") not in ("", "#5288c1")
    look(page, "mini app themed", width=PHONE[0], dark=True)
    light = {"bg_color": "#ffffff", "text_color": "#000000", "button_color": "#2481cc"}
    page.evaluate(f"Telegram.WebApp.themeParams = {json.dumps(light)}; handlers.themeChanged()")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor") == "rgb(255, 255, 255)"


def test_it_works_when_telegrams_script_is_out_of_reach(acme: Live, phone: Page) -> None:
    """Who opened it and in which colours is in the address; its own buttons do."""
    worker = open_for(phone, acme, 1004, theme=DARK_THEME)
    assert phone.evaluate("typeof window.Telegram") == "undefined"
    assert phone.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor") == "rgb(23, 33, 43)"
    worker.ask_password()
    shown(phone, "password-form")
    phone.type("secret")
    assert worker.take_answer("password") == "secret"
    look(phone, "mini app without its script", width=PHONE[0], dark=True)


def test_starting_again_stays_in_the_mini_app_and_survives_a_reload(acme: Live, phone: Page) -> None:
    """The next login is shown where the first one was, and again after a reload."""
    signed = init_data(user_id=1005)
    phone.go(address(acme, signed))
    phone.wait_for("document.getElementById('status').textContent.includes('Preparing')")
    first = started_login(acme, 1005)
    PlayingWorker(acme.core, first).finish("expired")
    shown(phone, "again")
    phone.evaluate("document.getElementById('again').click()")
    phone.wait_for("document.getElementById('status').textContent.includes('Preparing')")
    second = started_login(acme, 1005)
    assert second != first
    phone.go(address(acme, signed))
    PlayingWorker(acme.core, second).ask_password(hint_text="the second one")
    phone.wait_for("document.getElementById('password-hint').textContent.includes('the second one')")
    assert "/miniapp" in phone.evaluate("location.pathname")


def test_a_login_that_is_no_longer_there_is_asked_for_anew(acme: Live, phone: Page) -> None:
    """What this tab remembers may be too old; who opened it is known as before."""
    phone.expected = ("telegram-web-app.js", "lgn_of_yesterday")
    signed = init_data(user_id=1007)
    phone.go(f"{acme.url}/miniapp?lang=en")
    phone.evaluate(
        "sessionStorage.clear(); sessionStorage.setItem('latchkey:miniapp:' + new URLSearchParams("
        f"{signed!r}).get('hash'), JSON.stringify({{ id: 'lgn_of_yesterday', client_secret: 'ls_x' }}))"
    )
    phone.go(address(acme, signed))
    kept = "Object.values({ ...sessionStorage }).join()"
    phone.wait_for(f"{kept}.includes('client_secret') && !{kept}.includes('lgn_of_yesterday')")
    assert started_login(acme, 1007) in phone.evaluate(kept)


@pytest.mark.parametrize(
    ("signed", "says"),
    [
        ("", "Open this page from the bot"),
        (init_data(age_seconds=7200), "was opened a while ago"),
        (init_data().replace("42", "43"), "does not confirm who opened this page"),
    ],
    ids=["outside Telegram", "too old", "forged"],
)
def test_who_cannot_be_known_is_told_what_to_do(acme: Live, phone: Page, signed: str, says: str) -> None:
    """And nothing is started."""
    phone.expected = ("telegram-web-app.js", "/miniapp/logins")  # the 401 itself
    phone.go(address(acme, signed))
    phone.wait_for(f"document.getElementById('status').textContent.includes({says!r})")
    assert phone.evaluate("document.getElementById('again').hidden")


def test_the_apps_language_goes_before_the_devices(acme: Live, phone: Page) -> None:
    """Telegram names the person's language (Portuguese here); one that was switched to stays."""
    phone.go(f"{acme.url}/login/lgn_x")
    phone.evaluate(f"location.assign({address(acme, init_data(user_id=1006), query='')!r})")
    phone.wait_for(
        "document.documentElement.lang === 'pt' && document.getElementById('status')?.textContent.includes('Preparando')"
    )


def test_the_mini_app_is_small(acme: Live) -> None:
    """Under 60 KB, too, in the language that takes the most."""
    assert len(acme.call("GET", "/miniapp?lang=hi").content) < 60_000
