"""The arithmetic of MTProto: raw RSA, Diffie-Hellman, pq, AES-IGE. Pure functions of bytes and numbers.

Everything costly goes to C (FLINT, cryptg, hashlib), because the sandbox shares its cores with what it tests.
"""

import secrets
from hashlib import sha1, sha256
from typing import Final

import cryptg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from flint import fmpz

# The prime that Telegram's servers use, which clients know as good and therefore need not test.
# Source: https://core.telegram.org/mtproto/auth_key and https://core.telegram.org/api/srp
DH_PRIME_BYTES: Final = bytes.fromhex(
    "c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f"
    "48198a0aa7c14058229493d22530f4dbfa336f6e0ac925139543aed44cce7c37"
    "20fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f64"
    "2477fe96bb2a941d5bcd1d4ac8cc49880708fa9b378e3c4f3a9060bee67cf9a4"
    "a4a695811051907e162753b56b0f6b410dba74d8a84b2a14b3144e0ef1284754"
    "fd17ed950d5965b4b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4"
    "e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f"
    "0d8115f635b105ee2e4e15d04b2454bf6f4fadf034b10403119cd8e3b92fcc5b"
)
DH_PRIME: Final = int.from_bytes(DH_PRIME_BYTES, "big")
GENERATOR: Final = 3
"""Generates the subgroup of prime order, because DH_PRIME mod 3 is 2."""

_SAFETY_MARGIN: Final = 1 << (2048 - 64)
# A 512-bit exponent is as hard to find as the 2048-bit group allows and costs a quarter of the CPU of a
# 2048-bit one.
_EXPONENT_BITS: Final = 512


def mod_power(base: int, exponent: int, modulus: int = DH_PRIME) -> int:
    """Raise `base` to `exponent` modulo `modulus`."""
    return int(pow(fmpz(base), exponent, modulus))


def new_exponent() -> int:
    """Return a random secret exponent for Diffie-Hellman or SRP."""
    return secrets.randbits(_EXPONENT_BITS) | 1 << (_EXPONENT_BITS - 1)


def is_safe_public_value(value: int) -> bool:
    """Tell whether a g_a, g_b or SRP public value is far enough from 1 and from the prime.

    Source: https://core.telegram.org/mtproto/security_guidelines#g-a-and-g-b-validation
    """
    return _SAFETY_MARGIN <= value <= DH_PRIME - _SAFETY_MARGIN


def new_pq() -> tuple[int, int]:
    """Return two different primes of 31 bits, the smaller one first."""
    p = q = 0
    while p == q:
        p, q = sorted(_new_prime() for _ in range(2))
    return p, q


def _new_prime() -> int:
    while True:
        number = secrets.randbits(30) | 1 << 30 | 1
        if fmpz(number).is_probable_prime():
            return number


def encrypt_ige(plaintext: bytes, key: bytes, iv: bytes) -> bytes:
    """Encrypt whole 16-byte blocks with AES-256-IGE; `iv` has 32 bytes."""
    return cryptg.encrypt_ige(plaintext, key, iv)


def decrypt_ige(ciphertext: bytes, key: bytes, iv: bytes) -> bytes:
    """Decrypt whole 16-byte blocks with AES-256-IGE; `iv` has 32 bytes."""
    return cryptg.decrypt_ige(ciphertext, key, iv)


def _tl_bytes(value: int) -> bytes:
    content = value.to_bytes((value.bit_length() + 7) // 8, "big")
    header = bytes([len(content)]) if len(content) < 254 else b"\xfe" + len(content).to_bytes(3, "little")
    return header + content + bytes(-len(header + content) % 4)


class ServerKey:
    """The server's RSA key: clients encrypt the first secret of an auth key exchange with its public half."""

    __slots__ = ("_crt", "_modulus", "_private_key", "fingerprint")

    def __init__(self, private_key: rsa.RSAPrivateKey) -> None:
        numbers = private_key.private_numbers()
        public = numbers.public_numbers
        self._private_key = private_key
        self._modulus = public.n
        self._crt = (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
        digest = sha1(_tl_bytes(public.n) + _tl_bytes(public.e)).digest()  # noqa: S324 - the protocol's own hash
        self.fingerprint = int.from_bytes(digest[-8:], "little", signed=True)

    @classmethod
    def generate(cls) -> "ServerKey":
        """Create a new 2048-bit key."""
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @classmethod
    def from_private_pem(cls, pem: str) -> "ServerKey":
        """Load a key written by `private_pem`."""
        key = serialization.load_pem_private_key(pem.encode(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("the state file's server key is not an RSA key")
        return cls(key)

    @property
    def private_pem(self) -> str:
        """The whole key, for the state file."""
        return self._private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def public_pem(self) -> str:
        """The public half as PKCS#1, which is what MTProto clients load."""
        return (
            self._private_key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
            .decode()
        )

    def decrypt(self, encrypted: bytes) -> bytes:
        """Undo raw RSA: 256 bytes in, 256 bytes out.

        Uses the Chinese remainders, a third of the plain power's cost.
        """
        p, q, exponent_p, exponent_q, q_inverse = self._crt
        value = int.from_bytes(encrypted, "big") % self._modulus
        rest_p = mod_power(value, exponent_p, p)
        rest_q = mod_power(value, exponent_q, q)
        return (rest_q + q * (q_inverse * (rest_p - rest_q) % p)).to_bytes(256, "big")


def unpad_rsa(decrypted: bytes) -> bytes | None:
    """Undo RSA_PAD: return the 192 bytes of data with padding, or None when it is not RSA_PAD.

    Source: https://core.telegram.org/mtproto/auth_key#presenting-proof-of-work-server-authentication
    """
    masked_key, encrypted = decrypted[:32], decrypted[32:]
    mask = int.from_bytes(sha256(encrypted).digest(), "big")
    key = (int.from_bytes(masked_key, "big") ^ mask).to_bytes(32, "big")
    data_with_hash = decrypt_ige(encrypted, key, bytes(32))
    padded = data_with_hash[:192][::-1]
    return padded if sha256(key + padded).digest() == data_with_hash[192:] else None
