"""The hosted page's states: how each one comes about, and how it is looked at.

With ``SCREENSHOTS=folder`` (``make screenshots``) each state that is looked at is also kept as a picture.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from app.clock import rfc3339, utc_now
from tests.web.browser import Page
from tests.web.live import Live
from tests.web.playing_worker import PlayingWorker
from web.page_texts import TEXTS

PHONE, DESKTOP, SMALL = (390, 844), (1280, 800), (320, 568)
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


def _wait_for_a_call(worker: PlayingWorker) -> None:
    resend_at = rfc3339(utc_now() + timedelta(seconds=59))
    worker.ask_code(delivery="sms", next_delivery="call", resend_at=resend_at)


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
    State("code by SMS", "code_required", _wait_for_a_call, CODE),
    State("flood wait", "password_required", _wait_for_telegram),
    State("expired", "expired", lambda worker: worker.finish("expired")),
    State("cancelled", "cancelled", lambda worker: worker.finish("cancelled")),
    *(
        State(f"failed {reason.replace('_', ' ')}", f"reason_{reason}", _fail(reason))
        for reason in (
            "ownership_mismatch",
            "flood_wait",
            "password_attempts_exhausted",
            "code_attempts_exhausted",
            "phone_invalid",
            "account_deactivated",
            "code_undeliverable",
            "account_banned",
            "payment_required",
            "email_setup_required",
            "telegram_unavailable",
        )
    ),
)


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
    text = str(TEXTS[language][key]).replace("{application}", "Acme CRM")
    page.wait_for(f"document.getElementById('status').textContent === {text!r}")
    if state.name == "waiting":
        page.wait_for("!!document.querySelector('#qr svg')")
    if state.name == "flood wait":
        page.wait_for("/4\\d/.test(document.getElementById('password-note').textContent)")
