"""The page that plays the phones, in a real browser.

With ``SCREENSHOTS=folder`` (``make screenshots``) the page in use is also kept as pictures.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from telethon.errors import SessionPasswordNeededError
from telethon.tl import types

from tests.sandbox.clients import TelethonClients, export, own_id
from tests.sandbox.conftest import OwnClients
from tests.web.axe import NotAtHand, findings, install_axe
from tests.web.browser import CHROMIUM, Page, browsing

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

SCREENS = (("phone-390", 390, False), ("phone-1280", 1280, False), ("phone-390-dark", 390, True))
"""Name, width in CSS pixels, dark."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for all of these tests."""
    with browsing(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def axe(pytestconfig: pytest.Config) -> str:
    """The script of axe-core; where it cannot be had, the test is left out and says why."""
    assert pytestconfig.cache is not None
    try:
        return install_axe(pytestconfig.cache.mkdir("axe-core"))
    except NotAtHand as exc:
        pytest.skip(str(exc))


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """A phone's screen; it turns to nothing before the test's sandbox ends."""
    browser.size(390, 844, phone=True)
    browser.complaints.clear()
    browser.expected = ()
    yield browser
    browser.go("about:blank")


PACE_SECONDS = 0.25  # between two calls, as good clients keep it: the page would count shorter ones in red


async def waits(page: Page, expression: str) -> Any:
    """Wait until an expression is true, while clients go on."""
    return await asyncio.to_thread(page.wait_for, f"!!({expression})")


async def shows(page: Page, element: str, text: str) -> None:
    """Wait until the element with this id says so."""
    await waits(page, f"document.getElementById({element!r}).innerText.includes({text!r})")


async def taps(page: Page, selector: str) -> None:
    """Tap what a selector finds, once it can be seen."""
    await waits(page, f"document.querySelector({selector!r}).checkVisibility()")
    await asyncio.to_thread(page.evaluate, f"document.querySelector({selector!r}).click()")


async def flips(page: Page, switch: str, *, on: bool) -> None:
    """Tap the switch with this name, and wait until it stands so."""
    await taps(page, f"#switch-{switch}")
    await waits(page, f"document.getElementById('switch-{switch}').ariaChecked === '{str(on).lower()}'")


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until the sandbox is as it should be."""
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.05)


async def opened(page: Page, clients: TelethonClients) -> None:
    """Open the page of these clients' sandbox."""
    await asyncio.to_thread(page.go, clients.sandbox.control + "/phone")


def keep_pictures(page: Page) -> None:
    """Nothing is wider than any screen; the pictures are kept if that is asked for."""
    page.evaluate("document.getElementById('said').textContent = ''")  # it covers what is to be seen
    for name, width, dark in SCREENS:
        page.size(width, 1000, phone=width == 390, dark=dark)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        if folder := os.environ.get("SCREENSHOTS"):
            page.wait_for("document.getAnimations().every(each => each.playState === 'finished')")
            page.screenshot(Path(folder) / f"{name}.png")
    page.size(390, 844, phone=True)


async def test_a_person_scans_with_one_tap(own_clients: OwnClients, page: Page) -> None:
    """An account in a tap; a login that waits, by itself; a tap logs it in; a code appears; a tap ends the login."""
    clients = own_clients()
    driver = clients.sandbox.driver
    await opened(page, clients)
    await taps(page, "#first")
    await shows(page, "owner", "Alice")
    await shows(page, "waiting", "Nothing is waiting")
    alice = driver.accounts()[0]
    client, other = await clients.connect(device_model="A laptop"), await clients.connect()
    await asyncio.sleep(PACE_SECONDS)
    await export(client)
    await shows(page, "waiting", "A laptop")
    await other.send_code_request("+" + alice["phone"])
    assert driver.stats()["violations"]["unpaced"] == 0
    code = driver.messages(alice["id"])[-1]["code"]
    await shows(page, "notices", code)
    await asyncio.to_thread(keep_pictures, page)
    await asyncio.to_thread(page.click, "document.querySelector('#waiting button')")
    await shows(page, "said", "A laptop is being logged in as Alice")
    await shows(page, "waiting", "Nothing is waiting")
    assert isinstance(await export(client), types.auth.LoginTokenSuccess)
    assert await own_id(client) == alice["id"]
    await shows(page, "devices", "A laptop")
    await taps(page, ".notice button:last-child")
    await waits(page, "!document.getElementById('notices').children.length")
    await shows(page, "codes", code)
    await taps(page, "#devices button")
    await shows(page, "devices", "Nothing is logged in")
    assert driver.authorizations(alice["id"]) == []
    assert page.complaints == []


async def test_a_token_that_is_renewed_keeps_its_row_its_place_and_its_focus(
    own_clients: OwnClients, page: Page
) -> None:
    """Who is about to press Scan by keyboard does so, though the code behind it is another one by then."""
    clients = own_clients(token_seconds=4)
    clients.sandbox.driver.create_account()
    client, other = await clients.connect(device_model="A laptop"), await clients.connect(device_model="A tablet")
    await opened(page, clients)
    first = await export(client)
    await export(other)
    await shows(page, "waiting", "A laptop")
    await shows(page, "waiting", "A tablet")
    page.evaluate("document.querySelector('#waiting button').focus()")
    while (await export(client)).token == first.token:  # noqa: ASYNC110 - only asking tells
        await asyncio.sleep(0.2)
    await waits(page, "/ [1-4] s more/.test(document.getElementById('waiting').innerText)")
    assert page.evaluate("document.activeElement === document.querySelector('#waiting button')")
    assert page.evaluate("document.querySelector('#waiting .name').textContent") == "A laptop"
    await asyncio.to_thread(page.type, "")  # Enter
    await shows(page, "said", "Accepted")


async def test_a_refused_scan_says_why(own_clients: OwnClients, page: Page) -> None:
    """In words, with Telegram's name for it."""
    clients = own_clients()
    clients.sandbox.driver.create_account()
    await opened(page, clients)
    page.expected = ("400",)
    await export(await clients.connect())
    await flips(page, "refused-scans", on=True)
    await taps(page, "#waiting button")
    await shows(page, "said", "has just run out")
    await shows(page, "said", "AUTH_TOKEN_EXPIRED")
    assert page.complaints == []


async def test_a_password_is_set_and_removed(own_clients: OwnClients, page: Page) -> None:
    """The switch opens a form; the next login is asked for the password, with its hint; a tap removes it."""
    clients = own_clients()
    alice = clients.sandbox.driver.create_account()
    await opened(page, clients)
    await taps(page, "#switch-password")
    await waits(page, "document.activeElement.name === 'password'")
    page.evaluate("document.querySelector('#password [name=hint]').value = 'the usual'")
    await asyncio.to_thread(page.type, "secret")
    await shows(page, "two-step", "the usual")
    client = await clients.connect()
    await export(client)
    await taps(page, "#waiting button")
    await shows(page, "said", "It will ask for the 2FA password")
    with pytest.raises(SessionPasswordNeededError):
        await export(client)
    await client.sign_in(password="secret")
    assert await own_id(client) == alice["id"]
    await flips(page, "password", on=False)
    assert clients.sandbox.driver.accounts()[0]["has_password"] is False
    assert page.complaints == []


async def test_switches_stand_as_the_sandbox_does(own_clients: OwnClients, page: Page) -> None:
    """Network, account and faults: a tap changes them, and the page follows what others change."""
    clients = own_clients()
    driver = clients.sandbox.driver
    alice = driver.create_account()
    await opened(page, clients)
    await taps(page, "#network [value=refuse]")
    await waits(page, "document.querySelector('#network [value=refuse]').ariaPressed === 'true'")
    with pytest.raises(ConnectionError):
        await clients.connect(connection_retries=0)
    driver.network("ok", latency_ms=700)
    await waits(page, "document.querySelector('#network [value=ok]').ariaPressed === 'true'")
    await waits(page, "document.getElementById('switch-slow').ariaChecked === 'true'")
    await flips(page, "slow", on=False)
    await taps(page, "#standing [value=banned]")
    await eventually(lambda: driver.accounts()[0]["state"] == "banned")
    await flips(page, "lost-updates", on=True)
    kept = driver.add_fault("auth.signIn", silent=True, user_id=alice["id"])
    await shows(page, "other-faults", "auth.signIn")
    await flips(page, "lost-updates", on=False)
    assert driver.faults() == [kept]
    await taps(page, "#other-faults button")
    await eventually(lambda: driver.faults() == [])
    assert page.complaints == []


async def test_everybody_can_use_it(own_clients: OwnClients, page: Page, axe: str) -> None:
    """axe-core finds nothing, for nobody's phone and for one in use, on a phone and a desktop, light and dark."""
    clients = own_clients()
    driver = clients.sandbox.driver

    def finds_nothing() -> None:
        for width in (390, 1280):
            for dark in (False, True):
                page.size(width, 900, phone=width == 390, dark=dark)
                page.wait_for("document.getAnimations().every(each => each.playState === 'finished')")
                assert findings(page, axe) == [], (width, dark)

    await opened(page, clients)
    await shows(page, "nobody", "belongs to nobody yet")
    await asyncio.to_thread(finds_nothing)
    alice = driver.create_account(accept="at_once", password="secret", hint="the usual")
    driver.add_fault("auth.signIn", silent=True)
    await clients.log_in(alice, password="secret")
    client = await clients.connect()
    await export(client)
    await client.send_code_request("+" + alice["phone"])
    await taps(page, "summary")
    await shows(page, "notices", "Copy")
    await waits(page, "document.querySelector('#waiting button')")
    await asyncio.to_thread(finds_nothing)


async def test_names_are_shown_as_text(own_clients: OwnClients, page: Page) -> None:
    """Whatever an account or a device is called, it is no markup."""
    clients = own_clients()
    clients.sandbox.driver.create_account(first_name="<b id=bold>Bob</b>")
    await export(await clients.connect(device_model="<i id=italic>A laptop</i>"))
    await opened(page, clients)
    await shows(page, "owner", "<b id=bold>Bob</b>")
    await shows(page, "waiting", "<i id=italic>A laptop</i>")
    assert page.evaluate("document.getElementById('bold') === null && document.getElementById('italic') === null")


async def test_a_bad_number_is_told_and_keeps_the_form(own_clients: OwnClients, page: Page) -> None:
    """What was typed stays, to be mended."""
    clients = own_clients()
    clients.sandbox.driver.create_account()
    await opened(page, clients)
    page.expected = ("400",)
    await taps(page, "summary")
    page.evaluate("document.querySelector('#create [name=phone]').value = 'home'")
    await taps(page, "#create button")
    await shows(page, "said", "phone must hold 5 to 15 digits")
    assert page.evaluate("document.querySelector('#create [name=phone]').value") == "home"
