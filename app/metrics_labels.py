"""The values that labels are known to take, so that what never happened is told as 0 and every ratio has an answer.

Each is named where it happens; this module stands below those, and a test compares.
"""

from __future__ import annotations

TELEGRAM_METHODS = (
    "account.getAuthorizations",
    "account.getPassword",
    "account.resetAuthorization",
    "auth.checkPassword",
    "auth.exportLoginToken",
    "auth.importLoginToken",
    "auth.logOut",
    "auth.resendCode",
    "auth.sendCode",
    "auth.signIn",
    "users.getUsers",
)
REQUEST_OUTCOMES = ("ok", "flood_wait", "refused", "timeout", "connection_lost", "error")
MOVING_CALLS = ("auth.exportLoginToken", "auth.importLoginToken", "auth.sendCode", "users.getUsers")
LOGIN_FAILURE_REASONS = (
    "ownership_mismatch",
    "flood_wait",
    "password_attempts_exhausted",
    "code_attempts_exhausted",
    "account_banned",
    "account_deactivated",
    "api_id_invalid",
    "phone_invalid",
    "email_setup_required",
    "payment_required",
    "code_undeliverable",
    "telegram_unavailable",
    "internal_error",
)
LIVE_STATUSES = ("queued", "waiting_for_scan", "code_required", "password_required")
LOSING_ENDS = ("expired", "failed", "cancelled")
VALIDATION_OUTCOMES = (
    "ok",
    "invalid",
    "denied",
    "paused",
    "ownership_mismatch",
    "duplicate",
    "flood_wait",
    "unreachable",
    "refused",
    "sealed",
    "lost",
    "error",
)
COUNTED_VALIDATIONS = (*VALIDATION_OUTCOMES, "leased")
LEASE_OUTCOMES = ("acquired", "renewed", "released", "lost", "session_leased", "session_not_active")
BACKUP_OUTCOMES = ("backed_up", "erased", "failed", "expired", "verified", "missing", "corrupt", "unavailable")
KEY_LOG_OUT_OUTCOMES = ("done", "again", "put_off", "given_up")
WEBHOOK_OUTCOMES = ("delivered", "refused", "redirected", "gone", "timeout", "unreachable", "blocked", "error")
BACKGROUND_LOOPS = ("keeper.renew", "keeper.listen", "collector")
PRUNED_TABLES = (
    "idempotency_keys",
    "logins",
    "webhook_outbox",
    "login_links",
    "audit_events",
    "audit_seals",
    "backup_runs",
)
