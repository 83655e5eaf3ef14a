"""The handshake's arithmetic, put right from outside.

Telethon 1.45 spends 95 ms of CPU on a new auth key, nearly all of it in pure-Python arithmetic, and it blocks the loop that
thousands of logins share. And when the agreed key begins with a zero byte (one in 256) it hashes 255 bytes instead of 256
and throws the key away ("Step 3 invalid new nonce hash"). Both are mended by replacing four names in three of its modules:

- ``Factorization.factorize``: cryptg's, in C, for the pq of a handshake; the original above that;
- ``pow`` in ``telethon.network.authenticator`` and ``telethon.password`` (SRP): gmpy2's;
- ``AuthKey`` in ``telethon.network.authenticator``: pads to 256 bytes.

Source: https://core.telegram.org/mtproto/auth_key (g^ab is a 2048-bit number, so 256 bytes).
"""

from __future__ import annotations

import cryptg
import gmpy2
import telethon.network.authenticator
import telethon.password
from telethon.crypto import AuthKey, Factorization

AUTH_KEY_BYTES = 256

_original_factorize = Factorization.factorize


def install() -> None:
    """Replace the slow names. May be called again; nothing changes then."""
    Factorization.factorize = staticmethod(factorize)
    telethon.network.authenticator.pow = modular_power
    telethon.network.authenticator.AuthKey = padded_auth_key
    telethon.password.pow = modular_power


def factorize(pq: int) -> tuple[int, int]:
    """Split a semiprime into its two factors, the smaller one first.

    A handshake's pq has 60-odd bits. Telethon's own code serves what cryptg is not made for: larger ones (SRP), and tiny ones.
    """
    if not 32 <= pq.bit_length() <= 63:
        original: tuple[int, int] = _original_factorize(pq)
        return original
    p, q = cryptg.factorize_pq_pair(pq)
    return (p, q) if p < q else (q, p)


def modular_power(base: int, exponent: int, modulus: int) -> int:
    """``pow`` of three integers, by GMP: 2048 bits in 5 ms instead of 27."""
    return int(gmpy2.powmod(base, exponent, modulus))


def padded_auth_key(key: bytes) -> AuthKey:
    """Make an auth key of 256 bytes, whatever the number's leading bytes are."""
    return AuthKey(key.rjust(AUTH_KEY_BYTES, b"\0"))
