"""The names of objects in the bucket. A name says all that planning a restore or an expiry needs, so that a listing is enough.

``sessions/{tenant}/{session}/{time}.{version}.{key id}.{checksum}.json``: per session in the order of time. The checksum is of
the content, so that two objects of one name are the same object, whoever wrote them and whatever happened to the database.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, unquote

SESSIONS = "sessions/"
MANIFESTS = "manifests/"
KEYS = "keys/"
TENANT_KEYS = "tenants/"

_ERASED = "erased"
_TIME = "%Y%m%dT%H%M%S%fZ"
_NAME = re.compile(r"sessions/([^/]+)/([^/]+)/(\d{8}T\d{12}Z)\.(\d+)\.(\w+)\.([0-9a-f]{64})\.json")


class ObjectName(NamedTuple):
    """The name of a session's backup. ``key_id`` is None of a tombstone: from then on there is nothing to restore."""

    tenant_id: str
    session_id: str
    backed_up_at: datetime
    version: int
    key_id: str | None
    checksum: str

    @property
    def object_key(self) -> str:
        """The object's key in the bucket."""
        stem = f"{format_time(self.backed_up_at)}.{self.version}.{self.key_id or _ERASED}.{self.checksum}"
        return f"{tenant_prefix(self.tenant_id)}{self.session_id}/{stem}.json"

    @property
    def is_tombstone(self) -> bool:
        """Whether it says that the session was erased."""
        return self.key_id is None


def parse_name(object_key: str) -> ObjectName | None:
    """Read a name; None when it is not one of ours."""
    match = _NAME.fullmatch(object_key)
    if match is None:
        return None
    tenant, session_id, time, version, key_id, checksum = match.groups()
    return ObjectName(
        tenant_id=unquote(tenant),
        session_id=session_id,
        backed_up_at=datetime.strptime(time, _TIME).replace(tzinfo=UTC),
        version=int(version),
        key_id=None if key_id == _ERASED else key_id,
        checksum=checksum,
    )


def format_time(time: datetime) -> str:
    """A time as names have it: sorts as text."""
    return time.astimezone(UTC).strftime(_TIME)


def tenant_prefix(tenant_id: str) -> str:
    """Where a tenant's objects are."""
    return f"{SESSIONS}{_quoted(tenant_id)}/"


def tenant_keys_prefix(tenant_id: str) -> str:
    """Where a tenant's key is: ``tenants/{tenant}/{id}.{checksum}.json``."""
    return f"{TENANT_KEYS}{_quoted(tenant_id)}/"


def _quoted(tenant_id: str) -> str:
    # Dots are quoted too: some servers keep keys as paths of files.
    return quote(tenant_id, safe="").replace(".", "%2E")
