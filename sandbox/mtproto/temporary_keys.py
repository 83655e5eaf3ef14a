"""Binding a temporary auth key to a permanent one, which is what perfect forward secrecy is in MTProto.

Source: https://core.telegram.org/api/pfs and https://core.telegram.org/method/auth.bindTempAuthKey
"""

import struct
import time
from hashlib import sha1
from typing import Any, Final

from sandbox import tl
from sandbox.mtproto.arithmetic import decrypt_ige
from sandbox.mtproto.auth_keys import AuthKey, KeyRing
from sandbox.mtproto.call import Call

_HEADER: Final = struct.Struct("<16sqii")
_INNER_BYTES: Final = 40
_CLOCK_SLACK_SECONDS: Final = 60


class BindingRefusedError(Exception):
    """Raised when a key cannot be bound; `name` is Telegram's error."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def bind(keys: KeyRing, call: Call, request: Any) -> None:
    """Bind the temporary key that a call came with to the permanent one that it names; the last one bound counts.

    Raises:
        BindingRefusedError: TEMP_AUTH_KEY_EMPTY, TEMP_AUTH_KEY_ALREADY_BOUND, EXPIRES_AT_INVALID,
            ENCRYPTED_MESSAGE_INVALID.
    """
    temporary = call.session.auth_key
    if temporary.expires_at is None:
        raise BindingRefusedError("TEMP_AUTH_KEY_EMPTY")
    permanent = keys.find(request.perm_auth_key_id % 2**64, dc_id=temporary.dc_id)
    if permanent is None or permanent.expires_at is not None:
        raise BindingRefusedError("ENCRYPTED_MESSAGE_INVALID")
    if temporary.permanent not in (None, permanent):
        raise BindingRefusedError("TEMP_AUTH_KEY_ALREADY_BOUND")
    if not time.time() < request.expires_at.timestamp() <= temporary.expires_at + _CLOCK_SLACK_SECONDS:
        raise BindingRefusedError("EXPIRES_AT_INVALID")
    msg_id, inner = _open(permanent, request.encrypted_message)
    promised = (inner.nonce, inner.perm_auth_key_id, inner.expires_at, inner.temp_auth_key_id, inner.temp_session_id)
    asked = (request.nonce, request.perm_auth_key_id, request.expires_at)
    if (msg_id, *promised) != (call.message.msg_id, *asked, _signed(temporary.key_id), call.session.session_id):
        raise BindingRefusedError("ENCRYPTED_MESSAGE_INVALID")
    temporary.bind_to(permanent)


def _open(permanent: AuthKey, sealed: bytes) -> tuple[int, Any]:
    """Decrypt the message that only the owner of the permanent key can have made, as MTProto 1.0 did.

    Returns its msg_id and its bind_auth_key_inner.
    """
    key_id, msg_key, encrypted = sealed[:8], sealed[8:24], sealed[24:]
    if key_id != permanent.key_id.to_bytes(8, "little") or not encrypted or len(encrypted) % 16:
        raise BindingRefusedError("ENCRYPTED_MESSAGE_INVALID")
    plain = decrypt_ige(encrypted, *_derive(permanent.key, msg_key))
    message = plain[: _HEADER.size + _INNER_BYTES]
    if sha1(message).digest()[4:20] != msg_key:  # noqa: S324 - the protocol's own hash
        raise BindingRefusedError("ENCRYPTED_MESSAGE_INVALID")
    _random, msg_id, seq_no, length = _HEADER.unpack_from(message)
    try:
        inner = tl.read(message[_HEADER.size :])
    except tl.MalformedTLError as exc:
        raise BindingRefusedError("ENCRYPTED_MESSAGE_INVALID") from exc
    if (seq_no, length) != (0, _INNER_BYTES) or not isinstance(inner, tl.types.BindAuthKeyInner):
        raise BindingRefusedError("ENCRYPTED_MESSAGE_INVALID")
    return msg_id, inner


def _derive(auth_key: bytes, msg_key: bytes) -> tuple[bytes, bytes]:
    """Return AES key and IV of a client's message. Source: https://core.telegram.org/mtproto/description_v1."""
    a = sha1(msg_key + auth_key[:32]).digest()  # noqa: S324 - the protocol's own hash
    b = sha1(auth_key[32:48] + msg_key + auth_key[48:64]).digest()  # noqa: S324
    c = sha1(auth_key[64:96] + msg_key).digest()  # noqa: S324
    d = sha1(msg_key + auth_key[96:128]).digest()  # noqa: S324
    return a[:8] + b[8:20] + c[4:16], a[8:20] + b[:8] + c[16:20] + d[:8]


def _signed(key_id: int) -> int:
    return key_id - 2**64 if key_id >= 2**63 else key_id
