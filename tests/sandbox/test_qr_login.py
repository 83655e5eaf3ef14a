"""Logging in by QR code with stock Telethon: the token's life, the scan, 2FA, other data centres, reconnects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from telethon import errors
from telethon.tl import types
from telethon.tl.functions import account, auth, updates, users
from telethon.tl.functions.help import (
    GetCdnConfigRequest,
    GetConfigRequest,
    GetCountriesListRequest,
    GetNearestDcRequest,
)

from sandbox.driver import SandboxRefusedError
from tests.sandbox.clients import API_ID, TelethonClients, export, login_token_updates, login_url, own_id, renewed, soon
from tests.sandbox.conftest import OwnClients


async def new_account(clients: TelethonClients, **fields: Any) -> dict[str, Any]:
    """Create an account; a password costs the sandbox a moment."""
    return await asyncio.to_thread(clients.sandbox.driver.create_account, **fields)


async def test_a_scan_logs_the_waiting_client_in(clients: TelethonClients) -> None:
    """The update comes, the next export succeeds, and the client is who scanned."""
    alice = await new_account(clients, first_name="Alice", username="alice", phone="+99966 2 1234")
    client = await clients.connect()
    hints = login_token_updates(client)
    await clients.scan(alice, await export(client))
    await soon(hints.get())
    outcome = await export(client)
    user = outcome.authorization.user
    assert (user.id, user.first_name, user.username, user.phone) == (alice["id"], "Alice", "alice", "9996621234")
    assert await own_id(client) == alice["id"]


async def test_a_token_stays_until_it_expires_and_is_renewed_then(own_clients: OwnClients) -> None:
    """The same bytes before, other bytes after; the old ones are AUTH_TOKEN_EXPIRED by then."""
    clients = own_clients(token_seconds=0.6)
    bob, client = await new_account(clients), await clients.connect()
    first = await export(client)
    assert (await export(client)).token == first.token
    second = await renewed(client, first)
    with pytest.raises(SandboxRefusedError, match="AUTH_TOKEN_EXPIRED"):
        await clients.scan(bob, first)
    await clients.scan(bob, second)
    assert isinstance(await export(client), types.auth.LoginTokenSuccess)


async def test_tokens_belong_to_their_key(clients: TelethonClients) -> None:
    """Two clients have two tokens, and a scan logs in the one whose token it was."""
    alice, one, other = await new_account(clients), await clients.connect(), await clients.connect()
    shown_by_one, shown_by_other = await export(one), await export(other)
    assert shown_by_one.token != shown_by_other.token
    await clients.scan(alice, shown_by_other)
    assert (await export(one)).token == shown_by_one.token
    assert isinstance(await export(other), types.auth.LoginTokenSuccess)


async def test_a_token_is_accepted_once(clients: TelethonClients) -> None:
    """A second scan is AUTH_TOKEN_ALREADY_ACCEPTED, whoever scans."""
    alice, bob = await new_account(clients), await new_account(clients)
    shown = await export(await clients.connect())
    await clients.scan(alice, shown)
    with pytest.raises(SandboxRefusedError, match="AUTH_TOKEN_ALREADY_ACCEPTED"):
        await clients.scan(bob, shown)


@pytest.mark.parametrize("url", ["tg://login?token=AAAA", "tg://login", "https://example.org/", "tg://login?token=%%"])
async def test_a_made_up_token_is_invalid(clients: TelethonClients, url: str) -> None:
    """And so is what is no login URL."""
    alice = await new_account(clients)
    with pytest.raises(SandboxRefusedError, match="AUTH_TOKEN_INVALID"):
        await asyncio.to_thread(clients.sandbox.driver.scan, alice["id"], url)


async def test_an_excepted_account_cannot_log_in_again(clients: TelethonClients) -> None:
    """except_ids names those that the client has already: AUTH_TOKEN_EXCEPTION for them, not for others."""
    alice, bob, client = await new_account(clients), await new_account(clients), await clients.connect()
    shown = await export(client, [alice["id"]])
    with pytest.raises(SandboxRefusedError, match="AUTH_TOKEN_EXCEPTION"):
        await clients.scan(alice, shown)
    await clients.scan(bob, shown)
    assert (await export(client, [alice["id"]])).authorization.user.id == bob["id"]


@pytest.mark.parametrize("accept", ["next_export", "at_once"])
async def test_a_scan_while_the_client_is_away_is_not_lost(clients: TelethonClients, accept: str) -> None:
    """Accepted at once, the key is logged in when it comes back; else its next export logs it in."""
    alice, client = await new_account(clients, accept=accept), await clients.connect()
    shown, session = await export(client), client.session.save()
    await client.disconnect()
    await clients.scan(alice, shown)
    again = await clients.connect(session)
    if accept == "next_export":
        with pytest.raises(errors.AuthKeyUnregisteredError):
            await own_id(again)
        assert clients.sandbox.driver.authorizations(alice["id"]) == []
        await export(again)
    assert await own_id(again) == alice["id"]
    assert len(clients.sandbox.driver.authorizations(alice["id"])) == 1


async def test_a_phone_client_can_scan_by_mtproto(clients: TelethonClients) -> None:
    """auth.acceptLoginToken by a client that is logged in, and the waiting client's update comes."""
    alice = await new_account(clients, accept="at_once")
    phone, waiting = await clients.log_in(alice), await clients.connect()
    hints = login_token_updates(waiting)
    shown = await export(waiting)
    accepted = await phone(auth.AcceptLoginTokenRequest(shown.token))
    assert (accepted.api_id, accepted.hash != 0) == (API_ID, True)
    await soon(hints.get())
    assert await own_id(waiting) == alice["id"]
    with pytest.raises(errors.AuthTokenInvalidError):
        await phone(auth.AcceptLoginTokenRequest(b"made up"))
    with pytest.raises(errors.AuthKeyUnregisteredError):
        await (await clients.connect())(auth.AcceptLoginTokenRequest(shown.token))


async def test_a_password_is_asked_for_and_proved(clients: TelethonClients) -> None:
    """SESSION_PASSWORD_NEEDED, the hint, PASSWORD_HASH_INVALID for a wrong one, then logged in."""
    charlie = await new_account(clients, password="correct horse", hint="battery")
    client = await clients.connect()
    await clients.scan(charlie, await export(client))
    with pytest.raises(errors.SessionPasswordNeededError):
        await export(client)
    asked = await client(account.GetPasswordRequest())
    assert (asked.has_password, asked.hint) == (True, "battery")
    assert clients.sandbox.driver.authorizations(charlie["id"])[0]["password_pending"]
    with pytest.raises(errors.PasswordHashInvalidError):
        await client.sign_in(password="wrong")
    with pytest.raises(errors.SessionPasswordNeededError):
        await own_id(client)
    assert (await client.sign_in(password="correct horse")).id == charlie["id"]
    assert not clients.sandbox.driver.authorizations(charlie["id"])[0]["password_pending"]


async def test_a_pending_password_survives_a_reconnect(clients: TelethonClients) -> None:
    """It belongs to the key, not to the connection."""
    charlie, client = await new_account(clients, password="pw"), await clients.connect()
    await clients.scan(charlie, await export(client))
    with pytest.raises(errors.SessionPasswordNeededError):
        await export(client)
    session = client.session.save()
    await client.disconnect()
    again = await clients.connect(session)
    with pytest.raises(errors.SessionPasswordNeededError):
        await export(again)
    assert (await again.sign_in(password="pw")).id == charlie["id"]


async def test_each_password_try_needs_parameters_of_its_own(clients: TelethonClients) -> None:
    """Used ones, and none at all, are SRP_ID_INVALID; a senseless A is SRP_A_INVALID; nothing is PASSWORD_EMPTY."""
    charlie, client = await new_account(clients, password="pw"), await clients.connect()
    await clients.scan(charlie, await export(client))
    with pytest.raises(errors.SessionPasswordNeededError):
        await export(client)
    asked = await client(account.GetPasswordRequest())
    proof = types.InputCheckPasswordSRP(asked.srp_id, bytes([9] * 256), bytes(32))
    for expected in (errors.PasswordHashInvalidError, errors.SrpIdInvalidError):
        with pytest.raises(expected):
            await client(auth.CheckPasswordRequest(proof))
    asked = await client(account.GetPasswordRequest())
    with pytest.raises(errors.RPCError, match="SRP_A_INVALID"):
        await client(auth.CheckPasswordRequest(types.InputCheckPasswordSRP(asked.srp_id, b"\1", bytes(32))))
    with pytest.raises(errors.PasswordEmptyError):
        await client(auth.CheckPasswordRequest(types.InputCheckPasswordEmpty()))


@pytest.mark.parametrize("password", [None, "pw"])
async def test_an_account_of_another_data_centre_is_imported_there(
    clients: TelethonClients, password: str | None
) -> None:
    """loginTokenMigrateTo, the same client on the other data centre, then Success, or the password there."""
    bob, client = await new_account(clients, dc_id=3, password=password), await clients.connect()
    await clients.scan(bob, await export(client))
    outcome = await export(client)
    assert isinstance(outcome, types.auth.LoginTokenMigrateTo)
    assert outcome.dc_id == 3
    assert (await export(client)).token == outcome.token
    await client._switch_dc(3)
    if password:
        with pytest.raises(errors.SessionPasswordNeededError):
            await client(auth.ImportLoginTokenRequest(outcome.token))
        await client.sign_in(password=password)
    else:
        assert isinstance(await client(auth.ImportLoginTokenRequest(outcome.token)), types.auth.LoginTokenSuccess)
    assert await own_id(client) == bob["id"]
    assert len(clients.sandbox.driver.authorizations(bob["id"])) == 1


async def test_an_import_has_its_errors(own_clients: OwnClients) -> None:
    """Made up, expired (a slow migration), used by another key, and asked of a third data centre."""
    clients = own_clients(token_seconds=0.5)
    bob, client = await new_account(clients, dc_id=3), await clients.connect()
    await clients.scan(bob, await export(client))
    outcome = await export(client)
    there, elsewhere = await clients.connect(dc_id=3), await clients.connect(dc_id=1)
    assert (await elsewhere(auth.ImportLoginTokenRequest(outcome.token))).dc_id == 3
    with pytest.raises(errors.AuthTokenInvalidError):
        await there(auth.ImportLoginTokenRequest(b"made up"))
    later = await renewed(client, outcome)
    with pytest.raises(errors.AuthTokenExpiredError):
        await there(auth.ImportLoginTokenRequest(outcome.token))
    await there(auth.ImportLoginTokenRequest(later.token))
    assert await own_id(there) == bob["id"]
    assert isinstance(await there(auth.ImportLoginTokenRequest(later.token)), types.auth.LoginTokenSuccess)
    with pytest.raises(errors.AuthTokenAlreadyAcceptedError):
        await (await clients.connect(dc_id=3))(auth.ImportLoginTokenRequest(later.token))


async def test_api_credentials_are_checked(clients: TelethonClients, own_clients: OwnClients) -> None:
    """Empty ones never pass; with --api-id and --api-hash only these do."""
    client = await clients.connect()
    for api_id, api_hash in ((0, "x"), (API_ID, "")):
        with pytest.raises(errors.ApiIdInvalidError):
            await client(auth.ExportLoginTokenRequest(api_id, api_hash, []))
    strict = own_clients(api_id=API_ID, api_hash="right")
    client = await strict.connect()
    assert (await client(auth.ExportLoginTokenRequest(API_ID, "right", []))).token
    with pytest.raises(errors.ApiIdInvalidError):
        await export(client)


async def test_a_client_that_wants_no_updates_gets_none(clients: TelethonClients) -> None:
    """invokeWithoutUpdates, which is what receive_updates=False means."""
    alice, client = await new_account(clients), await clients.connect(receive_updates=False)
    hints = login_token_updates(client)
    await clients.scan(alice, await export(client))
    assert await client.get_me() is None
    await export(client)
    assert await own_id(client) == alice["id"]
    assert hints.empty()


async def test_what_a_client_asks_on_connecting_is_answered(clients: TelethonClients) -> None:
    """Config, nearest data centre, state, difference, profile; other people are unknown."""
    alice = await new_account(clients)
    client = await clients.log_in(alice)
    config = await client(GetConfigRequest())
    assert config.this_dc == (await client(GetNearestDcRequest())).nearest_dc == 2
    assert {option.id: option.port for option in config.dc_options} == clients.sandbox.dcs
    assert (await client(updates.GetStateRequest())).pts == 1
    difference = updates.GetDifferenceRequest(pts=1, date=None, qts=0)
    assert isinstance(await client(difference), types.updates.DifferenceEmpty)
    assert (await client(users.GetFullUserRequest(types.InputUserSelf()))).users[0].id == alice["id"]
    assert isinstance((await client(users.GetUsersRequest([types.InputUser(1, 1)])))[0], types.UserEmpty)
    assert await client(account.UpdateStatusRequest(offline=True))
    assert (await client(GetCdnConfigRequest())).public_keys == []


async def test_a_method_that_the_sandbox_does_not_have_says_so(clients: TelethonClients) -> None:
    """METHOD_INVALID when logged in, AUTH_KEY_UNREGISTERED before, and the connection lives on."""
    client = await clients.connect()
    with pytest.raises(errors.AuthKeyUnregisteredError):
        await client(account.GetAccountTTLRequest())
    with pytest.raises(errors.MethodInvalidError):  # which nobody need be logged in for
        await client(GetCountriesListRequest("en", 0))
    client = await clients.log_in(await new_account(clients))
    with pytest.raises(errors.MethodInvalidError):
        await client(account.GetAccountTTLRequest())
    assert await own_id(client)


def test_the_login_url_is_what_apps_show() -> None:
    """base64url without padding."""
    assert login_url(b"\xfb\xff\xfe\x00") == "tg://login?token=-__-AA"
