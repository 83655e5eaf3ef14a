"""The handshake's arithmetic, put right from outside.

Telethon 1.45 spends 95 ms of CPU on a new auth key, nearly all of it in pure-Python arithmetic, and it blocks the loop that
thousands of logins share. And when the agreed key begins with a zero byte (one in 256) it hashes 255 bytes instead of 256
and throws the key away ("Step 3 invalid new nonce hash"). It also takes a server's numbers on trust, or looks at them in a way
that never ends. All that is mended by replacing names in three of its modules:

- ``Factorization.factorize``: FLINT's, in C, and only into two primes;
- ``pow`` in ``telethon.network.authenticator`` and ``telethon.password`` (SRP): FLINT's, in a handshake of a safe group only
  and with a shorter exponent;
- ``check_prime_and_good_check`` in ``telethon.password``: FLINT's primality test, where Telethon tries to factorize 2048 bits;
- ``AES`` in ``telethon.network.authenticator``: checks the SHA-1 of the server's DH data;
- ``AuthKey`` in ``telethon.network.authenticator``: pads to 256 bytes.

Source: https://core.telegram.org/mtproto/auth_key (g^ab is a 2048-bit number, so 256 bytes) and
    https://core.telegram.org/mtproto/security_guidelines
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha1
from types import SimpleNamespace
from typing import Final

import telethon.network.authenticator
import telethon.password
from flint import fmpz
from telethon.crypto import AES, AuthKey, Factorization
from telethon.errors import SecurityError

from app.telegram.string_sessions import AUTH_KEY_BYTES

_PQ_BITS = 63
_PRIME_BITS = 2048
_EXPONENT_BITS = 512  # see docs/decisions/0017
_SMALLEST_PUBLIC_VALUE_BITS = _PRIME_BITS - 64
_HASH_BYTES = 20
_RESIDUES: Final = {2: (8, (7,)), 3: (3, (2,)), 4: (1, (0,)), 5: (5, (1, 4)), 6: (24, (19, 23)), 7: (7, (3, 5, 6))}
"""For each generator: with which remainders of a safe prime it generates the subgroup of prime order."""


def install() -> None:
    """Replace the names. May be called again; nothing changes then."""
    Factorization.factorize = staticmethod(factorize)
    authenticator = telethon.network.authenticator
    authenticator.pow = handshake_power
    authenticator.AES = SimpleNamespace(encrypt_ige=AES.encrypt_ige, decrypt_ige=decrypt_checked)
    authenticator.AuthKey = padded_auth_key
    telethon.password.pow = modular_power
    telethon.password.check_prime_and_good_check = check_group


def factorize(pq: int) -> tuple[int, int]:
    """Split a handshake's pq into its two prime factors, the smaller one first.

    Raises:
        SecurityError: it is not the product of two primes that a handshake may have.
    """
    if pq <= 1 or pq.bit_length() > _PQ_BITS:
        raise SecurityError("pq is no product of two primes")
    factors = [int(prime) for prime, times in fmpz(pq).factor() for _ in range(times)]
    if len(factors) != 2:
        raise SecurityError("pq is no product of two primes")
    p, q = sorted(factors)
    return p, q


def modular_power(base: int, exponent: int, modulus: int) -> int:
    """``pow`` of three integers, by FLINT: 2048 bits in 2 ms instead of 27."""
    return int(pow(fmpz(base), exponent, modulus))


def handshake_power(base: int, exponent: int, modulus: int) -> int:
    """``modular_power`` of a handshake: g^b, where the group is checked before anything is computed in it, then g_a^b.

    Args:
        exponent: b, of whose 2048 random bits 512 are used, the same ones both times.

    Raises:
        SecurityError: the group is not safe, or g_a is as small as a generator.
    """
    if base.bit_length() < _SMALLEST_PUBLIC_VALUE_BITS:
        try:
            telethon.password.check_prime_and_good(modulus.to_bytes(_PRIME_BITS // 8, "big"), base)
        except (ValueError, OverflowError) as exc:
            raise SecurityError("the server's Diffie-Hellman group is not safe") from exc
    return modular_power(base, exponent % 2**_EXPONENT_BITS, modulus)


def check_group(prime: int, generator: int) -> None:
    """Check a group other than the one that Telegram is known to use.

    Raises:
        ValueError: the prime is not a safe one of 2048 bits, or the generator not one of its subgroup of prime order.
    """
    divisor, remainders = _RESIDUES.get(generator, (1, ()))
    if prime % divisor not in remainders or not _is_safe_prime(prime):
        raise ValueError("the group is not safe")


@lru_cache(maxsize=16)
def _is_safe_prime(number: int) -> bool:
    return number.bit_length() == _PRIME_BITS and _is_prime(number) and _is_prime(number // 2)


def _is_prime(number: int) -> bool:
    return bool(fmpz(number).is_probable_prime())


def decrypt_checked(encrypted: bytes, key: bytes, iv: bytes) -> bytes:
    """Decrypt what a server encrypted for a handshake: SHA-1, then an object, then up to 15 bytes of padding.

    Raises:
        SecurityError: the SHA-1 is not the object's.
    """
    decrypted: bytes = AES.decrypt_ige(encrypted, key, iv)
    digest, padded = decrypted[:_HASH_BYTES], decrypted[_HASH_BYTES:]
    if not any(sha1(padded[: len(padded) - n]).digest() == digest for n in range(16)):  # noqa: S324  # the protocol's
        raise SecurityError("the SHA-1 of the server's DH data is wrong")
    return decrypted


def padded_auth_key(key: bytes) -> AuthKey:
    """Make an auth key of 256 bytes, whatever the number's leading bytes are."""
    return AuthKey(key.rjust(AUTH_KEY_BYTES, b"\0"))
