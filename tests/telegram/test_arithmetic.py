"""The handshake's arithmetic: same results as Telethon's, and keys of 256 bytes."""

from __future__ import annotations

import secrets
from hashlib import sha1

import flint
import pytest
import telethon.network.authenticator
import telethon.password
from hypothesis import given
from hypothesis import strategies as st
from telethon.crypto import AES, Factorization
from telethon.errors import SecurityError
from telethon.tl.types import (
    PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow,
    SecurePasswordKdfAlgoUnknown,
)
from telethon.tl.types.account import Password

from app.telegram import arithmetic
from sandbox.mtproto.arithmetic import DH_PRIME

with flint.ctx.workprec(4000):
    _PI_TIMES_2_1918 = int(str((flint.arb.pi() * flint.arb(2) ** 1918).floor().unique_fmpz()))
OTHER_SAFE_PRIME = 2**2048 - 2**1984 - 1 + 2**64 * (_PI_TIMES_2_1918 + 124476)
"""Source: RFC 3526, section 3."""


@given(
    base=st.integers(2, 2**256), exponent=st.integers(0, 2**256), modulus=st.integers(2, 2**256).filter(lambda n: n % 2)
)
def test_modular_power_is_pow(base: int, exponent: int, modulus: int) -> None:
    """FLINT and Python agree."""
    assert arithmetic.modular_power(base, exponent, modulus) == pow(base, exponent, modulus)


def test_factors_are_those_of_pq_and_in_order() -> None:
    """Of any size that a handshake's pq may have."""
    for p, q in ((1229739323, 1402015859), (2147483647, 2147483629), (41479, 61343), (3, 5), (3, 3), (2, 2)):
        assert arithmetic.factorize(p * q) == (min(p, q), max(p, q))


@pytest.mark.parametrize("pq", [2**61 - 1, 2**89 - 1, 1009**3, 2**62, 1, 0, -15, 2**63 + 1])
def test_what_is_no_product_of_two_primes_is_refused(pq: int) -> None:
    """At once: looking for the factors of a prime would never end, and hold up every login of the process."""
    with pytest.raises(SecurityError):
        arithmetic.factorize(pq)


def test_an_exponent_is_shortened_alike_both_times() -> None:
    """Both sides agree on a key: what is sent was computed with the bits that the key is computed with."""
    arithmetic.install()
    ours, theirs = secrets.randbits(2048), secrets.randbits(2048)
    g_a = pow(3, theirs, DH_PRIME)
    g_b = arithmetic.handshake_power(3, ours, DH_PRIME)
    assert g_b == pow(3, ours % 2**512, DH_PRIME)
    assert arithmetic.handshake_power(g_a, ours, DH_PRIME) == pow(g_b, theirs, DH_PRIME)


def test_a_group_other_than_telegrams_is_used_if_it_is_safe() -> None:
    """The 2048-bit group of RFC 3526, generator 2."""
    arithmetic.install()
    assert arithmetic.handshake_power(2, 5, OTHER_SAFE_PRIME) == 32


@pytest.mark.parametrize(
    ("prime", "generator"),
    [
        (DH_PRIME, 2),
        (OTHER_SAFE_PRIME, 1),
        (OTHER_SAFE_PRIME, -2),
        (OTHER_SAFE_PRIME, 8),
        (OTHER_SAFE_PRIME + 8, 2),
        (2**2203 - 1, 2),
        (23, 2),
    ],
)
def test_an_unsafe_group_is_refused(prime: int, generator: int) -> None:
    """The wrong subgroup, no generator, no safe prime, the wrong length."""
    arithmetic.install()
    with pytest.raises(SecurityError):
        arithmetic.handshake_power(generator, 5, prime)


def test_a_password_is_proved_in_another_safe_group() -> None:
    """Telethon by itself would try to factorize the prime for ever."""
    arithmetic.install()
    algorithm = PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow(
        salt1=b"1" * 8, salt2=b"2" * 16, g=2, p=OTHER_SAFE_PRIME.to_bytes(256, "big")
    )
    public_value = pow(2, secrets.randbits(2040), OTHER_SAFE_PRIME).to_bytes(256, "big")
    parameters = Password(
        new_algo=algorithm,
        new_secure_algo=SecurePasswordKdfAlgoUnknown(),
        secure_random=b"",
        has_password=True,
        current_algo=algorithm,
        srp_B=public_value,
        srp_id=1,
    )
    assert len(telethon.password.compute_check(parameters, "secret").M1) == 32
    algorithm.p = (OTHER_SAFE_PRIME + 8).to_bytes(256, "big")
    with pytest.raises(ValueError, match="bad p/g"):
        telethon.password.compute_check(parameters, "secret")


def test_the_hash_of_a_servers_dh_data_is_checked() -> None:
    """SHA-1 before the object, up to 15 bytes of padding behind it."""
    key, iv = secrets.token_bytes(32), secrets.token_bytes(32)
    answer = secrets.token_bytes(100)
    hashed = sha1(answer).digest() + answer + bytes(8)
    assert arithmetic.decrypt_checked(AES.encrypt_ige(hashed, key, iv), key, iv) == hashed
    with pytest.raises(SecurityError):
        arithmetic.decrypt_checked(AES.encrypt_ige(bytes([hashed[0] ^ 1]) + hashed[1:], key, iv), key, iv)


def test_a_key_that_begins_with_zeros_keeps_them() -> None:
    """One handshake in 256 agrees on such a key; hashed without its zeros it would be another key."""
    key = bytes(2) + secrets.token_bytes(254)
    assert arithmetic.padded_auth_key(key.lstrip(b"\0")).key == key


def test_install_reaches_telethons_handshake() -> None:
    """The names that Telethon calls are ours; installing twice changes nothing."""
    arithmetic.install()
    arithmetic.install()
    assert telethon.network.authenticator.pow is arithmetic.handshake_power
    assert telethon.password.check_prime_and_good_check is arithmetic.check_group
    assert telethon.network.authenticator.AuthKey is arithmetic.padded_auth_key
    assert Factorization.factorize(1229739323 * 1402015859) == (1229739323, 1402015859)
