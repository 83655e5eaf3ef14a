"""Where sealed values live: the place of each, and the sealed columns of each table.

The one list that rotation and "does anything need this key?" go by: a new sealed column is a line in ``SEALED_TABLES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, true

from app.models import (
    FINAL_LOGIN_STATUSES,
    IdempotencyKey,
    LeavingAuthKey,
    Login,
    LoginLink,
    TelegramSession,
    Tenant,
    TenantKey,
    WebhookEndpoint,
)
from app.vault.sealing import Place

SealedModel = (
    type[TelegramSession]
    | type[Login]
    | type[LeavingAuthKey]
    | type[LoginLink]
    | type[WebhookEndpoint]
    | type[TenantKey]
    | type[Tenant]
    | type[IdempotencyKey]
)


@dataclass(frozen=True)
class SealedTable:
    """A table with sealed columns, all of a row under the row's one ``key_id``.

    Attributes:
        noun: what a row is called in a sentence.
        purposes: the sealed columns, each with the purpose of its place.
        at_rest: true of the rows that rotation may re-seal.
        changes: what else a re-sealed row gets.
    """

    model: SealedModel
    noun: str
    purposes: Mapping[str, str]
    at_rest: ColumnElement[bool]
    changes: Mapping[str, object]


SESSIONS = SealedTable(
    model=TelegramSession,
    noun="session",
    purposes={"session_sealed": "session", "proxy_sealed": "session-proxy"},
    at_rest=true(),
    # The newest backup is under the old key and would hold it back for ever: back the session up again.
    changes={"backed_up_version": None},
)
LOGINS = SealedTable(
    model=Login,
    noun="login",
    purposes={
        "client_secret_sealed": "login-client-secret",
        "auth_key_sealed": "login-auth-key",
        "phone_sealed": "login-phone",
    },
    # A live login's worker seals under the key_id that it read with the row; to change it meanwhile would part the two.
    # Such a login only holds its key back, and is over within the hour.
    at_rest=Login.status.in_(FINAL_LOGIN_STATUSES),
    changes={},
)
LEAVING_AUTH_KEYS = SealedTable(
    model=LeavingAuthKey,
    noun="leaving auth key",
    purposes={"auth_key_sealed": "login-auth-key"},
    at_rest=true(),
    changes={},
)
LOGIN_LINKS = SealedTable(
    model=LoginLink,
    noun="login link",
    # The login that the link begins takes the ciphertext as it is: the place is the login's.
    purposes={"client_secret_sealed": "login-client-secret"},
    at_rest=true(),
    changes={},
)
WEBHOOK_ENDPOINTS = SealedTable(
    model=WebhookEndpoint,
    noun="webhook endpoint",
    purposes={"secret_sealed": "webhook-secret", "old_secret_sealed": "webhook-old-secret"},
    at_rest=true(),
    changes={},
)
TENANTS = SealedTable(
    model=Tenant,
    noun="tenant",
    purposes={"api_hash_sealed": "tenant-api-hash", "proxy_sealed": "tenant-proxy"},
    at_rest=true(),
    changes={},
)
ANSWERS = SealedTable(
    model=IdempotencyKey,
    noun="kept answer",
    purposes={"body_sealed": "answer"},
    at_rest=true(),
    changes={},
)
TENANT_KEYS = SealedTable(
    model=TenantKey,
    noun="tenant key",
    purposes={"secret_sealed": "tenant-key"},
    at_rest=true(),
    changes={},
)
SEALED_TABLES = (SESSIONS, LOGINS, LEAVING_AUTH_KEYS, LOGIN_LINKS, WEBHOOK_ENDPOINTS, TENANTS, TENANT_KEYS, ANSWERS)


def tenant_key_place(tenant_id: str, tenant_key_id: str) -> Place:
    """Where a tenant's key is sealed."""
    return Place(TENANT_KEYS.purposes["secret_sealed"], tenant_id, tenant_key_id)


def session_place(tenant_id: str, session_id: str) -> Place:
    """Where a session's string session is sealed."""
    return Place(SESSIONS.purposes["session_sealed"], tenant_id, session_id)


def session_proxy_place(tenant_id: str, session_id: str) -> Place:
    """Where the proxy that a session was made through is sealed."""
    return Place(SESSIONS.purposes["proxy_sealed"], tenant_id, session_id)


def webhook_secret_place(tenant_id: str, endpoint_id: str) -> Place:
    """Where a webhook endpoint's signing secret is sealed."""
    return Place(WEBHOOK_ENDPOINTS.purposes["secret_sealed"], tenant_id, endpoint_id)


def webhook_old_secret_place(tenant_id: str, endpoint_id: str) -> Place:
    """Where an endpoint's secret from before its rotation is sealed."""
    return Place(WEBHOOK_ENDPOINTS.purposes["old_secret_sealed"], tenant_id, endpoint_id)


def login_client_secret_place(tenant_id: str, login_id: str) -> Place:
    """Where the client secret of a login, or of a link that will begin one, is sealed."""
    return Place(LOGIN_LINKS.purposes["client_secret_sealed"], tenant_id, login_id)
