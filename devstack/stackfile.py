"""What a running stack tells about itself: `stack.json` for programs and `env` for shells.

Knows their form (the contract's), not how the stack runs.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devstack.configuration import Configuration
from devstack.files import write_private
from devstack.ports import HOST

SCOPES = ("logins,sessions:read,sessions:open,sessions:write,webhooks,audit,identity", "admin")


@dataclass(frozen=True)
class ApiKeys:
    """The tenant's key and the operator's."""

    api_key: str = field(repr=False)
    admin_api_key: str = field(repr=False)


def kept_api_keys(folder: Path) -> ApiKeys | None:
    """The keys that a former stack in this folder has made; its database knows them still."""
    path = folder / "api-keys.json"
    return ApiKeys(**json.loads(path.read_text())) if path.exists() else None


def keep_api_keys(folder: Path, api_key: str, admin_api_key: str) -> ApiKeys:
    """Keep the keys for the next stack in this folder."""
    keys = ApiKeys(api_key=api_key, admin_api_key=admin_api_key)
    write_private(folder / "api-keys.json", json.dumps(asdict(keys)))
    return keys


def describe(
    configuration: Configuration, *, keys: ApiKeys | None, pids: Mapping[str, int], tenant: str
) -> dict[str, Any]:
    """The contents of stack.json. A part that does not run has no address: null."""

    def url(name: str, path: str = "") -> str | None:
        return configuration.url(name) + path if name in pids else None

    return {
        "web": url("web"),
        "sandbox": url("sandbox"),
        "flower": url("flower"),
        "exporter": url("exporter", "/metrics"),
        "worker_metrics": [configuration.metrics_url(name) for name in configuration.worker_metrics],
        "beat_metrics": f"http://{HOST}:{configuration.beat_metrics}/metrics",
        "s3": url("s3"),
        "database_url": configuration.settings["DATABASE_OWNER_URL"],
        "redis_url": configuration.redis_admin_url,
        "telegram": asdict(configuration.telegram),
        **(asdict(keys) if keys else {}),
        "tenant_id": tenant,
        "pids": dict(pids),
    }


def write(folder: Path, description: Mapping[str, Any], *, settings: Mapping[str, str]) -> None:
    """Write both files; a reader sees the old ones or the new ones, never a half."""
    shell = {**settings, "LATCHKEY_URL": description["web"], "LATCHKEY_API_KEY": description["api_key"]}
    if description["sandbox"]:
        shell["SANDBOX_CONTROL"] = description["sandbox"]
    write_private(folder / "env", "".join(f"{name}={shlex.quote(value)}\n" for name, value in shell.items()))
    write_private(folder / "stack.json", json.dumps(description, indent=1) + "\n")


def remove(folder: Path) -> None:
    """Tell no longer: the stack is gone, or not ready."""
    for name in ("stack.json", "env"):
        (folder / name).unlink(missing_ok=True)
