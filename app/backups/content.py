"""What an object says: a session's row, still sealed, with its tenant and its wrapped key; JSON with a checksum.

Nothing in it opens without the key encryption key, which is not in it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from pydantic.types import StringConstraints

from app.errors import Permanent
from app.models import SESSION_STATUSES
from app.vault.wrapping import WrappedKey

Status = Annotated[str, StringConstraints(pattern=f"^({'|'.join(SESSION_STATUSES)})$")]
Model = TypeVar("Model", bound=BaseModel)


class BackupCorrupt(Permanent):
    """Raised when an object is not what was stored: changed, cut short, or not one of ours."""

    code = "backup_corrupt"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class TenantContent(_Part):
    """The tenant's row. ``telegram_sealed``: its overrides (api_hash and proxy are secrets), None when it has none.

    What has a default is missing in backups from before it was kept.
    """

    id: str
    name: str
    session_max_idle_days: int | None
    created_at: AwareDatetime
    disabled_at: AwareDatetime | None
    telegram_sealed: bytes | None
    brand: dict[str, Any] = {}
    redirect_urls: list[str] = []
    origins: list[str] = []


class SessionContent(_Part):
    """The session's row, less its lease and its ciphertext; of whom it is, is sealed beside it (``PERSONAL``)."""

    id: str
    telegram_user_id: int | None = None
    end_user_id: str | None = None
    username: str | None = None
    first_name: str | None = None
    phone_masked: str | None = None
    dc_id: int
    status: Status
    reason: str | None
    metadata: dict[str, Any] = {}
    device: dict[str, Any]
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime
    last_validated_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
    logout_pending: bool


PERSONAL = ("telegram_user_id", "end_user_id", "username", "first_name", "phone_masked", "metadata")
"""Who a session is of, and what its tenant says of them: who reads the bucket learns none of it."""


class KeyContent(_Part):
    """A data encryption key, wrapped."""

    key_id: str
    provider: str
    wrapping_key_id: str
    wrapped_key: bytes
    created_at: AwareDatetime

    def to_wrapped(self) -> WrappedKey:
        """As the providers take it."""
        return WrappedKey(self.key_id, self.provider, self.wrapping_key_id, self.wrapped_key)


class Content(_Part):
    """A backup of one version of a session.

    ``digest_sealed`` is the digest of all the rest, sealed under the session's key: whoever can write to the bucket can make a
    checksum, but not this. ``person_sealed`` has what is ``PERSONAL`` of the session, as JSON; None in older backups, that have
    it in the open. With a ``tenant_key_id`` whatever is sealed but the digest is sealed once more, under that tenant's key.
    """

    format: Literal["latchkey-session-1"] = "latchkey-session-1"
    backed_up_at: AwareDatetime
    tenant: TenantContent
    session: SessionContent
    key: KeyContent
    session_sealed: bytes
    proxy_sealed: bytes | None = None
    person_sealed: bytes | None = None
    tenant_key_id: str | None = None
    digest_sealed: bytes

    def digest(self) -> bytes:
        """SHA-256 of everything that was stored but ``digest_sealed``, in canonical form."""
        left_out = {"digest_sealed"}
        if self.proxy_sealed is None:  # objects from before proxies were kept have no such member
            left_out.add("proxy_sealed")
        # Unset is what the object does not have, because it is from before there was such a member.
        return hashlib.sha256(_canonical(self.model_dump(mode="json", exclude=left_out, exclude_unset=True))).digest()


class TenantKeyContent(_Part):
    """A tenant's key for its backups, sealed under a data encryption key; see ``app.backups.tenant_keys``."""

    format: Literal["latchkey-tenant-key-1"]
    id: str
    tenant_id: str
    key: KeyContent
    secret_sealed: bytes


class Signed(_Part):
    """What steers a restore or an expiry; see ``app.backups.authentic``. Without a signature it steers nothing."""

    key: KeyContent | None = None
    digest_sealed: bytes | None = None


class Tombstone(Signed):
    """Says that a session was erased: from here on there is nothing to restore, and what is older expires."""

    format: Literal["latchkey-tombstone-1", "latchkey-tombstone-2"] = "latchkey-tombstone-2"
    backed_up_at: AwareDatetime
    tenant_id: str
    session_id: str
    version: int


def encode(content: BaseModel) -> tuple[bytes, str]:
    """Write an object's body.

    Returns:
        The body, and the SHA-256 (hex) of the content in its canonical form: keys sorted, no spaces, UTF-8.
    """
    canonical = _canonical(content.model_dump(mode="json", exclude_unset=isinstance(content, Content)))
    checksum = hashlib.sha256(canonical).hexdigest()
    return b'{"checksum":"' + checksum.encode() + b'","content":' + canonical + b"}\n", checksum


def decode(body: bytes, model: type[Model], *, checksum: str) -> Model:
    """Read an object's body.

    Args:
        checksum: what the name says; the body's own must be the same.

    Raises:
        BackupCorrupt: it is not what was stored.
    """
    try:
        fields = json.loads(body)
        canonical, said = _canonical(fields["content"]), fields["checksum"]
    except (ValueError, KeyError, TypeError) as exc:
        raise BackupCorrupt("It is not an object of ours.") from exc
    if not said == checksum == hashlib.sha256(canonical).hexdigest():
        raise BackupCorrupt("Its content does not have its checksum.")
    try:
        return model.model_validate_json(canonical)
    except ValidationError as exc:
        raise BackupCorrupt(f"Its content is no {model.__name__} of this format.") from exc


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
