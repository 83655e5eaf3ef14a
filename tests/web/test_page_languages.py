"""The hosted page in each of its languages, in a real browser: its plurals, its numbers, its direction, its size."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from app.clock import utc_now
from tests.web.browser import CHROMIUM, Page
from tests.web.live import Live
from tests.web.page_states import DESKTOP, PHONE, SMALL, look
from tests.web.playing_worker import PlayingWorker
from web.page_texts import TEXTS, is_right_to_left

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

_HINT = "the name of that extraordinarily small dog"
_ADDRESS = "a***e@example.com"


def _wait(worker: PlayingWorker) -> None:
    worker.advance(retry_after_at=utc_now() + timedelta(seconds=42))


_SCENES: tuple[tuple[str, Callable[[PlayingWorker], object]], ...] = (
    ("scan", lambda worker: worker.publish_qr()),
    ("password-form", lambda worker: worker.ask_password(hint_text=_HINT)),
    ("password-form", _wait),
    ("code-form", lambda worker: worker.ask_code(delivery="missed_call", length=6, pattern="4477", no_other_way=True)),
    ("code-form", lambda worker: worker.ask_code(delivery="email", length=6, pattern=_ADDRESS)),
    ("done", lambda worker: worker.finish("failed", reason="email_setup_required")),
)


def _said(page: Page) -> str:
    text: str = page.evaluate("document.querySelector('main').innerText")
    return text


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_every_language_fits_every_screen(acme: Live, browser: Page, language: str) -> None:
    """Nothing is wider than a small phone, a phone and a desktop, in light and dark, whatever the page shows."""
    login = acme.start_login(locale=language)
    worker = PlayingWorker(acme.core, login["id"])
    browser.size(*DESKTOP)
    browser.complaints.clear()
    browser.go(login["page_url"])
    for number, (part, play) in enumerate(_SCENES):
        play(worker)
        browser.wait_for(f"!document.getElementById({part!r}).hidden")
        for screen in (DESKTOP, PHONE, SMALL):
            for dark in (False, True):
                browser.size(*screen, dark=dark)
                browser.wait_for(f"innerWidth === {screen[0]}")  # a resize takes a moment to arrive
                assert browser.evaluate("document.documentElement.scrollWidth") <= screen[0], (part, screen)
                if number < 2 and screen == PHONE and dark == (number == 1):
                    look(browser, part, width=screen[0], dark=dark, language=language)
    assert browser.complaints == []
    browser.size(*PHONE, phone=True)
    browser.go(acme.start_login(locale=language)["page_url"])
    assert (browser.evaluate("getComputedStyle(document.documentElement).direction") == "rtl") == is_right_to_left(
        language
    )


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_every_plural_has_each_form_of_its_language(browser: Page, language: str) -> None:
    """Those that the browser will ask for, and no others."""
    options = f"new Intl.PluralRules({language!r}).resolvedOptions()"
    asked_for = browser.evaluate(f"{options}.locale === {language!r} && {options}.pluralCategories")
    for key, text in TEXTS[language].items():
        if not isinstance(text, str):
            assert set(text) == set(asked_for), key


@pytest.mark.parametrize(
    ("language", "attempts_left", "says"),
    [
        ("ru", 2, "Осталось 2 попытки."),
        ("ru", 5, "Осталось 5 попыток."),
        ("ar", 1, "بقيت محاولة واحدة."),
        ("ar", 2, "بقيت محاولتان."),
        ("fa", 3, "۳ تلاش باقی مانده است."),
        ("id", 3, "Sisa 3 percobaan."),
    ],
)
def test_tries_left_are_counted_by_the_rules_of_the_language(
    live: Live, browser: Page, language: str, attempts_left: int, says: str
) -> None:
    """With its own plurals and its own digits."""
    login = live.start_login(locale=language)
    PlayingWorker(live.core, login["id"]).ask_password(attempts_left=attempts_left)
    browser.go(login["page_url"])
    browser.wait_for(f"document.getElementById('password-note').textContent === {says!r}")


@pytest.mark.parametrize(
    ("language", "pause", "countdown"),
    [
        ("ru", r"^Telegram просит сделать паузу\. Продолжить можно через \d+ секунд[уы]?\.$", r"^Осталось \d+:\d\d$"),
        ("de", r"^Telegram bittet um eine Pause\. Weiter geht es in \d+ Sekunden\.$", r"^Noch \d+:\d\d$"),
        (
            "fa",
            r"^تلگرام کمی مکث می‌خواهد\. [\u06f0-\u06f9]+ ثانیه بعد ",
            r"^زمان باقی‌مانده: [\u06f0-\u06f9]+:[\u06f0-\u06f9]{2}$",
        ),
    ],
)
def test_time_is_told_by_the_rules_of_the_language(
    live: Live, browser: Page, language: str, pause: str, countdown: str
) -> None:
    """A pause as a moment from now, in the case that its number asks for; the countdown in the language's digits."""
    login = live.start_login(locale=language)
    worker = PlayingWorker(live.core, login["id"])
    worker.ask_password()
    _wait(worker)
    browser.go(login["page_url"])
    for element, pattern in (("password-note", pause), ("countdown", countdown)):
        browser.wait_for(f"new RegExp({json.dumps(pattern)}).test(document.getElementById({element!r}).textContent)")


def test_the_language_is_switched_on_the_page(live: Live, browser: Page) -> None:
    """The same login goes on in the other language, and from the other direction."""
    login = live.start_login()
    PlayingWorker(live.core, login["id"]).ask_password(hint_text=_HINT)
    browser.size(*PHONE, phone=True)
    browser.go(login["page_url"])
    browser.wait_for("!document.getElementById('password-form').hidden")
    browser.evaluate(
        "const list = document.getElementById('language'); list.value = 'ar';"
        "list.dispatchEvent(new Event('change', { bubbles: true }))"
    )
    browser.wait_for("document.documentElement.lang === 'ar' && !document.getElementById('password-form').hidden")
    assert browser.evaluate("document.documentElement.dir") == "rtl"
    # Isolated: an English hint turns nothing of the Arabic sentence around it.
    assert f"التلميح: \u2068{_HINT}\u2069" in _said(browser)


def test_the_page_is_small(acme: Live) -> None:
    """Under 60 KB in all, in every language, before compression."""
    for language in TEXTS:
        page = acme.call("GET", f"/login/lgn_x?lang={language}")
        assert len(page.content) < 60_000, language
