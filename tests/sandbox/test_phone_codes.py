"""Logging in by phone code: where the code goes, how it ends, and every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from telethon import errors
from telethon.tl import types
from telethon.tl.functions import auth

from tests.sandbox.clients import API_HASH, API_ID, TelethonClients, own_id
from tests.sandbox.conftest import OwnClients


async def send_code(client: Any, phone: str) -> Any:
    """Ask for a code with the raw request."""
    return await client(auth.SendCodeRequest(phone, API_ID, API_HASH, types.CodeSettings()))


def last_code(clients: TelethonClients, account: dict[str, Any]) -> str:
    """Read the code from the account's phone."""
    return str(clients.sandbox.driver.messages(account["id"])[-1]["code"])


async def test_the_code_on_the_phone_logs_in(clients: TelethonClients) -> None:
    """It comes in the app, has five digits, and works once."""
    alice, client = clients.sandbox.driver.create_account(), await clients.connect()
    sent = await send_code(client, "+" + alice["phone"])
    assert isinstance(sent.type, types.auth.SentCodeTypeApp)
    message = clients.sandbox.driver.messages(alice["id"])[-1]
    assert (message["delivery"], len(message["code"]), message["code"] in message["text"]) == ("app", 5, True)
    signed_in = await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, message["code"]))
    assert signed_in.user.id == await own_id(client) == alice["id"]
    with pytest.raises(errors.PhoneCodeExpiredError):
        await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, message["code"]))


async def test_a_wrong_code_is_refused_and_the_right_one_still_works(clients: TelethonClients) -> None:
    """PHONE_CODE_INVALID for a wrong one, PHONE_CODE_EMPTY for none."""
    alice, client = clients.sandbox.driver.create_account(), await clients.connect()
    sent, code = await send_code(client, alice["phone"]), last_code(clients, alice)
    wrong = f"{(int(code) + 1) % 100_000:05d}"
    with pytest.raises(errors.PhoneCodeInvalidError):
        await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, wrong))
    with pytest.raises(errors.PhoneCodeEmptyError):
        await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, ""))
    await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, code))


async def test_a_code_belongs_to_its_hash_number_and_key(clients: TelethonClients) -> None:
    """With another hash, another number or on another client it is PHONE_CODE_EXPIRED."""
    driver = clients.sandbox.driver
    alice, bob, client = driver.create_account(), driver.create_account(), await clients.connect()
    sent, code = await send_code(client, alice["phone"]), last_code(clients, alice)
    for caller, phone, phone_code_hash in (
        (client, alice["phone"], "made up"),
        (client, bob["phone"], sent.phone_code_hash),
        (await clients.connect(), alice["phone"], sent.phone_code_hash),
    ):
        with pytest.raises(errors.PhoneCodeExpiredError):
            await caller(auth.SignInRequest(phone, phone_code_hash, code))
    with pytest.raises(errors.PhoneCodeHashEmptyError):
        await client(auth.SignInRequest(alice["phone"], "", code))


async def test_a_second_code_comes_by_another_way_and_ends_the_first(clients: TelethonClients) -> None:
    """auth.resendCode: by SMS, with a hash of its own."""
    alice, client = clients.sandbox.driver.create_account(), await clients.connect()
    first, first_code = await send_code(client, alice["phone"]), last_code(clients, alice)
    second = await client(auth.ResendCodeRequest(alice["phone"], first.phone_code_hash))
    assert isinstance(second.type, types.auth.SentCodeTypeSms)
    with pytest.raises(errors.PhoneCodeExpiredError):
        await client(auth.SignInRequest(alice["phone"], first.phone_code_hash, first_code))
    await client(auth.SignInRequest(alice["phone"], second.phone_code_hash, last_code(clients, alice)))


async def test_a_cancelled_code_is_gone(clients: TelethonClients) -> None:
    """auth.cancelCode, and what comes after it is PHONE_CODE_EXPIRED."""
    alice, client = clients.sandbox.driver.create_account(), await clients.connect()
    sent = await send_code(client, alice["phone"])
    assert await client(auth.CancelCodeRequest(alice["phone"], sent.phone_code_hash))
    with pytest.raises(errors.PhoneCodeExpiredError):
        await client(auth.ResendCodeRequest(alice["phone"], sent.phone_code_hash))


async def test_codes_expire(own_clients: OwnClients) -> None:
    """With --code-seconds 0 at once."""
    clients = own_clients(code_seconds=0)
    alice, client = clients.sandbox.driver.create_account(), await clients.connect()
    sent = await send_code(client, alice["phone"])
    with pytest.raises(errors.PhoneCodeExpiredError):
        await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, last_code(clients, alice)))


async def test_a_password_follows_the_code(clients: TelethonClients) -> None:
    """SESSION_PASSWORD_NEEDED, and checkPassword finishes the login."""
    charlie, client = clients.sandbox.driver.create_account(password="pw"), await clients.connect()
    sent = await send_code(client, charlie["phone"])
    with pytest.raises(errors.SessionPasswordNeededError):
        await client(auth.SignInRequest(charlie["phone"], sent.phone_code_hash, last_code(clients, charlie)))
    assert (await client.sign_in(password="pw")).id == charlie["id"]


async def test_numbers_are_checked(clients: TelethonClients) -> None:
    """No number, a banned one, one of another data centre, one that nobody has."""
    driver, client = clients.sandbox.driver, await clients.connect()
    banned, far = driver.create_account(), driver.create_account(dc_id=3)
    driver.set_state(banned["id"], "banned")
    with pytest.raises(errors.PhoneNumberInvalidError):
        await client(auth.SendCodeRequest("not a number", API_ID, API_HASH, types.CodeSettings()))
    with pytest.raises(errors.PhoneNumberBannedError):
        await client(auth.SendCodeRequest(banned["phone"], API_ID, API_HASH, types.CodeSettings()))
    with pytest.raises(errors.ApiIdInvalidError):
        await client(auth.SendCodeRequest(far["phone"], API_ID, "", types.CodeSettings()))
    sent = await send_code(client, "15551234567")
    with pytest.raises(errors.PhoneNumberUnoccupiedError):
        await client(auth.SignInRequest("15551234567", sent.phone_code_hash, "12345"))


async def test_a_number_of_another_data_centre_is_sent_there(clients: TelethonClients) -> None:
    """PHONE_MIGRATE_3, which Telethon follows by itself."""
    bob, client = clients.sandbox.driver.create_account(dc_id=3), await clients.connect()
    sent = await client.send_code_request("+" + bob["phone"])
    assert client.session.dc_id == 3
    await client.sign_in(bob["phone"], last_code(clients, bob), phone_code_hash=sent.phone_code_hash)
    assert await own_id(client) == bob["id"]
    assert clients.sandbox.driver.stats()["calls"]["auth.sendCode"] >= 2


SENT_TYPES = {
    "app": types.auth.SentCodeTypeApp,
    "sms": types.auth.SentCodeTypeSms,
    "call": types.auth.SentCodeTypeCall,
    "flash_call": types.auth.SentCodeTypeFlashCall,
    "missed_call": types.auth.SentCodeTypeMissedCall,
    "fragment": types.auth.SentCodeTypeFragmentSms,
    "firebase": types.auth.SentCodeTypeFirebaseSms,
    "word": types.auth.SentCodeTypeSmsWord,
    "phrase": types.auth.SentCodeTypeSmsPhrase,
}


@pytest.mark.parametrize("delivery", sorted(SENT_TYPES))
async def test_a_code_comes_in_the_way_that_the_account_has(clients: TelethonClients, delivery: str) -> None:
    """Each way says what it is, the owner sees the code, and the code logs in."""
    alice = clients.sandbox.driver.create_account(code_deliveries=[delivery])
    client = await clients.connect()
    sent = await send_code(client, alice["phone"])
    assert type(sent.type) is SENT_TYPES[delivery]
    code = last_code(clients, alice)
    beginning = getattr(sent.type, "beginning", None)
    assert beginning is None or code.startswith(beginning)
    await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, code))
    assert await own_id(client) == alice["id"]


async def test_an_emailed_code_belongs_into_the_email_verification(clients: TelethonClients) -> None:
    """As a phone code it is wrong; a wrong one there is CODE_INVALID."""
    alice, client = clients.sandbox.driver.create_account(code_deliveries=["email"]), await clients.connect()
    sent, code = await send_code(client, alice["phone"]), last_code(clients, alice)
    assert isinstance(sent.type, types.auth.SentCodeTypeEmailCode)
    assert "@" in sent.type.email_pattern
    with pytest.raises(errors.PhoneCodeInvalidError):
        await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, code))
    wrong = types.EmailVerificationCode("0" if code != "0" else "1")
    with pytest.raises(errors.CodeInvalidError):
        await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, email_verification=wrong))
    right = types.EmailVerificationCode(code)
    await client(auth.SignInRequest(alice["phone"], sent.phone_code_hash, email_verification=right))
    assert await own_id(client) == alice["id"]


async def test_the_next_way_is_used_when_it_is_asked_for(clients: TelethonClients) -> None:
    """One after the other as the account has them; after the last one there is none."""
    alice = clients.sandbox.driver.create_account(code_deliveries=["app", "missed_call"])
    client = await clients.connect()
    first = await send_code(client, alice["phone"])
    assert isinstance(first.next_type, types.auth.CodeTypeMissedCall)
    second = await client(auth.ResendCodeRequest(alice["phone"], first.phone_code_hash))
    assert isinstance(second.type, types.auth.SentCodeTypeMissedCall)
    assert len(last_code(clients, alice)) == second.type.length
    with pytest.raises(errors.SendCodeUnavailableError):
        await client(auth.ResendCodeRequest(alice["phone"], second.phone_code_hash))


async def test_what_telegram_wants_before_a_code(clients: TelethonClients) -> None:
    """A payment, an e-mail address, or nothing at all: no code is sent."""
    driver = clients.sandbox.driver
    payment, setup, success = (
        driver.create_account(code_deliveries=[way]) for way in ("payment", "email_setup", "success")
    )
    client = await clients.connect()
    assert isinstance(await send_code(client, payment["phone"]), types.auth.SentCodePaymentRequired)
    sent = await send_code(client, setup["phone"])
    assert isinstance(sent.type, types.auth.SentCodeTypeSetUpEmailRequired)
    assert isinstance(await send_code(client, success["phone"]), types.auth.SentCodeSuccess)
    assert await own_id(client) == success["id"]
    assert [driver.messages(each["id"]) for each in (payment, setup, success)] == [[], [], []]
