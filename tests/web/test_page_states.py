"""The hosted page in each of its states, as a phone and as a desktop show it: it says what to do, and nothing overflows."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from app.clock import rfc3339, utc_now
from app.logins.secrets import RESEND
from app.models import TelegramSession, Tenant
from tests.web.browser import CHROMIUM, Page
from tests.web.live import Live
from tests.web.page_states import CODE, DESKTOP, PHONE, STATES, State, look, show
from tests.web.playing_worker import PlayingWorker
from web.page_texts import TEXTS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

_SENT = {"delivery": "app", "length": 5}
BACK = "https://app.acme.example/connected?state=7"


def contrast(one: str, other: str) -> float:
    """Of two opaque colours, as the browser writes them. Source: https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio"""
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(each) / 255 for each in re.findall(r"\d+", colour)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_every_state_says_what_it_is_and_who_asks(acme: Live, browser: Page, state: State) -> None:
    """The state in words, the application by its name; a way to start again wherever it ended without a session."""
    for screen in (DESKTOP, PHONE):
        show(browser, acme, state, screen=screen)
        assert "Acme CRM wants to connect" in browser.evaluate("document.querySelector('h1').textContent")
        ended = browser.evaluate("!document.getElementById('done').hidden")
        assert (
            browser.evaluate("!document.getElementById('again').hidden && !document.getElementById('done').hidden")
            == ended
        )
        look(browser, state.name, width=screen[0])
    if state.name == "waiting":
        show(browser, acme, state, screen=DESKTOP, dark=True)
        look(browser, state.name, width=DESKTOP[0], dark=True)


def test_success_says_who_was_connected_and_leads_back(acme: Live, browser: Page) -> None:
    """First name and username of the session; then back to where the application wants its user, with the outcome."""
    with acme.core.transaction() as db:
        db.add(
            TelegramSession(
                id="ses_shown",
                tenant_id="alice",
                telegram_user_id=42,
                dc_id=2,
                status="active",
                first_name="Bob",
                username="bob",
            )
        )
    login = acme.start_login(redirect_url=BACK)
    worker = PlayingWorker(acme.core, login["id"])
    browser.size(*PHONE, phone=True)
    browser.complaints.clear()
    stay = browser.before_each_page(
        "const later = setTimeout; window.setTimeout = (f, ms) => (ms === 2500 ? 0 : later(f, ms));"
    )
    try:
        browser.go(login["page_url"])
        worker.finish("authorized", session_id="ses_shown")
        browser.wait_for("document.getElementById('account').textContent === 'Connected as Bob, @bob'")
        back = browser.evaluate("document.getElementById('back').href")
        assert back == f"{BACK}&login_id={login['id']}&status=authorized"
        look(browser, "authorized", width=PHONE[0])
        browser.size(*DESKTOP, dark=True)
        browser.wait_for(f"innerWidth === {DESKTOP[0]}")
        look(browser, "authorized", width=DESKTOP[0], dark=True)
    finally:
        browser.no_longer_before(stay)


def test_a_phone_leads_with_the_number_and_can_show_the_code(acme: Live, browser: Page) -> None:
    """On a phone the number comes first, and says why; one tap shows the QR code, one more goes back. A desktop does not."""
    show(browser, acme, STATES[1], screen=PHONE)
    assert "refuses a QR code shown on its own screen" in browser.evaluate(
        "document.getElementById('phone-why').innerText"
    )
    browser.evaluate("document.getElementById('to-qr').click()")
    browser.wait_for("!document.getElementById('scan').hidden")
    look(browser, "waiting shown", width=PHONE[0])
    browser.evaluate("document.getElementById('to-phone').click()")
    browser.wait_for("!document.getElementById('phone-form').hidden")
    show(browser, acme, STATES[1], screen=DESKTOP)
    assert browser.evaluate("document.getElementById('phone-form').hidden")


def test_a_number_switches_the_same_login(acme: Live, browser: Page) -> None:
    """The country is known by its calling code; the login goes on by code, and back by QR code."""
    login = acme.start_login()
    worker = PlayingWorker(acme.core, login["id"])
    worker.publish_qr()
    browser.size(*PHONE, phone=True)
    browser.complaints.clear()
    browser.go(login["page_url"])
    browser.wait_for("!document.getElementById('phone-form').hidden")
    browser.evaluate("document.getElementById('phone').value = ''; document.getElementById('phone').focus()")
    browser.type("+4915112345678")
    assert browser.evaluate("document.getElementById('country').title") == "Germany"
    browser.wait_for("document.getElementById('status').textContent.includes('asked for a login code')")
    shown = acme.call("GET", f"/v1/logins/{login['id']}").json()
    assert (shown["method"], shown["status"]) == ("code", "queued")
    PlayingWorker(acme.core, login["id"]).ask_code()
    browser.wait_for("!document.getElementById('code-form').hidden")
    browser.evaluate("document.getElementById('code-to-qr').click()")
    browser.wait_for("document.getElementById('code-form').hidden")
    assert acme.call("GET", f"/v1/logins/{login['id']}").json()["method"] == "qr"


def test_starting_again_is_one_tap(acme: Live, browser: Page) -> None:
    """The button leads to the page of a new login, in the same language."""
    login = acme.start_login(locale="ru")
    PlayingWorker(acme.core, login["id"]).finish("expired")
    browser.size(*PHONE, phone=True)
    browser.complaints.clear()
    browser.go(login["page_url"])
    browser.wait_for("!document.getElementById('again').hidden && !document.getElementById('done').hidden")
    browser.evaluate("document.getElementById('again').click()")
    browser.wait_for(f"!location.pathname.endsWith({login['id']!r}) && document.readyState === 'complete'")
    browser.wait_for(f"document.getElementById('status').textContent === {TEXTS['ru']['queued']!r}")


def test_the_secret_leaves_the_address_bar_and_survives_a_reload(acme: Live, browser: Page) -> None:
    """It is kept for this tab alone."""
    login = acme.start_login()
    browser.size(*DESKTOP)
    browser.complaints.clear()
    browser.go(login["page_url"])
    browser.wait_for("document.getElementById('status').textContent.includes('Preparing')")
    assert browser.evaluate("location.hash") == ""
    browser.go(f"{acme.url}/login/{login['id']}")
    browser.wait_for("document.getElementById('status').textContent.includes('Preparing')")


def test_telegrams_silence_is_told(acme: Live, browser: Page) -> None:
    """After five seconds without anything to show the page says so, and goes on as soon as there is."""
    login = acme.start_login()
    browser.size(*DESKTOP)
    browser.complaints.clear()
    browser.go(login["page_url"])
    browser.wait_for("document.getElementById('status').textContent.includes('does not answer yet')", within_seconds=10)
    look(browser, "silence", width=DESKTOP[0])
    PlayingWorker(acme.core, login["id"]).publish_qr()
    browser.wait_for("!document.getElementById('scan').hidden")


@pytest.mark.parametrize("kind", ["password", "code"])
def test_what_was_typed_is_checked_and_a_wrong_one_is_said(acme: Live, browser: Page, kind: str) -> None:
    """The form is locked meanwhile; then the field is empty, marked, and says how many tries are left."""
    login = acme.start_login(**(CODE if kind == "code" else {}))
    worker = PlayingWorker(acme.core, login["id"])
    ask = worker.ask_password if kind == "password" else worker.ask_code
    ask()
    browser.size(*PHONE, phone=True)
    browser.complaints.clear()
    browser.go(login["page_url"])
    browser.wait_for(f"document.activeElement.id === {kind!r}")
    browser.type("12345")
    browser.wait_for(f"document.getElementById('{kind}-note').textContent === 'Checking…'")
    look(browser, f"{kind} checking", width=PHONE[0])
    worker.take_answer(kind)
    worker.advance(**({"password_attempts_left": 4} if kind == "password" else {"code": {**_SENT, "attempts_left": 2}}))
    browser.wait_for(f"document.getElementById({kind!r}).getAttribute('aria-invalid') === 'true'")
    assert browser.evaluate(f"document.getElementById({kind!r}).value") == ""
    look(browser, f"{kind} wrong", width=PHONE[0])


def test_caps_lock_is_said(acme: Live, browser: Page) -> None:
    """While a password is typed, and no longer than that."""
    show(browser, acme, STATES[2], screen=DESKTOP)
    for state in (True, False):
        browser.evaluate(
            "document.getElementById('password').dispatchEvent("
            f"new KeyboardEvent('keydown', {{ key: 'A', modifierCapsLock: {json.dumps(state)} }}))"
        )
        assert browser.evaluate("!document.getElementById('caps').hidden") == state
        if state:
            look(browser, "password caps lock", width=DESKTOP[0])


def test_the_next_way_of_a_code_is_offered_when_its_time_has_come(acme: Live, browser: Page) -> None:
    """The button says by which way, and counts down until then; a tap makes it wait for the code that was asked for."""
    login = acme.start_login(**CODE)
    worker = PlayingWorker(acme.core, login["id"])
    worker.ask_code(delivery="sms", next_delivery="call", resend_at=rfc3339(utc_now() + timedelta(seconds=3)))
    browser.size(*PHONE, phone=True)
    browser.complaints.clear()
    browser.go(login["page_url"])
    text = "document.getElementById('resend').textContent"
    browser.wait_for(f"/^Have Telegram call me instead · 0:0[123]$/.test({text})")
    assert browser.evaluate("document.getElementById('resend').disabled")
    browser.wait_for(f"{text} === 'Have Telegram call me instead' && !document.getElementById('resend').disabled")
    browser.evaluate("document.getElementById('resend').click()")
    assert worker.take_answer("code") == RESEND
    browser.wait_for(f"/· 0:1\\d$/.test({text})")
    worker.ask_code(delivery="call")
    browser.wait_for(f"{text}.startsWith('Send the code again')")


def test_a_browser_without_network_is_told_so_and_goes_on_by_itself(acme: Live, browser: Page) -> None:
    """Nothing has to be reloaded when it is back."""
    login = acme.start_login()
    worker = PlayingWorker(acme.core, login["id"])
    worker.publish_qr()
    browser.expected = ("net::ERR_", "Failed to load resource")
    browser.size(*DESKTOP)
    browser.complaints.clear()
    browser.go(login["page_url"])
    browser.wait_for("!!document.querySelector('#qr svg')")
    try:
        browser.be_offline(True)
        browser.wait_for("document.getElementById('status').textContent.includes('You are offline')")
        look(browser, "offline", width=DESKTOP[0])
    finally:
        browser.be_offline(False)
    browser.wait_for("document.getElementById('status').textContent.includes('Scan this code')")
    worker.finish("expired")
    browser.wait_for("document.getElementById('status').textContent.includes('The time is up')", within_seconds=25)
    browser.expected = ()


def test_a_link_without_its_secret_says_what_to_do(acme: Live, browser: Page) -> None:
    """Somebody who copied half of it."""
    browser.size(*PHONE, phone=True)
    browser.complaints.clear()
    browser.go(f"{acme.url}/login/lgn_somebodys")
    browser.wait_for("document.getElementById('status').textContent.includes('no longer valid')")
    look(browser, "gone", width=PHONE[0])


@pytest.mark.parametrize("accent", ["#0f766e", "#facc15", "#000000", "#ffffff", "#ff0000"])
def test_a_tenants_colour_is_worn_in_shades_that_can_be_read(acme: Live, browser: Page, accent: str) -> None:
    """Links, rings and buttons are of it by day and by night, with the contrast that WCAG asks for."""
    with acme.core.transaction() as db:
        tenant = db.get_one(Tenant, "alice")
        usual, tenant.brand = tenant.brand, {**tenant.brand, "accent": accent}
    try:
        for dark in (False, True):
            show(browser, acme, STATES[1], screen=DESKTOP, dark=dark)
            for element, ground in (("#cancel", "main"), ("#phone-form button", None)):
                letters, behind = browser.evaluate(
                    f"[getComputedStyle(document.querySelector({element!r})).color,"
                    f" getComputedStyle(document.querySelector({ground or element!r})).backgroundColor]"
                )
                assert contrast(letters, behind) >= 4.5, (element, dark, letters, behind)
    finally:
        with acme.core.transaction() as db:
            db.get_one(Tenant, "alice").brand = usual


def test_a_disabled_tenants_page_says_so(acme: Live, browser: Page) -> None:
    """Nothing goes on there, whatever the login is."""
    login = acme.start_login()
    with acme.core.transaction() as db:
        db.get_one(Tenant, "alice").disabled_at = utc_now()
    try:
        browser.size(*PHONE, phone=True)
        browser.complaints.clear()
        browser.go(login["page_url"])
        browser.wait_for("document.getElementById('status').textContent.includes('switched off')")
        look(browser, "disabled", width=PHONE[0])
    finally:
        with acme.core.transaction() as db:
            db.get_one(Tenant, "alice").disabled_at = None
    assert browser.evaluate("document.getElementById('again').hidden")


def test_the_page_is_embedded_where_its_login_says_and_nowhere_else(acme: Live) -> None:
    """The policy names the one origin that the login was started with."""
    with acme.core.transaction() as db:
        db.get_one(Tenant, "alice").origins = ["https://app.acme.example"]
    login = acme.start_login(origin="https://app.acme.example")
    policies = [
        acme.call("GET", f"/login/{each['id']}").headers["Content-Security-Policy"]
        for each in (login, acme.start_login())
    ]
    assert policies[0].endswith("frame-ancestors https://app.acme.example")
    assert policies[1].endswith("frame-ancestors 'none'")
