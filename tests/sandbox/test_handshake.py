"""The auth key exchange: its arithmetic, its two paddings, its failures, and every way to get it wrong."""

from __future__ import annotations

import asyncio
import os
import secrets
from hashlib import sha1, sha256
from typing import Any

import cryptg
import pytest
import rsa
from flint import fmpz
from pyrogram.crypto.prime import CURRENT_DH_PRIME
from telethon import helpers
from telethon.crypto import AES, AuthKey
from telethon.crypto.rsa import _compute_fingerprint
from telethon.extensions import BinaryReader
from telethon.password import check_prime_and_good
from telethon.tl import functions, types

from sandbox.mtproto import arithmetic as maths
from sandbox.mtproto.auth_keys import KeyRing
from sandbox.mtproto.handshake import Exchange, ExchangeError
from tests.sandbox.clients import TelethonClients

SERVER_KEY = maths.ServerKey.generate()
PUBLIC = rsa.PublicKey.load_pkcs1(SERVER_KEY.public_pem.encode())


def number_of(data: bytes) -> int:
    """Read a nonce."""
    return int.from_bytes(data, "little", signed=True)


def encrypt_by_rsa_pad(data: bytes) -> bytes:
    """Pad and encrypt as today's official apps do."""
    padded = data + os.urandom(192 - len(data))
    while True:
        key = os.urandom(32)
        hashed = padded[::-1] + sha256(key + padded).digest()
        encrypted = cryptg.encrypt_ige(hashed, key, bytes(32))
        masked = bytes(a ^ b for a, b in zip(key, sha256(encrypted).digest(), strict=True))
        number = int.from_bytes(masked + encrypted, "big")
        if number < PUBLIC.n:
            return pow(number, PUBLIC.e, PUBLIC.n).to_bytes(256, "big")


def encrypt_by_sha1(data: bytes) -> bytes:
    """Pad and encrypt as older clients do."""
    padded = sha1(data).digest() + data + os.urandom(235 - len(data))
    return pow(int.from_bytes(padded, "big"), PUBLIC.e, PUBLIC.n).to_bytes(256, "big")


class Client:
    """The client's side of one exchange, step by step, each of which a test may spoil."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.nonce, self.new_nonce = number_of(os.urandom(16)), number_of(os.urandom(32))
        self.retry_id = 0
        self.key = AuthKey(None)

    def ask_for_pq(self) -> Any:
        self.res_pq = self.exchange.answer(functions.ReqPqMultiRequest(self.nonce))
        self.p, self.q = cryptg.factorize_pq_pair(int.from_bytes(self.res_pq.pq, "big"))
        return self.res_pq

    def inner_data(self, kind: Any = types.PQInnerData, **extra: int) -> bytes:
        p, q = self.p.to_bytes(4, "big"), self.q.to_bytes(4, "big")
        nonces = (self.nonce, self.res_pq.server_nonce, self.new_nonce)
        return bytes(kind(self.res_pq.pq, p, q, *nonces, **extra))

    def ask_for_dh(self, encrypted: bytes | None = None, **spoiled: Any) -> Any:
        request = {
            "nonce": self.nonce,
            "server_nonce": self.res_pq.server_nonce,
            "p": self.p.to_bytes(4, "big"),
            "q": self.q.to_bytes(4, "big"),
            "public_key_fingerprint": SERVER_KEY.fingerprint,
            "encrypted_data": encrypted or encrypt_by_sha1(self.inner_data()),
        }
        failure = spoiled.pop("failure", None)
        return self.exchange.answer(functions.ReqDHParamsRequest(**{**request, **spoiled}), failure=failure)

    def read_dh(self, params: Any) -> None:
        key, iv = helpers.generate_key_data_from_nonce(self.res_pq.server_nonce, self.new_nonce)
        plain = AES.decrypt_ige(params.encrypted_answer, key, iv)
        self.dh = BinaryReader(plain[20:]).tgread_object()
        assert sha1(bytes(self.dh)).digest() == plain[:20]
        self._temporary = key, iv

    def finish(self, *, g_b: int | None = None, failure: str | None = None, damage: int = 0) -> Any:
        prime, secret = int.from_bytes(self.dh.dh_prime, "big"), secrets.randbits(2048)
        shared = pow(int.from_bytes(self.dh.g_a, "big"), secret, prime)
        self.key = AuthKey(shared.to_bytes(256, "big"))
        g_b = pow(self.dh.g, secret, prime) if g_b is None else g_b
        nonces = (self.nonce, self.res_pq.server_nonce)
        inner = bytes(types.ClientDHInnerData(*nonces, self.retry_id, g_b.to_bytes(256, "big")))
        hashed = sha1(inner).digest() + inner
        hashed = bytes([hashed[0] ^ damage]) + hashed[1:]
        encrypted = AES.encrypt_ige(hashed + os.urandom(-len(hashed) % 16), *self._temporary)
        return self.exchange.answer(functions.SetClientDHParamsRequest(*nonces, encrypted), failure=failure)


@pytest.fixture
def keys() -> KeyRing:
    """No keys yet."""
    return KeyRing()


@pytest.fixture
def client(keys: KeyRing) -> Client:
    """A client in front of data centre 2."""
    return Client(Exchange(server_key=SERVER_KEY, keys=keys, dc_id=2))


def test_the_fingerprint_is_the_one_that_clients_compute() -> None:
    """It tells clients which of their keys to use."""
    assert SERVER_KEY.fingerprint == _compute_fingerprint(PUBLIC)


def test_the_server_key_survives_being_written_down() -> None:
    """A restart must not lock clients out."""
    again = maths.ServerKey.from_private_pem(SERVER_KEY.private_pem)
    assert again.public_pem == SERVER_KEY.public_pem


def test_the_prime_is_the_one_that_clients_trust() -> None:
    """Telethon's check passes without its slow test for primality; Kurigram knows no other prime."""
    check_prime_and_good(maths.DH_PRIME_BYTES, maths.GENERATOR)
    assert maths.DH_PRIME == CURRENT_DH_PRIME


def test_pq_is_a_product_of_two_different_primes_of_31_bits() -> None:
    """So that it fits 63 bits, and takes a client some work."""
    for p, q in (maths.new_pq() for _ in range(50)):
        assert p < q
        assert p.bit_length() == q.bit_length() == 31
        assert fmpz(p).is_probable_prime()
        assert fmpz(q).is_probable_prime()


@pytest.mark.parametrize("encrypt", [encrypt_by_rsa_pad, encrypt_by_sha1])
@pytest.mark.parametrize("kind", [types.PQInnerData, types.PQInnerDataDc])
def test_both_sides_end_with_the_same_key(client: Client, keys: KeyRing, encrypt: Any, kind: Any) -> None:
    """With either padding, and whether or not the client names the data centre."""
    client.ask_for_pq()
    extra = {"dc": 2} if kind is types.PQInnerDataDc else {}
    client.read_dh(client.ask_for_dh(encrypt(client.inner_data(kind, **extra))))
    verdict = client.finish()
    assert isinstance(verdict, types.DhGenOk)
    assert verdict.new_nonce_hash1 == client.key.calc_new_nonce_hash(client.new_nonce, 1)
    made = keys.find(client.key.key_id, dc_id=2)
    assert made is not None
    assert made.key == client.key.key
    assert keys.find(client.key.key_id, dc_id=1) is None
    first_salt = (client.new_nonce ^ client.res_pq.server_nonce) & (2**64 - 1)
    assert made.first_salt & (2**64 - 1) == first_salt


def test_a_retry_leads_to_another_key(client: Client, keys: KeyRing) -> None:
    """dh_gen_retry proves itself by its hash; the client tries again, naming the failed key's hash."""
    client.ask_for_pq()
    client.read_dh(client.ask_for_dh())
    verdict = client.finish(failure="DH_GEN_RETRY")
    assert isinstance(verdict, types.DhGenRetry)
    assert verdict.new_nonce_hash2 == client.key.calc_new_nonce_hash(client.new_nonce, 2)
    assert len(keys) == 0
    client.retry_id = int.from_bytes(client.key.aux_hash.to_bytes(8, "little"), "little", signed=True)
    assert isinstance(client.finish(), types.DhGenOk)
    assert len(keys) == 1


def test_the_two_failures_prove_themselves(client: Client, keys: KeyRing) -> None:
    """server_DH_params_fail and dh_gen_fail carry hashes that only this server can make."""
    client.ask_for_pq()
    refused = client.ask_for_dh(failure="SERVER_DH_PARAMS_FAIL")
    new_nonce = client.new_nonce.to_bytes(32, "little", signed=True)
    assert refused.new_nonce_hash == number_of(sha1(new_nonce).digest()[4:20])
    client.read_dh(client.ask_for_dh())
    verdict = client.finish(failure="DH_GEN_FAIL")
    assert verdict.new_nonce_hash3 == client.key.calc_new_nonce_hash(client.new_nonce, 3)
    assert len(keys) == 0


@pytest.mark.parametrize(
    "spoiled",
    [
        {"nonce": 1},
        {"server_nonce": 1},
        {"p": b"\0\0\0\3"},
        {"public_key_fingerprint": 1},
        {"encrypted_data": os.urandom(255)},
        {"encrypted_data": os.urandom(256)},
    ],
    ids=lambda spoiled: next(iter(spoiled)),
)
def test_a_wrong_req_dh_params_ends_the_exchange(client: Client, spoiled: dict[str, Any]) -> None:
    """Nonces, factors, key and ciphertext must be right."""
    client.ask_for_pq()
    with pytest.raises(ExchangeError):
        client.ask_for_dh(**spoiled)


def test_a_client_of_another_data_centre_is_turned_away(client: Client) -> None:
    """Transport error 444; a test server's number means the same data centre."""
    client.ask_for_pq()
    with pytest.raises(ExchangeError) as refusal:
        client.ask_for_dh(encrypt_by_rsa_pad(client.inner_data(types.PQInnerDataDc, dc=3)))
    assert refusal.value.transport_code == 444
    client.ask_for_dh(encrypt_by_rsa_pad(client.inner_data(types.PQInnerDataDc, dc=10_002)))


def test_a_temporary_key_has_a_life(client: Client, keys: KeyRing) -> None:
    """The one that it asked for; one that is over before it begins is refused."""
    client.ask_for_pq()
    with pytest.raises(ExchangeError):
        client.ask_for_dh(encrypt_by_rsa_pad(client.inner_data(types.PQInnerDataTempDc, dc=2, expires_in=0)))
    client.read_dh(
        client.ask_for_dh(encrypt_by_rsa_pad(client.inner_data(types.PQInnerDataTempDc, dc=2, expires_in=60)))
    )
    assert isinstance(client.finish(), types.DhGenOk)
    (key,) = keys
    assert key.expires_at is not None
    assert round(key.expires_at - key.created_at) == 60


@pytest.mark.parametrize("g_b", [1, 2**1900, maths.DH_PRIME - 1])
def test_a_weak_public_value_ends_the_exchange(client: Client, g_b: int) -> None:
    """g_b must keep 2^1984 away from both ends."""
    client.ask_for_pq()
    client.read_dh(client.ask_for_dh())
    with pytest.raises(ExchangeError, match="g_b"):
        client.finish(g_b=g_b)


def test_steps_out_of_order_end_the_exchange(client: Client) -> None:
    """And so does a damaged last step, or an API call without a key."""
    client.res_pq, client.p, client.q = types.ResPQ(client.nonce, 0, b"\0" * 8, []), 0, 0
    with pytest.raises(ExchangeError):
        client.ask_for_dh()
    client.ask_for_pq()
    too_early = functions.SetClientDHParamsRequest(client.nonce, client.res_pq.server_nonce, bytes(16))
    with pytest.raises(ExchangeError, match="before"):
        client.exchange.answer(too_early)
    client.read_dh(client.ask_for_dh())
    with pytest.raises(ExchangeError, match="damaged"):
        client.finish(damage=1)
    with pytest.raises(ExchangeError, match="needs an auth key"):
        client.exchange.answer(functions.help.GetConfigRequest())


async def test_a_client_survives_a_failed_exchange(clients: TelethonClients) -> None:
    """Telethon takes dh_gen_retry for a failure and makes a second attempt, which succeeds."""
    driver = clients.sandbox.driver
    driver.add_fault("set_client_DH_params", error="DH_GEN_RETRY")
    driver.add_fault("req_DH_params", delay_ms=50)
    client = await clients.connect()
    assert client.is_connected()
    assert driver.faults() == []


async def test_an_exchange_can_be_cut_off(clients: TelethonClients) -> None:
    """drop_connection works on its steps as it does on calls; `*` leaves exchanges alone."""
    driver = clients.sandbox.driver
    driver.add_fault("*", error="INTERNAL")
    driver.add_fault("req_pq_multi", drop_connection=True)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await clients.connect(connection_retries=0)
    assert [fault["method"] for fault in driver.faults()] == ["*"]
