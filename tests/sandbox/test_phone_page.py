"""The page that plays the phones, in a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from telethon.tl import types

from tests.sandbox.clients import TelethonClients, export, login_url, own_id
from tests.sandbox.conftest import OwnClients
from tests.web.browser import CHROMIUM, Page, browsing

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A phone's screen."""
    with browsing(tmp_path) as opened:
        opened.size(390, 844, phone=True)
        yield opened


def fill(page: Page, form: str, **fields: str) -> None:
    """Fill a form's fields and send it."""
    for name, value in fields.items():
        page.evaluate(f"document.querySelector('#{form} [name={name}]').value = {value!r}")
    page.evaluate(f"document.querySelector('#{form} button').click()")


def shows(page: Page, text: str) -> None:
    """Wait until the page says so."""
    page.wait_for(f"document.body.innerText.includes({text!r})")


async def test_a_person_scans_with_the_page(own_clients: OwnClients, page: Page) -> None:
    """Create an account, scan a link, see the login and a code, end the login; nothing scrolls sideways."""
    clients = own_clients()
    await asyncio.to_thread(page.go, clients.sandbox.control + "/phone")
    shows(page, "Nobody yet")
    fill(page, "create", first_name="Alice", phone="+49 151 12345678")
    shows(page, "Phone of Alice")
    client = await clients.connect(device_model="A laptop")
    fill(page, "scan", url="tg://login?token=AAAA")
    shows(page, "AUTH_TOKEN_INVALID")
    fill(page, "scan", url=login_url((await export(client)).token))
    await asyncio.to_thread(shows, page, "Accepted")
    assert isinstance(await export(client), types.auth.LoginTokenSuccess)
    assert await own_id(client) == clients.sandbox.driver.accounts()[0]["id"]
    await asyncio.to_thread(shows, page, "A laptop")
    await (await clients.connect()).send_code_request("+4915112345678")
    code = clients.sandbox.driver.messages(await own_id(client))[-1]["code"]
    await asyncio.to_thread(shows, page, code)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("document.querySelector('#authorizations button').click()")
    await asyncio.to_thread(shows, page, "Nothing is logged in")
    assert clients.sandbox.driver.authorizations(clients.sandbox.driver.accounts()[0]["id"]) == []
    assert all("400" in complaint for complaint in page.complaints), page.complaints


async def test_names_are_shown_as_text(own_clients: OwnClients, page: Page) -> None:
    """Whatever an account is called, it is no markup."""
    clients: TelethonClients = own_clients()
    clients.sandbox.driver.create_account(first_name="<b id=bold>Bob</b>")
    await asyncio.to_thread(page.go, clients.sandbox.control + "/phone")
    shows(page, "Phone of <b id=bold>Bob</b>")
    assert page.evaluate("document.getElementById('bold') === null")
