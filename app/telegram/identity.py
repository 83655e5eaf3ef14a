"""Who we are to Telegram: api_id, device names and proxy, from the settings and a tenant's overrides.

They stay the same for the life of a session; a session's row remembers those it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from app.errors import SettingsError
from app.setting_values import split_proxy
from app.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ApiIdentity:
    """What ``initConnection`` tells Telegram, and the way there. Source: https://core.telegram.org/method/initConnection"""

    api_id: int
    api_hash: str = field(repr=False)
    device_model: str
    system_version: str
    app_version: str
    lang_code: str = "en"
    proxy: str | None = field(default=None, repr=False)

    def kept(self) -> dict[str, Any]:
        """What a session must keep for its life, as its row remembers it: overrides for ``identity_for``.

        The proxy may hold a password: it is sealed in a column of its own, and here stands only whether there is one.
        """
        return {"api_id": self.api_id, "proxied": self.proxy is not None} | self.device()

    def device(self) -> dict[str, str]:
        """The names that the session has in the list of devices."""
        return {
            "device_model": self.device_model,
            "system_version": self.system_version,
            "app_version": self.app_version,
        }


def identity_for(settings: Settings, overrides: Mapping[str, Any]) -> ApiIdentity:
    """Combine the installation's settings with a tenant's (or a session's) overrides.

    Args:
        overrides: any of ``api_id``, ``api_hash``, ``device_model``, ``system_version``, ``app_version``, ``proxy``; a proxy
            that is None is none, whatever the settings say.
    """
    return ApiIdentity(
        api_id=int(overrides.get("api_id") or settings.telegram_api_id),
        api_hash=str(overrides.get("api_hash") or settings.telegram_api_hash.get_secret_value()),
        device_model=str(overrides.get("device_model") or settings.telegram_device_model),
        system_version=str(overrides.get("system_version") or settings.telegram_system_version),
        app_version=str(overrides.get("app_version") or settings.telegram_app_version),
        proxy=overrides.get("proxy", settings.telegram_proxy),
    )


def parse_proxy(url: str) -> dict[str, Any]:
    """Turn ``socks5://user:password@host:port`` into what Telethon's connection takes.

    Raises:
        SettingsError: it is not such a URL. The message leaves the password out.
    """
    try:
        parts = split_proxy(url)
    except ValueError as exc:
        raise SettingsError(f"The proxy (TELEGRAM_PROXY, or the tenant's own) {exc}") from None
    return {
        "proxy_type": parts.scheme,
        "addr": parts.hostname,
        "port": parts.port,
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "rdns": True,
    }
