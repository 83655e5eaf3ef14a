"""Telegram: is there a way to it, does it speak MTProto, does it know our api_id, does its clock agree.

``initConnection`` names the api_id, so that a server may refuse a wrong one there. A wrong api_hash shows only when a login
begins, which is nothing to try: here its form is all that can be looked at.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from python_socks import ProxyError
from python_socks.sync import Proxy

from app.doctor.database import compare_clocks
from app.doctor.finding import LOOK_SECONDS, Finding, reason
from app.errors import AppError
from app.settings import DataCentre, Settings
from app.telegram.connection import TelegramConnection
from app.telegram.errors import TelegramRefused
from app.telegram.identity import identity_for
from app.telegram.preparation import prepare_telethon
from app.telegram.runtime import LoopThread

_TELEGRAM = DataCentre(dc_id=2, host="149.154.167.51", port=443)  # Telethon's own first address
_INTRODUCTION_SECONDS = 12.0
_API_HASH = re.compile(r"[0-9a-f]{32}")
_MY_TELEGRAM = "copy api_id and api_hash from https://my.telegram.org"


def look_at_telegram(settings: Settings) -> Iterator[Finding]:
    """Reach it, through the proxy if there is one; then introduce ourselves."""
    if not _API_HASH.fullmatch(settings.telegram_api_hash.get_secret_value()):
        yield Finding("api_id", "warning", "TELEGRAM_API_HASH is not 32 hexadecimal digits", _MY_TELEGRAM)
    data_centre = settings.data_centre or _TELEGRAM
    way = _through_proxy(settings.telegram_proxy, data_centre) if settings.telegram_proxy else _directly(data_centre)
    yield way
    if way.state == "ok":
        yield from _introduce(settings, data_centre)


def _directly(data_centre: DataCentre) -> Finding:
    started = time.monotonic()
    try:
        with socket.create_connection((data_centre.host, data_centre.port), timeout=LOOK_SECONDS):
            took_ms = (time.monotonic() - started) * 1000
    except OSError as exc:
        advice = "allow outgoing TCP to it, set TELEGRAM_PROXY, or mend TELEGRAM_DC_ADDRESS"
        return Finding("telegram", "failed", f"{data_centre.host}:{data_centre.port}: {reason(exc)}", advice)
    return Finding("telegram", "ok", f"data centre {data_centre.dc_id} answers TCP in {took_ms:.0f} ms")


def _through_proxy(url: str, data_centre: DataCentre) -> Finding:
    # No exception's text: it may repeat the proxy's password.
    where = f"{urlsplit(url).hostname}:{urlsplit(url).port}"
    try:
        Proxy.from_url(url).connect(data_centre.host, data_centre.port, timeout=LOOK_SECONDS).close()
    except TimeoutError:
        return Finding("telegram", "failed", f"the proxy at {where} is silent", "mend the proxy, or TELEGRAM_PROXY")
    except OSError:
        return Finding("telegram", "failed", f"no proxy answers at {where}", "start it, or mend TELEGRAM_PROXY")
    except ProxyError:
        advice = "check TELEGRAM_PROXY's scheme, user and password, and that the proxy may connect there"
        found = f"the proxy at {where} does not connect to {data_centre.host}:{data_centre.port}"
        return Finding("telegram", "failed", found, advice)
    return Finding("telegram", "ok", f"data centre {data_centre.dc_id} answers through the proxy at {where}")


def _introduce(settings: Settings, data_centre: DataCentre) -> Iterator[Finding]:
    prepare_telethon(settings)
    loop = LoopThread()
    loop.start()
    try:
        ahead_seconds = loop.run(_ask(settings, data_centre), timeout_seconds=_INTRODUCTION_SECONDS)
    except TelegramRefused as exc:
        if exc.error in ("API_ID_INVALID", "CONNECTION_API_ID_INVALID"):
            yield Finding("api_id", "failed", f"Telegram refuses api_id {settings.telegram_api_id}", _MY_TELEGRAM)
        else:
            yield Finding("telegram", "failed", exc.detail, "look at https://core.telegram.org/api/errors")
    except (AppError, TimeoutError) as exc:
        advice = (
            "check TELEGRAM_DC_ADDRESS and TELEGRAM_PUBLIC_KEY_FILE, and that nothing on the way changes what is sent"
        )
        found = f"it answers TCP and makes no auth key: {reason(exc) if isinstance(exc, AppError) else 'it is silent'}"
        yield Finding("telegram", "failed", found, advice)
    else:
        yield Finding("api_id", "ok", "taken so far; a wrong api_hash shows only when a login begins")
        yield compare_clocks(-ahead_seconds, whose="Telegram's")
    finally:
        loop.stop()


async def _ask(settings: Settings, data_centre: DataCentre) -> float:
    """Make an auth key, introduce ourselves under it, and forget it; how many seconds the server's clock is ahead."""
    connection = TelegramConnection(
        identity=identity_for(settings, {}),
        data_centre=data_centre,
        auth_key=None,
        handshakes=asyncio.Semaphore(1),
        receive_updates=False,
    )
    try:
        await connection.open()
        return connection.server_time_offset_seconds
    finally:
        await connection.close()
