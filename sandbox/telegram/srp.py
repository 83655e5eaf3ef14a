"""2FA passwords: the verifier that the server keeps, and the server's side of SRP. Knows nothing of accounts.

Source: https://core.telegram.org/api/srp
"""

import hashlib
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sandbox import tl
from sandbox.mtproto import arithmetic as maths

_ITERATIONS: Final = 100_000
_BYTES: Final = 256


@dataclass(slots=True, frozen=True)
class Password:
    """What a server knows of a password: salts and verifier, never the password."""

    salt1: bytes
    salt2: bytes
    verifier: int
    hint: str

    @classmethod
    def create(cls, password: str, hint: str) -> "Password":
        """Make the verifier of a password. Costs some 100 ms of CPU, by design of the protocol."""
        salt1, salt2 = secrets.token_bytes(40), secrets.token_bytes(16)
        verifier = maths.mod_power(maths.GENERATOR, _private_value(password, salt1, salt2))
        return cls(salt1, salt2, verifier, hint)

    @property
    def algorithm(self) -> Any:
        """The parameters that a client needs to compute the same value."""
        return algorithm(self.salt1, self.salt2)


def algorithm(salt1: bytes, salt2: bytes) -> Any:
    """Return the one key derivation that Telegram uses, with these salts."""
    return tl.types.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow(
        salt1=salt1, salt2=salt2, g=maths.GENERATOR, p=maths.DH_PRIME_BYTES
    )


def _digest(*parts: bytes) -> bytes:
    return sha256(b"".join(parts)).digest()


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _padded(value: int) -> bytes:
    return value.to_bytes(_BYTES, "big")


def _private_value(password: str, salt1: bytes, salt2: bytes) -> int:
    first = _digest(salt2, _digest(salt1, password.encode(), salt1), salt2)
    slow = hashlib.pbkdf2_hmac("sha512", first, salt1, _ITERATIONS)
    return _number(_digest(salt2, slow, salt2))


_MULTIPLIER: Final = _number(_digest(maths.DH_PRIME_BYTES, _padded(maths.GENERATOR)))


def public_value(password: Password, secret: int) -> int:
    """Return srp_B for a secret exponent."""
    offered = maths.mod_power(maths.GENERATOR, secret)
    return (_MULTIPLIER * password.verifier + offered) % maths.DH_PRIME


def proves(password: Password, secret: int, client_value: bytes, proof: bytes) -> bool:
    """Tell whether a client's A and M1 prove that it knows the password.

    Args:
        password: what the server knows.
        secret: the exponent behind the srp_B that the client was given.
        client_value: A, big endian.
        proof: M1.
    """
    a = _number(client_value)
    b = public_value(password, secret)
    u = _number(_digest(_padded(a), _padded(b)))
    shared = maths.mod_power(a * maths.mod_power(password.verifier, u) % maths.DH_PRIME, secret)
    hashed_prime, hashed_generator = _digest(maths.DH_PRIME_BYTES), _digest(_padded(maths.GENERATOR))
    expected = _digest(
        bytes(x ^ y for x, y in zip(hashed_prime, hashed_generator, strict=True)),
        _digest(password.salt1),
        _digest(password.salt2),
        _padded(a),
        _padded(b),
        _digest(_padded(shared)),
    )
    return secrets.compare_digest(expected, proof)
