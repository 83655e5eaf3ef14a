"""The control API's JSON: what it shows of accounts, authorizations, faults, the network. Decides nothing."""

import base64
from datetime import UTC, datetime
from typing import Any

from sandbox.mtproto.network import Network
from sandbox.telegram.faults import Fault
from sandbox.telegram.model import Account, Authorization, Device, LoginToken, PhoneMessage


def time(timestamp: float) -> str:
    """Return Unix time as RFC 3339."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def account(shown: Account) -> dict[str, Any]:
    """Show an account."""
    return {
        "id": shown.user_id,
        "phone": shown.phone,
        "dc_id": shown.dc_id,
        "first_name": shown.first_name,
        "username": shown.username,
        "has_password": shown.password is not None,
        "hint": shown.password.hint if shown.password else None,
        "accept": shown.accept,
        "code_deliveries": list(shown.code_ways),
        "state": shown.state,
    }


def login_token(device: Device, shown: LoginToken) -> dict[str, Any]:
    """Show a login token as the URL in the QR code, and which device shows it; `except_ids` may not scan it."""
    return {
        "url": "tg://login?token=" + base64.urlsafe_b64encode(shown.token).decode().rstrip("="),
        "expires_at": time(shown.expires_at),
        "except_ids": sorted(shown.except_ids),
        "api_id": device.api_id,
        "device_model": device.device_model,
        "system_version": device.system_version,
        "app_version": device.app_version,
        "dc_id": device.auth_key.dc_id,
        "auth_key_id": f"{device.auth_key.key_id:016x}",
    }


def authorization(shown: Authorization) -> dict[str, Any]:
    """Show one login of an account. The hash is text: JavaScript cuts numbers of 62 bits."""
    return {
        "hash": str(shown.hash),
        "api_id": shown.api_id,
        "device_model": shown.device_model,
        "created_at": time(shown.created_at),
        "password_pending": shown.password_pending,
        "auth_key_id": f"{shown.key_id:016x}",
    }


def network(shown: Network) -> dict[str, Any]:
    """Show the weather."""
    return {"mode": shown.mode, "latency_ms": round(shown.latency_seconds * 1000)}


def fault(shown: Fault) -> dict[str, Any]:
    """Show a fault and the calls that it still waits for."""
    return {
        "id": shown.fault_id,
        "method": shown.method,
        "error": shown.error,
        "delay_ms": round(shown.delay_seconds * 1000),
        "drop_connection": shown.drop_connection,
        "silent": shown.silent,
        "lose_update": shown.lose_update,
        "times": shown.times,
        "user_id": shown.user_id,
        "auth_key_id": None if shown.auth_key_id is None else f"{shown.auth_key_id:016x}",
    }


def message(shown: PhoneMessage) -> dict[str, Any]:
    """Show a login code on an account's phone."""
    return {"text": shown.text, "code": shown.code, "delivery": shown.delivery, "sent_at": time(shown.sent_at)}
