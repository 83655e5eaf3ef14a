"""Keeps in a file what must survive a restart: RSA key, ports, accounts, auth keys, authorizations.

One JSON object per line, appended at each change and read back at the start, where the last line of each
thing counts. A line torn by a crash is left out. Login tokens and codes are not kept: they live for seconds.
"""

import base64
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from sandbox.mtproto.auth_keys import KeyRing
from sandbox.telegram.cloud import Cloud
from sandbox.telegram.model import AcceptMode, Account, AccountState, Authorization, CodeWay, Device, PhoneMessage
from sandbox.telegram.srp import Password

Record = dict[str, Any]


class StateFile:
    """A journal in a file; see `sandbox.telegram.journal.Journal`."""

    def __init__(self, path: Path) -> None:
        """Read what the file holds and rewrite it without what was superseded."""
        self._records = _read(path)
        fresh = path.with_name(path.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file: TextIO = os.fdopen(descriptor, "w", encoding="utf-8")
        for record in self._records.values():
            self._write(record)
        fresh.replace(path)

    def close(self) -> None:
        """Write nothing more."""
        self._file.close()

    # -- the server's own

    def server(self) -> Record:
        """Return what `save_server` kept; empty at first."""
        return self._records.get(("server", ""), {})

    def save_server(self, **facts: Any) -> None:
        """Keep the RSA key and the ports."""
        self._keep({"kind": "server", "id": "", **facts})

    # -- the journal

    def save_account(self, account: Account) -> None:
        """Keep an account as it is now; its authorizations are kept with their devices."""
        record = {name: getattr(account, name) for name in _ACCOUNT_FIELDS}
        password = account.password
        record["password"] = password and {
            "salt1": _text(password.salt1),
            "salt2": _text(password.salt2),
            "verifier": str(password.verifier),
            "hint": password.hint,
        }
        record["messages"] = [asdict(message) for message in account.messages]
        self._keep({"kind": "account", "id": account.user_id, **record})

    def save_device(self, device: Device) -> None:
        """Keep a device with its auth key and its authorization."""
        key = device.auth_key
        record = {name: getattr(device, name) for name in _DEVICE_FIELDS}
        record["auth_key"] = {
            "key": _text(key.key),
            "dc_id": key.dc_id,
            "first_salt": key.first_salt,
            "created_at": key.created_at,
        }
        record["authorization"] = device.authorization and asdict(device.authorization)
        self._keep({"kind": "device", "id": key.key_id, **record})

    def remove_device(self, key_id: int) -> None:
        """Forget a device."""
        self._keep({"kind": "device", "id": key_id, "gone": True})

    def restore(self, cloud: Cloud, keys: KeyRing) -> None:
        """Put everything that was kept back where it was."""
        for record in list(self._records.values()):
            if record["kind"] == "account":
                account = _account(record)
                cloud.accounts[account.user_id] = account
        for record in list(self._records.values()):
            if record["kind"] == "device":
                _restore_device(record, cloud, keys)

    def _keep(self, record: Record) -> None:
        if not self._file.closed:
            self._write(record)

    def _write(self, record: Record) -> None:
        self._file.write(json.dumps(record, separators=(",", ":")) + "\n")
        self._file.flush()


_ACCOUNT_FIELDS = ("user_id", "phone", "first_name", "username", "dc_id", "accept", "state", "access_hash", "code_ways")
_DEVICE_FIELDS = (
    "layer", "api_id", "device_model", "system_version", "app_version", "accepted_by", "death",
    "is_duplicated",
)  # fmt: skip


def _read(path: Path) -> dict[tuple[str, Any], Record]:
    records: dict[tuple[str, Any], Record] = {}
    for record in _parse(path.read_text(encoding="utf-8").splitlines() if path.exists() else []):
        if record.get("gone"):
            records.pop((record["kind"], record["id"]), None)
        else:
            records[record["kind"], record["id"]] = record
    return records


def _parse(lines: Iterable[str]) -> Iterable[Record]:
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _account(record: Record) -> Account:
    kept = {name: record[name] for name in _ACCOUNT_FIELDS}
    kept["accept"], kept["state"] = AcceptMode(kept["accept"]), AccountState(kept["state"])
    kept["code_ways"] = tuple(map(CodeWay, kept["code_ways"]))
    password = record["password"]
    return Account(
        **kept,
        password=password
        and Password(
            base64.b64decode(password["salt1"]),
            base64.b64decode(password["salt2"]),
            int(password["verifier"]),
            password["hint"],
        ),
        messages=[PhoneMessage(**message) for message in record["messages"]],
    )


def _restore_device(record: Record, cloud: Cloud, keys: KeyRing) -> None:
    kept_key = record["auth_key"]
    auth_key = keys.restore(**{**kept_key, "key": base64.b64decode(kept_key["key"])})
    device = Device(auth_key, **{name: record[name] for name in _DEVICE_FIELDS})
    cloud.devices[auth_key.key_id] = device
    if record["authorization"]:
        authorization = Authorization(**record["authorization"])
        device.authorization = authorization
        cloud.accounts[authorization.user_id].authorizations[authorization.hash] = authorization
