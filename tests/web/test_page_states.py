"""The hosted page in each of its states, as a phone and as a desktop show it: it says what to do, and nothing overflows."""

from __future__ import annotations

import pytest

from app.clock import utc_now
from app.models import TelegramSession, Tenant
from tests.web.browser import CHROMIUM, Page
from tests.web.live import Live
from tests.web.page_states import DESKTOP, PHONE, STATES, State, look, show
from tests.web.playing_worker import PlayingWorker
from web.page_texts import TEXTS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

BACK = "https://app.acme.example/connected?state=7"


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
