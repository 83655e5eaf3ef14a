"""How logins are listed and how they end: by log-out, from the phone, by another client, by a ban."""

from __future__ import annotations

from typing import Any

import pytest
from telethon import errors
from telethon.tl.functions import account, auth

from tests.sandbox.clients import API_ID, TelethonClients, export, own_id
from tests.sandbox.conftest import OwnClients


async def test_logins_are_listed_on_both_sides(clients: TelethonClients) -> None:
    """The phone sees device and api_id; a client sees itself first, with hash 0."""
    alice = clients.sandbox.driver.create_account()
    one, _other = await clients.log_in(alice), await clients.log_in(alice)
    listed = clients.sandbox.driver.authorizations(alice["id"])
    assert [(a["api_id"], a["password_pending"]) for a in listed] == [(API_ID, False)] * 2
    assert listed[0]["auth_key_id"] == f"{one.session.auth_key.key_id:016x}"
    own, other = (await one(account.GetAuthorizationsRequest())).authorizations
    assert (own.current, own.hash, other.current, str(other.hash)) == (True, 0, False, listed[1]["hash"])


async def test_logging_out_ends_the_login(clients: TelethonClients) -> None:
    """The key is AUTH_KEY_UNREGISTERED afterwards, and may log in again."""
    alice = clients.sandbox.driver.create_account()
    client = await clients.log_in(alice)
    await client(auth.LogOutRequest())
    assert clients.sandbox.driver.authorizations(alice["id"]) == []
    for request in (auth.LogOutRequest(), account.GetAuthorizationsRequest()):
        with pytest.raises(errors.AuthKeyUnregisteredError):
            await client(request)
    await clients.scan(alice, await export(client))
    await export(client)
    assert await own_id(client) == alice["id"]


async def test_a_begun_login_can_be_taken_back(clients: TelethonClients) -> None:
    """Log-out with the password pending, or before the scan was claimed, leaves nothing behind."""
    driver = clients.sandbox.driver
    for fields in ({"password": "pw"}, {}):
        charlie, client = driver.create_account(**fields), await clients.connect()
        await clients.scan(charlie, await export(client))
        if fields:
            with pytest.raises(errors.SessionPasswordNeededError):
                await export(client)
        await client(auth.LogOutRequest())
        assert (await export(client)).token
        assert driver.authorizations(charlie["id"]) == []


async def test_the_phone_ends_one_login(clients: TelethonClients) -> None:
    """That one is AUTH_KEY_UNREGISTERED, the other lives."""
    driver = clients.sandbox.driver
    alice = driver.create_account()
    one, other = await clients.log_in(alice), await clients.log_in(alice)
    assert driver.terminate(alice["id"], driver.authorizations(alice["id"])[0]["hash"]) == {"terminated": 1}
    with pytest.raises(errors.AuthKeyUnregisteredError):
        await own_id(one)
    assert await own_id(other) == alice["id"]


async def test_the_phone_ends_all_logins(clients: TelethonClients) -> None:
    """These are SESSION_REVOKED, also when the client comes back."""
    alice = clients.sandbox.driver.create_account()
    client = await clients.log_in(alice)
    session = client.session.save()
    assert clients.sandbox.driver.terminate(alice["id"]) == {"terminated": 1}
    with pytest.raises(errors.SessionRevokedError):
        await own_id(client)
    await client.disconnect()
    with pytest.raises(errors.SessionRevokedError):
        await own_id(await clients.connect(session))


async def test_a_new_login_may_not_end_others(clients: TelethonClients) -> None:
    """FRESH_RESET_AUTHORISATION_FORBIDDEN in the first 24 h, for one and for all; its own end is free."""
    driver = clients.sandbox.driver
    alice = driver.create_account()
    one, _other = await clients.log_in(alice), await clients.log_in(alice)
    victim = int(driver.authorizations(alice["id"])[1]["hash"])
    for request in (account.ResetAuthorizationRequest(victim), auth.ResetAuthorizationsRequest()):
        with pytest.raises(errors.FreshResetAuthorisationForbiddenError):
            await one(request)
    with pytest.raises(errors.HashInvalidError):
        await one(account.ResetAuthorizationRequest(1))
    assert len(driver.authorizations(alice["id"])) == 2


async def test_an_old_login_may_end_others(own_clients: OwnClients) -> None:
    """One of them, or all but its own."""
    clients = own_clients(fresh_seconds=0)
    driver = clients.sandbox.driver
    alice = driver.create_account()
    one, two, three = [await clients.log_in(alice) for _ in range(3)]
    victim = int(driver.authorizations(alice["id"])[1]["hash"])
    assert await one(account.ResetAuthorizationRequest(victim))
    with pytest.raises(errors.AuthKeyUnregisteredError):
        await own_id(two)
    assert await one(auth.ResetAuthorizationsRequest())
    with pytest.raises(errors.SessionRevokedError):
        await own_id(three)
    assert await own_id(one) == alice["id"]


@pytest.mark.parametrize(
    ("state", "refusal"),
    [("banned", errors.UserDeactivatedBanError), ("deactivated", errors.UserDeactivatedError)],
)
async def test_an_account_out_of_order_says_so(clients: TelethonClients, state: str, refusal: Any) -> None:
    """Every call of its logins is refused, its phone cannot scan, and both work again afterwards."""
    driver = clients.sandbox.driver
    bob = driver.create_account()
    client, waiting = await clients.log_in(bob), await clients.connect()
    shown = await export(waiting)
    driver.set_state(bob["id"], state)
    with pytest.raises(refusal):
        await own_id(client)
    with pytest.raises(Exception, match="USER_DEACTIVATED"):
        await clients.scan(bob, shown)
    driver.set_state(bob["id"], "active")
    assert await own_id(client) == bob["id"]
    await clients.scan(bob, shown)


async def test_a_login_can_be_carried_to_another_data_centre(clients: TelethonClients) -> None:
    """auth.exportAuthorization there and back: once, to that data centre, for that user."""
    alice = clients.sandbox.driver.create_account()
    client, there = await clients.log_in(alice), await clients.connect(dc_id=3)
    ticket = await client(auth.ExportAuthorizationRequest(3))
    with pytest.raises(errors.UserIdInvalidError):
        await there(auth.ImportAuthorizationRequest(1, ticket.bytes))
    assert (await there(auth.ImportAuthorizationRequest(ticket.id, ticket.bytes))).user.id == alice["id"]
    assert await own_id(there) == alice["id"]
    with pytest.raises(errors.AuthBytesInvalidError):
        await there(auth.ImportAuthorizationRequest(ticket.id, ticket.bytes))
    for dc_id in (2, 9):
        with pytest.raises(errors.DcIdInvalidError):
            await client(auth.ExportAuthorizationRequest(dc_id))
