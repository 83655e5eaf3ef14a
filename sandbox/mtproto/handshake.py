"""The auth key exchange, the server's side: req_pq to dh_gen_ok.

One `Exchange` per connection; no sockets in here.

Source: https://core.telegram.org/mtproto/auth_key
"""

import secrets
import time
from collections.abc import Callable
from hashlib import sha1
from typing import Any, Final

from sandbox import tl
from sandbox.mtproto import arithmetic as maths
from sandbox.mtproto.auth_keys import KeyRing

_TEST_DC_OFFSET: Final = 10_000
_HASH_BYTES: Final = 20
_INNER_DATA: Final = (
    tl.types.PQInnerData,
    tl.types.PQInnerDataDc,
    tl.types.PQInnerDataTemp,
    tl.types.PQInnerDataTempDc,
)


STEPS: Final = {
    tl.functions.ReqPqRequest: "req_pq",
    tl.functions.ReqPqMultiRequest: "req_pq_multi",
    tl.functions.ReqDHParamsRequest: "req_DH_params",
    tl.functions.SetClientDHParamsRequest: "set_client_DH_params",
}
"""The requests of an exchange, and their names in the schema."""


class ExchangeError(Exception):
    """Raised when the client broke the exchange; `transport_code` is what the connection is closed with."""

    def __init__(self, reason: str, transport_code: int = 404) -> None:
        super().__init__(reason)
        self.transport_code = transport_code


def _sha1(data: bytes) -> bytes:
    return sha1(data).digest()  # noqa: S324 - the protocol's own hash


def _int128(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


class Exchange:
    """The state of one exchange; a new req_pq starts it again."""

    __slots__ = (
        "_dc_id",
        "_exponent",
        "_failure",
        "_first_aux_hash",
        "_iv",
        "_key",
        "_keys",
        "_life_seconds",
        "_new_nonce",
        "_nonce",
        "_primes",
        "_server_key",
        "_server_nonce",
    )  # fmt: skip

    def __init__(self, *, server_key: maths.ServerKey, keys: KeyRing, dc_id: int) -> None:
        self._server_key = server_key
        self._keys = keys
        self._dc_id = dc_id
        self._nonce = self._server_nonce = 0
        self._new_nonce = b""
        self._life_seconds: int | None = None
        self._primes = (0, 0)
        self._exponent = 0
        self._first_aux_hash = 0
        self._key = self._iv = b""
        self._failure: str | None = None

    def answer(self, request: Any, *, failure: str | None = None) -> Any:
        """Take one step of the exchange and return its answer.

        Args:
            request: what the client sent.
            failure: SERVER_DH_PARAMS_FAIL, DH_GEN_RETRY or DH_GEN_FAIL, to answer so where the step allows it.

        Raises:
            ExchangeError: the step makes no sense here, or what it carries is wrong.
        """
        steps: dict[type, Callable[[Any], Any]] = {
            tl.functions.ReqPqRequest: self._offer_pq,
            tl.functions.ReqPqMultiRequest: self._offer_pq,
            tl.functions.ReqDHParamsRequest: self._offer_dh,
            tl.functions.SetClientDHParamsRequest: self._finish,
            tl.types.MsgsAck: lambda _ack: None,
        }
        step = steps.get(type(request))
        if step is None:
            raise ExchangeError(f"{type(request).__name__} needs an auth key")
        self._failure = failure
        return step(request)

    def _offer_pq(self, request: Any) -> Any:
        self._nonce = request.nonce
        self._server_nonce = _int128(secrets.token_bytes(16))
        self._primes = maths.new_pq()
        self._exponent = self._first_aux_hash = 0
        p, q = self._primes
        return tl.types.ResPQ(
            nonce=self._nonce,
            server_nonce=self._server_nonce,
            pq=(p * q).to_bytes(8, "big"),
            server_public_key_fingerprints=[self._server_key.fingerprint],
        )

    def _offer_dh(self, request: Any) -> Any:
        self._check_nonces(request)
        offered = (int.from_bytes(request.p, "big"), int.from_bytes(request.q, "big"))
        if offered != self._primes or not any(offered):
            raise ExchangeError("p and q are not the factors of pq")
        if request.public_key_fingerprint != self._server_key.fingerprint or len(request.encrypted_data) != 256:
            raise ExchangeError("the data is not encrypted with this server's key")
        inner = self._open_inner_data(request.encrypted_data)
        self._check_nonces(inner)
        self._check_data_centre(inner)
        self._new_nonce = inner.new_nonce.to_bytes(32, "little", signed=True)
        self._life_seconds = getattr(inner, "expires_in", None)
        if self._failure == "SERVER_DH_PARAMS_FAIL":
            return tl.types.ServerDHParamsFail(
                nonce=self._nonce,
                server_nonce=self._server_nonce,
                new_nonce_hash=_int128(_sha1(self._new_nonce)[4:20]),
            )
        self._derive_temporary_key()
        self._exponent = maths.new_exponent()
        answer = bytes(
            tl.types.ServerDHInnerData(
                nonce=self._nonce,
                server_nonce=self._server_nonce,
                g=maths.GENERATOR,
                dh_prime=maths.DH_PRIME_BYTES,
                g_a=maths.mod_power(maths.GENERATOR, self._exponent).to_bytes(256, "big"),
                server_time=int(time.time()),
            )
        )
        hashed = _sha1(answer) + answer
        encrypted = maths.encrypt_ige(hashed + secrets.token_bytes(-len(hashed) % 16), self._key, self._iv)
        return tl.types.ServerDHParamsOk(nonce=self._nonce, server_nonce=self._server_nonce, encrypted_answer=encrypted)

    def _open_inner_data(self, encrypted: bytes) -> Any:
        """Decrypt p_q_inner_data, whether padded by RSA_PAD or, as older clients do, hashed with SHA-1."""
        decrypted = self._server_key.decrypt(encrypted)
        padded = maths.unpad_rsa(decrypted)
        serialized = decrypted[1 + _HASH_BYTES :] if padded is None else padded
        try:
            inner = tl.read(serialized)
        except tl.MalformedTLError as exc:
            raise ExchangeError("the encrypted data is not p_q_inner_data") from exc
        if not isinstance(inner, _INNER_DATA) or not getattr(inner, "expires_in", 1) > 0:
            raise ExchangeError("the encrypted data is not p_q_inner_data")
        if padded is None and _sha1(bytes(inner)) != decrypted[1 : 1 + _HASH_BYTES]:
            raise ExchangeError("the SHA-1 of p_q_inner_data is wrong")
        return inner

    def _check_data_centre(self, inner: Any) -> None:
        wanted = abs(getattr(inner, "dc", self._dc_id))
        if wanted not in (self._dc_id, self._dc_id + _TEST_DC_OFFSET):
            raise ExchangeError(f"this is not data centre {wanted}", transport_code=444)

    def _derive_temporary_key(self) -> None:
        new_nonce, server_nonce = self._new_nonce, self._server_nonce.to_bytes(16, "little", signed=True)
        crossed = _sha1(server_nonce + new_nonce)
        self._key = _sha1(new_nonce + server_nonce) + crossed[:12]
        self._iv = crossed[12:] + _sha1(new_nonce + new_nonce) + new_nonce[:4]

    def _finish(self, request: Any) -> Any:
        self._check_nonces(request)
        if not self._exponent:
            raise ExchangeError("set_client_DH_params came before req_DH_params")
        g_b = self._open_client_data(request.encrypted_data)
        key = maths.mod_power(g_b, self._exponent).to_bytes(256, "big")
        digest = _sha1(key)
        aux_hash = digest[:8]
        if self._failure == "DH_GEN_FAIL":
            return self._verdict(tl.types.DhGenFail, 3, aux_hash)
        if int.from_bytes(digest[-8:], "little") in self._keys or self._failure == "DH_GEN_RETRY":
            self._first_aux_hash = int.from_bytes(aux_hash, "little", signed=True)
            return self._verdict(tl.types.DhGenRetry, 2, aux_hash)
        server_nonce = self._server_nonce.to_bytes(16, "little", signed=True)
        salt = bytes(a ^ b for a, b in zip(self._new_nonce[:8], server_nonce[:8], strict=True))
        first_salt = int.from_bytes(salt, "little", signed=True)
        self._keys.add(key=key, dc_id=self._dc_id, first_salt=first_salt, life_seconds=self._life_seconds)
        verdict = self._verdict(tl.types.DhGenOk, 1, aux_hash)
        self._exponent = 0
        return verdict

    def _open_client_data(self, encrypted: bytes) -> int:
        if not encrypted or len(encrypted) % 16:
            raise ExchangeError("the client's DH data has an impossible length")
        decrypted = maths.decrypt_ige(encrypted, self._key, self._iv)
        try:
            inner = tl.read(decrypted[_HASH_BYTES:])
        except tl.MalformedTLError as exc:
            raise ExchangeError("the client's DH data is not client_DH_inner_data") from exc
        if not isinstance(inner, tl.types.ClientDHInnerData) or _sha1(bytes(inner)) != decrypted[:_HASH_BYTES]:
            raise ExchangeError("the client's DH data is damaged")
        self._check_nonces(inner)
        if inner.retry_id not in (0, self._first_aux_hash):
            raise ExchangeError("the retry_id is not the failed attempt's")
        g_b = int.from_bytes(inner.g_b, "big")
        if not maths.is_safe_public_value(g_b):
            raise ExchangeError("g_b is not within its safe range")
        return g_b

    def _verdict(self, verdict: Any, number: int, aux_hash: bytes) -> Any:
        new_nonce_hash = _int128(_sha1(self._new_nonce + bytes([number]) + aux_hash)[4:20])
        return verdict(self._nonce, self._server_nonce, new_nonce_hash)

    def _check_nonces(self, carrier: Any) -> None:
        if (carrier.nonce, carrier.server_nonce) != (self._nonce, self._server_nonce):
            raise ExchangeError("the nonces belong to no exchange of this connection")
