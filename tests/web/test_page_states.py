"""The hosted page in each of its states, as a phone and as a desktop show it: it says what to do, and nothing overflows.

With ``SCREENSHOTS=folder`` (``make screenshots``) each is also kept as a picture.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.clock import utc_now
from app.models import TelegramSession, Tenant
from tests.web.browser import CHROMIUM, Page, browsing
from tests.web.live import Live
from tests.web.playing_worker import PlayingWorker
from web.page_texts import TEXTS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

PHONE, DESKTOP, SMALL = (390, 844), (1280, 800), (320, 568)
BACK = "https://app.acme.example/connected?state=7"
LOGO = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAADAAAAAwCAYAAABXAvmHAAAAx0lEQVR42u3aOxKDMAyEYW7ATSm5PlQMJZa9ei2rmdT5v6RIbLFtmnf287hGXi"
    "2jy2FWw9Mg6PAwiHe4KyQ6HorIiocgsuOXEFXipxDV4s2I1gDkGz4TimgN8IgPRbQGeMaHIATIBETEuyIEGIxHIwSgAlhHACTgK9ILIYAlzgMB"
    "+TXOAsD+C1miygGsnyryW4CcCbIAkBPZbAwCATkXZwFgtxIrEa4A3czpfpTwhvq/Cw6KFRPFko9izUqz6KZ51IDmYY/suQHcbl5DUvoTqQAAAA"
    "BJRU5ErkJggg=="
)


class State(NamedTuple):
    """A state: what the login is started with, what its worker does, and a text of the page by which it is known."""

    name: str
    text: str
    play: Callable[[PlayingWorker], object] = lambda worker: None
    fields: dict[str, Any] = {}  # noqa: RUF012  # never written


def _wait_for_telegram(worker: PlayingWorker) -> None:
    worker.ask_password()
    worker.advance(retry_after_at=utc_now() + timedelta(seconds=42))


def _fail(reason: str) -> Callable[[PlayingWorker], object]:
    return lambda worker: worker.finish("failed", reason=reason)


CODE = {"method": "code", "phone": "+15551234567"}
STATES = (
    State("preparing", "queued"),
    State("waiting", "", lambda worker: worker.publish_qr()),
    State("password", "password_required", lambda worker: worker.ask_password()),
    State("code", "code_required", lambda worker: worker.ask_code(), CODE),
    State(
        "e-mail code",
        "code_required",
        lambda worker: worker.ask_code(delivery="email", length=6, pattern="a***e@example.com"),
        CODE,
    ),
    State("flood wait", "password_required", _wait_for_telegram),
    State("expired", "expired", lambda worker: worker.finish("expired")),
    State("cancelled", "cancelled", lambda worker: worker.finish("cancelled")),
    *(
        State(f"failed {reason.replace('_', ' ')}", f"reason_{reason}", _fail(reason))
        for reason in (
            "ownership_mismatch",
            "flood_wait",
            "password_attempts_exhausted",
            "account_banned",
            "payment_required",
            "email_setup_required",
            "telegram_unavailable",
        )
    ),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for all."""
    with browsing(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def acme(live: Live) -> Iterator[Live]:
    """Alice's tenant, dressed."""
    with live.core.transaction() as db:
        tenant = db.get_one(Tenant, "alice")
        tenant.brand = {"name": "Acme CRM", "accent": "#0f766e", "logo": LOGO}
        tenant.redirect_urls = ["https://app.acme.example/connected"]
    yield live
    with live.core.transaction() as db:
        db.get_one(Tenant, "alice").brand = {}


def look(page: Page, name: str, *, width: int, dark: bool = False, language: str = "en") -> None:
    """Make sure that nothing is wider than the screen, and keep the picture if that is asked for."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert page.complaints == []
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        parts = [
            name.replace(" ", "-"),
            str(width),
            *(["dark"] if dark else []),
            *([language] if language != "en" else []),
        ]
        page.screenshot(Path(folder) / f"{'-'.join(parts)}.png")


def show(
    page: Page, live: Live, state: State, *, screen: tuple[int, int], language: str = "en", dark: bool = False
) -> None:
    """Have the page show a state."""
    page.size(*screen, phone=screen != DESKTOP, dark=dark)
    page.complaints.clear()
    login = live.start_login(locale=language, **state.fields)
    state.play(PlayingWorker(live.core, login["id"]))
    page.go(login["page_url"])
    key = state.text or ("phone_lead" if screen != DESKTOP else "waiting_for_scan")
    text = TEXTS[language][key].replace("{application}", "Acme CRM")
    page.wait_for(f"document.getElementById('status').textContent === {text!r}")
    if state.name == "waiting":
        page.wait_for("!!document.querySelector('#qr svg')")
    if state.name == "flood wait":
        page.wait_for("/4\\d/.test(document.getElementById('password-note').textContent)")


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


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_every_language_fits(acme: Live, browser: Page, language: str) -> None:
    """No overflow at 320 px, in light and dark, and the direction of the language."""
    rtl = language in {"ar", "fa"}
    for state in STATES[1:4]:
        show(browser, acme, state, screen=SMALL, language=language)
        assert (browser.evaluate("getComputedStyle(document.documentElement).direction") == "rtl") == rtl
        look(browser, state.name, width=SMALL[0], language=language)
    show(browser, acme, STATES[1], screen=DESKTOP, language=language, dark=True)
    look(browser, "waiting", width=DESKTOP[0], language=language, dark=True)


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


def test_the_page_is_small(acme: Live) -> None:
    """Under 60 KB in all, in every language, before compression."""
    for language in TEXTS:
        page = acme.call("GET", f"/login/{acme.start_login(locale=language)['id']}")
        assert len(page.content) < 60_000
