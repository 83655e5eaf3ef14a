"""The tables. Columns and constraints only: what is done with a row lives with its subject.

PostgreSQL is the truth. Everything secret in it is sealed (``*_sealed`` columns, each beside the ``key_id`` of the data
encryption key it needs) or hashed (``*_hash``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, synonym

LIVE_LOGIN_STATUSES = ("queued", "waiting_for_scan", "code_required", "password_required")
FINAL_LOGIN_STATUSES = ("authorized", "expired", "failed", "cancelled")
SESSION_STATUSES = ("active", "quarantined", "invalid", "revoking", "revoked", "replaced")
VALIDATED_SESSION_STATUSES = ("active", "quarantined")
DELIVERY_STATES = ("pending", "delivered", "failed")
KEY_STATES = ("active", "retiring", "retired", "destroyed")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Base(DeclarativeBase):
    """What all tables share: constraint names that migrations can rely on, and aware timestamps."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it as a plain class attribute
        str: Text(),
        datetime: DateTime(timezone=True),
        bytes: LargeBinary(),
        dict[str, Any]: JSONB(),
        list[str]: ARRAY(Text()),
    }


class Tenant(Base):
    """A customer of this installation; owns everything else.

    ``telegram`` overrides the installation's api_id and device names; api_hash and proxy are sealed (``app.identities``).
    """

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    # As the other sealed tables have it.
    tenant_id: Mapped[str] = synonym("id")
    telegram: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    key_id: Mapped[str | None] = mapped_column(ForeignKey("encryption_keys.openable_id"))
    api_hash_sealed: Mapped[bytes | None]
    proxy_sealed: Mapped[bytes | None]
    # What the hosted page shows of the tenant ("name", "accent", "logo"), and where it may lead or be embedded.
    brand: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    redirect_urls: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    origins: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    session_max_idle_days: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            "(api_hash_sealed IS NULL AND proxy_sealed IS NULL) OR key_id IS NOT NULL", name="sealed_has_key_id"
        ),
        Index("ix_tenants_key_id_id", "key_id", "id"),
    )


class TenantKey(Base):
    """A tenant's key for its backups, sealed: when it is gone, they say nothing any more. The bucket has the same."""

    __tablename__ = "tenant_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), unique=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("encryption_keys.openable_id"))
    secret_sealed: Mapped[bytes]

    __table_args__ = (Index("ix_tenant_keys_key_id_id", "key_id", "id"),)


class TenantPurge(Base):
    """A tenant that is to go with all that is kept of it, or that went. ``report`` counts what; its own row is gone then."""

    __tablename__ = "tenant_purges"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    actor: Mapped[str]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    report: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))

    __table_args__ = (
        Index("uq_tenant_purges_one_under_way", "tenant_id", unique=True, postgresql_where=text("finished_at IS NULL")),
        Index("ix_tenant_purges_tenant_id_requested_at", "tenant_id", "requested_at"),
    )


class ApiKey(Base):
    """An API key: its hash and scopes. The key itself was shown once."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    key_prefix: Mapped[str]
    key_hash: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    # Where it may be used from, as CIDR networks; empty: from anywhere.
    networks: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))


class EncryptionKey(Base):
    """A data encryption key, wrapped. ``wrapping_key_id`` names the key encryption key at the provider.

    What is sealed under a key refers to its ``openable_id``, which is the id until the key is destroyed. So PostgreSQL itself
    refuses to destroy a key that something needs, and to store anything under a key that is gone.
    """

    __tablename__ = "encryption_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    # Written as PostgreSQL prints it back, which is what the drift check compares.
    openable_id: Mapped[str | None] = mapped_column(
        Computed("CASE WHEN (state <> 'destroyed'::text) THEN id ELSE NULL::text END", persisted=True), unique=True
    )
    state: Mapped[str]
    provider: Mapped[str]
    wrapping_key_id: Mapped[str]
    wrapped_key: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    state_changed_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint(_one_of("state", KEY_STATES), name="state"),
        CheckConstraint("(wrapped_key IS NULL) = (state = 'destroyed')", name="destroyed_has_no_key"),
        Index("uq_encryption_keys_one_active", "state", unique=True, postgresql_where=text("state = 'active'")),
    )


class Login(Base):
    """A login on its way. ``version`` counts what the public sees; ``owner_epoch`` fences the worker that drives it."""

    __tablename__ = "logins"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    telegram_user_id: Mapped[int | None] = mapped_column(BigInteger)
    method: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str | None]
    replace: Mapped[bool] = mapped_column(server_default=text("false"))
    reused: Mapped[bool] = mapped_column(server_default=text("false"))
    locale: Mapped[str | None]
    # The tenant's own name for the person.
    end_user_id: Mapped[str | None]
    # A re-login: this session gets the new auth key, and keeps its id.
    relogin_session_id: Mapped[str | None] = mapped_column(ForeignKey("sessions.id", ondelete="SET NULL"))
    # The first login of those that its user started again and again.
    repeats_login_id: Mapped[str | None]
    redirect_url: Mapped[str | None]
    origin: Mapped[str | None]
    # The key that it was asked for with.
    api_key_id: Mapped[str | None]
    client_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    client_secret_hash: Mapped[bytes]
    session_id: Mapped[str | None] = mapped_column(ForeignKey("sessions.id", ondelete="SET NULL"))

    version: Mapped[int] = mapped_column(server_default=text("1"))
    owner_epoch: Mapped[int] = mapped_column(server_default=text("0"))
    owner: Mapped[str | None]
    dispatches: Mapped[int] = mapped_column(server_default=text("0"))
    next_dispatch_at: Mapped[datetime | None]
    retry_after_at: Mapped[datetime | None]

    key_id: Mapped[str | None] = mapped_column(ForeignKey("encryption_keys.openable_id"))
    client_secret_sealed: Mapped[bytes | None]
    auth_key_sealed: Mapped[bytes | None]
    phone_sealed: Mapped[bytes | None]
    dc_id: Mapped[int | None]
    dc_host: Mapped[str | None]
    dc_port: Mapped[int | None]

    qr_expires_at: Mapped[datetime | None]
    password_hint: Mapped[str | None]
    password_attempts_left: Mapped[int | None]
    code: Mapped[dict[str, Any] | None]

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(_one_of("status", LIVE_LOGIN_STATUSES + FINAL_LOGIN_STATUSES), name="status"),
        CheckConstraint("method IN ('qr', 'code')", name="method"),
        CheckConstraint("(finished_at IS NOT NULL) = " + _one_of("status", FINAL_LOGIN_STATUSES), name="finished"),
        Index("ix_logins_tenant_id_created_at", "tenant_id", "created_at"),
        Index(
            "uq_logins_one_live_per_user",
            "tenant_id",
            "telegram_user_id",
            unique=True,
            postgresql_where=text(_one_of("status", LIVE_LOGIN_STATUSES)),
        ),
        Index(
            "uq_logins_one_live_per_end_user",
            "tenant_id",
            "end_user_id",
            unique=True,
            postgresql_where=text(_one_of("status", LIVE_LOGIN_STATUSES)),
        ),
        Index("ix_logins_repeats_login_id", "repeats_login_id", postgresql_where=text("repeats_login_id IS NOT NULL")),
        Index(
            "ix_logins_relogin_session_id",
            "relogin_session_id",
            postgresql_where=text("relogin_session_id IS NOT NULL"),
        ),
        Index(
            "ix_logins_tenant_id_next_dispatch_at",
            "tenant_id",
            "next_dispatch_at",
            postgresql_where=text(_one_of("status", LIVE_LOGIN_STATUSES)),
        ),
        Index("ix_logins_key_id_id", "key_id", "id", postgresql_where=text("key_id IS NOT NULL")),
        Index("ix_logins_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_logins_session_id", "session_id", postgresql_where=text("session_id IS NOT NULL")),
    )


class LeavingAuthKey(Base):
    """An auth key of a login that never became a session, until it is certain that nobody is logged in with it.

    The id is the login's for the key that the login ended with: its ciphertext is bound to that place and moves here as it
    is. A key that a login gave up on its way has an id of its own.
    """

    __tablename__ = "leaving_auth_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    login_id: Mapped[str]
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    key_id: Mapped[str] = mapped_column(ForeignKey("encryption_keys.openable_id"))
    auth_key_sealed: Mapped[bytes]
    dc_id: Mapped[int]
    dc_host: Mapped[str]
    dc_port: Mapped[int]

    # Until then a phone may still accept a login token of this key: only what Telegram says after that is the last word.
    final_ask_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    next_try_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("ix_leaving_auth_keys_next_try_at", "next_try_at"),
        Index("ix_leaving_auth_keys_key_id_id", "key_id", "id"),
        Index("ix_leaving_auth_keys_tenant_id", "tenant_id"),
    )


class TelegramSession(Base):
    """A connected account. ``session_sealed`` holds the Telethon string session; NULL once it is erased."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    telegram_user_id: Mapped[int | None] = mapped_column(BigInteger)
    end_user_id: Mapped[str | None]
    username: Mapped[str | None]
    first_name: Mapped[str | None]
    phone_masked: Mapped[str | None]
    dc_id: Mapped[int]
    status: Mapped[str]
    reason: Mapped[str | None]
    client_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))

    key_id: Mapped[str | None] = mapped_column(ForeignKey("encryption_keys.openable_id"))
    session_sealed: Mapped[bytes | None]
    # SHA-256 of the auth key, unique over all tenants while the session may be used: one auth key is one session.
    auth_key_hash: Mapped[bytes | None] = mapped_column(unique=True)
    # Device names and api_id: what the session was made with, and stays the same at Telegram for its life.
    device: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    # The proxy that the session was made through, with its password. ``device`` says whether there was one ("proxied").
    proxy_sealed: Mapped[bytes | None]

    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_validated_at: Mapped[datetime | None]
    next_validation_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    backed_up_at: Mapped[datetime | None]
    backed_up_version: Mapped[int | None]
    # How often in a row Telegram has denied the auth key, which it does falsely at times.
    denials: Mapped[int] = mapped_column(server_default=text("0"))
    # A holder said that the session looks dead, and nobody has looked since.
    reported_dead_at: Mapped[datetime | None]

    logout_pending: Mapped[bool] = mapped_column(server_default=text("false"))
    logout_tries: Mapped[int] = mapped_column(server_default=text("0"))
    next_logout_at: Mapped[datetime | None]

    lease_id: Mapped[str | None]
    lease_holder: Mapped[str | None]
    lease_purpose: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    lease_api_key_id: Mapped[str | None]
    fencing_token: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))

    __table_args__ = (
        CheckConstraint(_one_of("status", SESSION_STATUSES), name="status"),
        CheckConstraint("session_sealed IS NULL OR key_id IS NOT NULL", name="sealed_has_key_id"),
        Index("ix_sessions_tenant_id_id", "tenant_id", "id"),
        Index("ix_sessions_tenant_id_telegram_user_id", "tenant_id", "telegram_user_id"),
        Index(
            "ix_sessions_tenant_id_end_user_id",
            "tenant_id",
            "end_user_id",
            postgresql_where=text("end_user_id IS NOT NULL"),
        ),
        Index(
            "uq_sessions_one_active_per_user",
            "tenant_id",
            "telegram_user_id",
            unique=True,
            postgresql_where=text("status = 'active'"),
        ),
        Index(
            "ix_sessions_tenant_id_next_logout_at",
            "tenant_id",
            "next_logout_at",
            postgresql_where=text("logout_pending"),
        ),
        Index(
            "ix_sessions_next_validation_at",
            "next_validation_at",
            postgresql_where=text(_one_of("status", VALIDATED_SESSION_STATUSES)),
        ),
        Index(
            "ix_sessions_tenant_id_next_validation_at",
            "tenant_id",
            "next_validation_at",
            postgresql_where=text(_one_of("status", VALIDATED_SESSION_STATUSES)),
        ),
        Index(
            "ix_sessions_tenant_id_last_used_at",
            "tenant_id",
            "last_used_at",
            postgresql_where=text("status = 'active'"),
        ),
        Index("ix_sessions_key_id_id", "key_id", "id"),
        Index("ix_sessions_backup_due", "id", postgresql_where=text("backed_up_version IS DISTINCT FROM version")),
    )


class BackupObject(Base):
    """An object in the bucket that has not expired. It holds its key back; the session it is of may be gone."""

    __tablename__ = "backup_objects"

    object_key: Mapped[str] = mapped_column(primary_key=True)
    session_id: Mapped[str]
    tenant_id: Mapped[str]
    version: Mapped[int]
    key_id: Mapped[str | None] = mapped_column(ForeignKey("encryption_keys.openable_id"))
    backed_up_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_backup_objects_session_id_backed_up_at", "session_id", "backed_up_at"),
        Index("ix_backup_objects_key_id", "key_id"),
    )


class BackupRun(Base):
    """A run of the backup that came to its end; the bucket holds its manifest. ``failed`` counts objects, to be tried again."""

    __tablename__ = "backup_runs"

    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime] = mapped_column(index=True)
    backed_up: Mapped[int]
    erased: Mapped[int]
    failed: Mapped[int]
    complete: Mapped[bool]


class AuditEvent(Base):
    """What was opened, unwrapped, revoked or refused, by whom and why. Only ever added to."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    tenant_id: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    reason: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))

    __table_args__ = (
        Index("ix_audit_events_tenant_id_id", "tenant_id", "id"),
        Index("ix_audit_events_at", "at"),
        Index(
            "ix_audit_events_openings", "tenant_id", "actor", "at", postgresql_where=text("action = 'session.opened'")
        ),
    )


class AuditSeal(Base):
    """A link of the audit's chain: what it covers and its digest over that and the link before. Only ever added to."""

    __tablename__ = "audit_seals"

    position: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    sealed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_event_at: Mapped[datetime]
    event_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger()))
    previous: Mapped[bytes]
    # When the last event of the seal before happened: whether that was old enough to be pruned. None: there was none.
    previous_event_at: Mapped[datetime | None]
    digest: Mapped[bytes]


class IdempotencyKey(Base):
    """An ``Idempotency-Key`` and the answer that its request got, kept for 24 h and committed with the request's effect.

    Key and request are hashed under the installation's secret, the answer's body is sealed: it may be a secret itself.
    ``subject`` is the login, session or other thing whose id stands in the address.
    """

    __tablename__ = "idempotency_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    key_hash: Mapped[bytes]
    request_hash: Mapped[bytes]
    subject: Mapped[str | None]
    status_code: Mapped[int | None]
    headers: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    key_id: Mapped[str | None] = mapped_column(ForeignKey("encryption_keys.openable_id"))
    body_sealed: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)

    __table_args__ = (
        Index("uq_idempotency_keys_tenant_id_key_hash", "tenant_id", "key_hash", unique=True),
        Index("ix_idempotency_keys_subject", "subject"),
        Index("ix_idempotency_keys_key_id_id", "key_id", "id"),
    )


class LoginLink(Base):
    """A login that begins when its link is opened, as ``login_url`` in ``session.invalid`` is. The id is the login's."""

    __tablename__ = "login_links"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    # The session that the login is for: it keeps its id.
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    telegram_user_id: Mapped[int | None] = mapped_column(BigInteger)
    client_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    client_secret_hash: Mapped[bytes]
    key_id: Mapped[str] = mapped_column(ForeignKey("encryption_keys.openable_id"))
    client_secret_sealed: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)

    __table_args__ = (Index("ix_login_links_key_id_id", "key_id", "id"),)


class WebhookEndpoint(Base):
    """Where a tenant wants its events. The signing secret is sealed; it was shown once. ``events`` NULL: all of them."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    url: Mapped[str]
    events: Mapped[list[str] | None] = mapped_column(ARRAY(Text()))
    key_id: Mapped[str] = mapped_column(ForeignKey("encryption_keys.openable_id"))
    secret_sealed: Mapped[bytes]
    # After a rotation both sign, until this one's time is up.
    old_secret_sealed: Mapped[bytes | None]
    old_secret_until: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("ix_webhook_endpoints_key_id_id", "key_id", "id"),)


class WebhookMessage(Base):
    """The outbox: an event that a tenant is to hear of, kept for replays. ``subject`` is the login or session it is of.

    ``position`` is its place in the log (``app.webhooks.event_log``); NULL: it has none yet.
    """

    __tablename__ = "webhook_outbox"

    id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, Identity())
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    position: Mapped[int | None] = mapped_column(BigInteger)
    event: Mapped[str]
    subject: Mapped[str | None]
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("ix_webhook_outbox_created_at", "created_at"),
        Index("ix_webhook_outbox_tenant_id_created_at", "tenant_id", "created_at"),
        Index("ix_webhook_outbox_tenant_id_position", "tenant_id", "position"),
        Index("ix_webhook_outbox_without_position", "seq", postgresql_where=text("position IS NULL")),
    )


class WebhookDelivery(Base):
    """One event on its way to one endpoint. ``tries`` counts claims and fences them: an older claim records nothing."""

    __tablename__ = "webhook_deliveries"

    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), primary_key=True)
    message_id: Mapped[str] = mapped_column(
        ForeignKey("webhook_outbox.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    tenant_id: Mapped[str]
    seq: Mapped[int] = mapped_column(BigInteger)
    subject: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default=text("'pending'"))
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    next_try_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    claimed_until: Mapped[datetime | None]
    last_try_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    status_code: Mapped[int | None]

    __table_args__ = (
        CheckConstraint(_one_of("state", DELIVERY_STATES), name="state"),
        Index("ix_webhook_deliveries_endpoint_id_seq", "endpoint_id", "seq"),
        Index("ix_webhook_deliveries_due", "next_try_at", postgresql_where=text("state = 'pending'")),
        Index(
            "ix_webhook_deliveries_order", "endpoint_id", "subject", "seq", postgresql_where=text("state = 'pending'")
        ),
        Index("ix_webhook_deliveries_in_flight", "tenant_id", postgresql_where=text("state = 'pending'")),
    )
