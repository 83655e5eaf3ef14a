"""The handshake's arithmetic: same results as Telethon's, and keys of 256 bytes."""

from __future__ import annotations

import secrets

import telethon.network.authenticator
from hypothesis import given
from hypothesis import strategies as st
from telethon.crypto import Factorization

from app.telegram import arithmetic


@given(
    base=st.integers(2, 2**256), exponent=st.integers(0, 2**256), modulus=st.integers(2, 2**256).filter(lambda n: n % 2)
)
def test_modular_power_is_pow(base: int, exponent: int, modulus: int) -> None:
    """GMP and Python agree."""
    assert arithmetic.modular_power(base, exponent, modulus) == pow(base, exponent, modulus)


def test_factors_are_those_of_pq_and_in_order() -> None:
    """Also for a product of more than 63 bits, which a handshake never has."""
    for p, q in ((1229739323, 1402015859), (2147483647, 2147483629), (4294967291, 4294967279)):
        assert arithmetic.factorize(p * q) == (min(p, q), max(p, q))


def test_a_key_that_begins_with_zeros_keeps_them() -> None:
    """One handshake in 256 agrees on such a key; hashed without its zeros it would be another key."""
    key = bytes(2) + secrets.token_bytes(254)
    assert arithmetic.padded_auth_key(key.lstrip(b"\0")).key == key


def test_install_reaches_telethons_handshake() -> None:
    """The names that Telethon calls are ours; installing twice changes nothing."""
    arithmetic.install()
    arithmetic.install()
    assert telethon.network.authenticator.pow is arithmetic.modular_power
    assert telethon.network.authenticator.AuthKey is arithmetic.padded_auth_key
    assert Factorization.factorize(1229739323 * 1402015859) == (1229739323, 1402015859)
