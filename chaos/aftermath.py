"""What a run has left: first everything may settle, then it is looked at whole, in the stores and at Telegram."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from telethon.crypto import AuthKey

from app.telegram.string_sessions import read_string_session
from chaos.afterwards import use
from chaos.scene import Scene
from chaos.verdict import expected_statuses, judge_call, judge_lease, judge_login

_LOOK_SECONDS = 1.0
_VALIDATE_SECONDS = 15.0
_LEASES_AT_ONCE = 6


class Finding(NamedTuple):
    """Something that is wrong; ``person`` whose story tells of it, None: nobody's."""

    person: str | None
    text: str


async def watch_rules(scene: Scene) -> None:
    """Tell when a rule of Telegram's is broken, until cancelled: the figures alone do not say when."""
    before: dict[str, int] = {}
    while True:
        broken = (await scene.field.ask(scene.field.telegram.stats))["violations"]
        for rule, count in broken.items():
            if count > before.get(rule, 0):
                scene.field.story.tell(f"BROKEN: {rule}, {count} times by now")
        before = broken
        await asyncio.sleep(_LOOK_SECONDS)


async def settle(scene: Scene, *, within_seconds: float) -> list[Finding]:
    """Wait until nothing moves any more; what still does when the time is up.

    A session that Telegram has denied for a moment is asked about again within minutes; its tenant, who sees it quarantined,
    has that done at once.
    """
    give_up_at, validate_at = time.monotonic() + within_seconds, 0.0
    while True:
        unsettled = await scene.field.ask(lambda: list(find_unsettled(scene)))
        if not unsettled or time.monotonic() > give_up_at:
            return unsettled
        if time.monotonic() > validate_at:
            validate_at = time.monotonic() + _VALIDATE_SECONDS
            for row in await scene.field.ask(scene.field.rows, "SELECT id FROM sessions WHERE status = 'quarantined'"):
                answer = await scene.tenant.call("POST", f"/v1/sessions/{row.id}/validate")
                scene.field.story.tell(f"session {row.id} is quarantined; its tenant validates it: {answer}")
        await asyncio.sleep(_LOOK_SECONDS)


def find_unsettled(scene: Scene) -> Iterator[Finding]:
    """What has not come to rest yet: rows that should be gone, sessions and devices that should be otherwise."""
    field = scene.field
    for what, query in _AT_REST.items():
        if count := field.rows(query)[0][0]:
            yield Finding(None, f"{count} {what}")
    for queue in ("logins", "background"):
        if length := field.redis.llen(queue):
            yield Finding(None, f"{length} messages in the queue {queue}")
    for pattern in ("latchkey:login:*:lock", "latchkey:login:*:inbox:*"):
        if keys := list(field.redis.scan_iter(pattern)):
            yield Finding(None, f"{len(keys)} keys {pattern}")
    yield from _find_wrong_sessions(scene)
    yield from _find_wrong_devices(scene)


_AT_REST = {
    "live logins": "SELECT count(*) FROM logins WHERE finished_at IS NULL",
    "auth keys that leave": "SELECT count(*) FROM leaving_auth_keys",
    "sessions to be logged out": "SELECT count(*) FROM sessions WHERE logout_pending",
    "leases": "SELECT count(*) FROM sessions WHERE lease_expires_at > now()",
    "accounts with two active sessions": (
        "SELECT count(*) FROM (SELECT 1 FROM sessions WHERE status = 'active'"
        " GROUP BY tenant_id, telegram_user_id HAVING count(*) > 1) AS double"
    ),
}


def _find_wrong_sessions(scene: Scene) -> Iterator[Finding]:
    rows = {row.id: row for row in scene.field.rows("SELECT id, status, reason, telegram_user_id FROM sessions")}
    newest = _newest_sessions(scene)
    for session in scene.records.sessions:
        row, expected = rows.pop(session.session_id, None), expected_statuses(session, newest)
        if row is None or row.status not in expected:
            stands = f"{row.status} ({row.reason})" if row else "nowhere"
            yield Finding(session.person, f"session {session.session_id} is {stands}; expected {expected}")
    known = {row.session_id for row in _logins(scene).values()}
    for row in rows.values():
        if row.id not in known:  # a login whose end its person did not wait for has made one, too
            yield Finding(None, f"session {row.id} of {row.telegram_user_id} is nobody's")


def _newest_sessions(scene: Scene) -> dict[int, str]:
    rows = scene.field.rows(
        "SELECT telegram_user_id, session_id FROM logins WHERE status = 'authorized' AND NOT reused ORDER BY finished_at"
    )
    return {row.telegram_user_id: row.session_id for row in rows}


def _find_wrong_devices(scene: Scene) -> Iterator[Finding]:
    """The devices at Telegram are as many as the active sessions, account by account; whether they are the same is seen
    when the sessions are opened."""
    active = Counter(
        row.telegram_user_id
        for row in scene.field.rows("SELECT telegram_user_id FROM sessions WHERE status = 'active'")
    )
    for user_id in scene.records.accounts:
        devices = scene.field.telegram.authorizations(user_id)
        if len(devices) != active[user_id]:
            pending = sum(device["password_pending"] for device in devices)
            yield Finding(
                _person_of(scene, user_id),
                f"account {user_id} has {len(devices)} devices ({pending} wait for a password), {active[user_id]} sessions",
            )


def _person_of(scene: Scene, user_id: int) -> str | None:
    people = {session.user_id: session.person for session in scene.records.sessions}
    people |= {login.user_id: login.person for login in scene.records.logins}
    return people.get(user_id)


# --- the verdicts


def judge_all(scene: Scene) -> tuple[list[Finding], Counter[str]]:
    """Judge every login, lease and answer; what is wrong, and how often which excuse was needed."""
    weather, findings, excuses = scene.field.weather, [], Counter[str]()
    rows = _logins(scene)
    for record in scene.records.logins:
        verdict = judge_login(record, rows.pop(record.login_id or "", None), weather)
        if verdict.wrong:
            findings.append(Finding(record.person, f"login {record.login_id} {verdict.wrong}"))
        if verdict.excuse:
            excuses[verdict.excuse] += 1
            scene.tell(record.person, f"login {record.login_id} is excused: {verdict.excuse}")
    findings += [Finding(None, f"login {login_id} is nobody's") for login_id in rows if not _was_never_told(scene)]
    for session in scene.records.sessions:
        wrong = (judge_lease(at, trouble, weather) for at, trouble in session.troubles)
        findings += [Finding(session.person, text) for text in wrong if text]
    findings += [Finding(None, text) for text in (judge_call(call, weather) for call in scene.tenant.failed) if text]
    return findings, excuses


def _logins(scene: Scene) -> dict[str, Any]:
    return {row.id: row for row in scene.field.rows("SELECT * FROM logins")}


def _was_never_told(scene: Scene) -> bool:
    """Whether a login may have been started whose id nobody got to know."""
    return any(record.login_id is None for record in scene.records.logins)


# --- every session opens


async def open_all(scene: Scene) -> list[Finding]:
    """Open every active session as a customer does: its auth key is the one device of its account, and Telegram answers."""
    rows = await scene.field.ask(scene.field.rows, "SELECT id FROM sessions WHERE status = 'active'")
    active, turn = {row.id for row in rows}, asyncio.Semaphore(_LEASES_AT_ONCE)
    found: list[Finding] = []

    async def one(session_id: str, person: str, user_id: int) -> None:
        async with turn:
            session = scene.records.session(session_id, person=person, user_id=user_id)
            if wrong := await _check_key(scene, session_id, user_id):
                found.append(Finding(person, wrong))
            session.troubles.clear()
            if not await use(scene, session, calls=1):
                found.append(Finding(person, f"session {session_id} does not open: {session.troubles[-1][1]}"))

    async with asyncio.TaskGroup() as group:
        for session in [each for each in scene.records.sessions if each.session_id in active]:
            group.create_task(one(session.session_id, session.person, session.user_id))
    return found


async def _check_key(scene: Scene, session_id: str, user_id: int) -> str | None:
    path = f"/v1/sessions/{session_id}/lease"
    for _ in range(60):  # Latchkey validates it, for a moment
        lease = await scene.tenant.call("POST", path, json={"holder": "the aftermath", "ttl_seconds": 10})
        if lease.body.get("code") != "session_leased":
            break
        await asyncio.sleep(0.5)
    if lease.status != 201:
        return f"session {session_id} cannot be leased: {lease.status} {lease.body.get('code')}"
    await scene.tenant.call("DELETE", f"{path}/{lease.body['lease_id']}")
    scene.records.secrets.add("session string", lease.body["session_string"])
    auth_key, _ = read_string_session(lease.body["session_string"])
    key_id = f"{AuthKey(auth_key).key_id:016x}"
    devices = await scene.field.ask(scene.field.telegram.authorizations, user_id)
    ids = [device["auth_key_id"] for device in devices]
    return None if ids == [key_id] else f"session {session_id} has the key {key_id}; Telegram knows {ids}"


def find_broken_rules(scene: Scene) -> Iterator[Finding]:
    """The rules of Telegram that were broken."""
    for rule, count in scene.field.telegram.stats()["violations"].items():
        if count:
            yield Finding(None, f"{rule} was violated {count} times")
