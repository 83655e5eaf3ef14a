"""What Telethon raises, as one of ``app.telegram.errors``."""

from __future__ import annotations

import re

from telethon import errors as telethon_errors

from app.errors import AppError, FloodWait, Transient
from app.telegram.errors import DEATHS, ConnectionLost, MigrateTo, NotAuthorized, PasswordNeeded, TelegramRefused

_PASSING = frozenset(
    {"TIMEOUT", "AUTH_RESTART", "RPC_CALL_FAIL", "RPC_MCGET_FAIL", "WORKER_BUSY_TOO_LONG_RETRY", "MSG_WAIT_FAILED"}
    | {"MSG_WAIT_TIMEOUT", "CONNECTION_NOT_INITED", "CONNECTION_LAYER_INVALID"}  # said well on a new connection
)


def translate(error: BaseException, *, method: str) -> AppError:
    """Turn what Telethon raised into one of ours; raise it ``from`` the original."""
    # FLOOD_WAIT_X, FLOOD_PREMIUM_WAIT_X and their kin: all say how long.
    if isinstance(error, telethon_errors.FloodError) and isinstance(seconds := getattr(error, "seconds", None), int):
        return FloodWait(method=method, wait_seconds=float(max(1, seconds)))
    if isinstance(error, telethon_errors.InvalidDCError) and getattr(error, "new_dc", None):
        return MigrateTo(int(error.new_dc))
    if isinstance(error, telethon_errors.AuthKeyNotFound):
        return NotAuthorized(DEATHS["AUTH_KEY_UNREGISTERED"])
    if isinstance(error, telethon_errors.RPCError):
        return _translate_rpc(error, method=method)
    if isinstance(error, OSError | EOFError | telethon_errors.InvalidBufferError | telethon_errors.SecurityError):
        return ConnectionLost(f"The connection to Telegram ended during {method} ({type(error).__name__}).")
    return Transient(f"{method} failed ({type(error).__name__}).")


def rpc_name(error: telethon_errors.RPCError) -> str:
    """The RPC error's name as Telegram sends it. Telethon keeps only a class for those that it knows."""
    if type(error).__module__ == "telethon.errors.rpcerrorlist":
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).upper()
    return str(error.message)


def _translate_rpc(error: telethon_errors.RPCError, *, method: str) -> AppError:
    name = rpc_name(error)
    if name == "SESSION_PASSWORD_NEEDED":
        return PasswordNeeded("This account has a 2FA password.")
    if name in DEATHS:
        return NotAuthorized(DEATHS[name])
    if abs(int(error.code or 0)) >= 500 or name in _PASSING:
        return Transient(f"Telegram has internal trouble with {method} ({name}).")
    return TelegramRefused(name, method=method)
