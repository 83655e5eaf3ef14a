"""Whether a login, a session, an answer ended as what happened to it says.

Everything is expected to end as if nothing had struck. Only what physics does not allow otherwise is excused, and every excuse
has a name, so that a run can tell how often it needed which:

- ``too late``: the last thing that somebody did came in the last seconds of the login's life.
- ``outage``: from the time that somebody could have done their part to the end of the login's life there was no calm long
  enough to do it in. A scan needs no calm of ours: it counts when Telegram can be asked at any time before the end, whoever
  asks. A password and a code do: the person has to be asked first.
- ``flood``: Telegram wanted a wait that the login did not outlive.
- ``unknown answer``: a call got no answer, so that nobody can say what it did.
- ``never started``: the application got no answer for a minute in an outage.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chaos.cast import HOPELESS, Part
from chaos.record import FINAL, LoginRecord, SessionRecord
from chaos.tenant import Call
from chaos.weather import Weather

TELEGRAM = frozenset({"telegram", "flood", "false_death"})
EVERYTHING = TELEGRAM | {"postgres", "redis", "worker", "web", "beat", "background"}
_STORES_AND_WEB = frozenset({"web", "postgres", "redis"})

_END_EARLY_SECONDS = 10.0  # waiting ends that much before the login does
_LAST_SECONDS = 4.0
_SCAN_SECONDS = 8.0
_TALK_SECONDS = 16.0  # to be asked, to type (twice, for those who mistype), to be answered
_LEASE_SECONDS = 60.0


class Verdict(NamedTuple):
    """``wrong`` says what is; ``excuse`` names what it was excused with."""

    wrong: str | None = None
    excuse: str | None = None


_WELL = Verdict()


def judge_login(record: LoginRecord, row: Any | None, weather: Weather) -> Verdict:
    """Judge a login by its row after everything has settled; None: there is none."""
    if row is None:
        return _judge_missing(record, weather)
    if row.status not in FINAL:
        return Verdict(f"is still {row.status}")
    for judge in (_judge_seen, _judge_who, _judge_life, _judge_scans):
        if wrong := judge(record, row, weather):
            return Verdict(wrong)
    return _judge_end(record, row, weather)


def _judge_missing(record: LoginRecord, weather: Weather) -> Verdict:
    if record.login_id is None and weather.touching(record.asked_at, record.asked_at + 60.0, _STORES_AND_WEB):
        return Verdict(excuse="never started")
    return Verdict(f"{record.login_id} is nowhere" if record.login_id else "could not be started in calm weather")


def _judge_seen(record: LoginRecord, row: Any, _: Weather) -> str | None:
    """What was seen must have been the truth: versions grow, an end stays."""
    versions = [seen.version for seen in record.seen]
    if versions != sorted(set(versions)):
        return f"went back in time: versions {versions}"
    if record.over and record.seen[-1].status != row.status:
        return f"was seen {record.seen[-1].status}, and then was {row.status}"
    if row.version < versions[-1]:
        return f"was seen at version {versions[-1]}, and then was at {row.version}"
    return None


def _judge_who(record: LoginRecord, row: Any, _: Weather) -> str | None:
    """Nobody is logged in who did not scan, or type, what they had to."""
    if row.status != "authorized" or row.reused:
        return None
    if row.telegram_user_id != record.user_id:
        return f"is authorized as {row.telegram_user_id}, and {record.user_id} came"
    if record.expected_id not in (None, record.user_id):
        return "is authorized for a stranger"
    if not record.did("scan" if record.part.method == "qr" else "code"):
        return "is authorized, and nobody scanned or typed"
    if record.part.has_password and not record.did("password"):
        return "is authorized without its password"
    return None


def _judge_life(record: LoginRecord, row: Any, weather: Weather) -> str | None:
    """No login lives longer than its life."""
    over_at, ended_at = row.expires_at.timestamp(), row.finished_at.timestamp()
    if ended_at > over_at + _LAST_SECONDS and not weather.touching(over_at - 15.0, ended_at, EVERYTHING):
        return f"ended {ended_at - over_at:.0f} s after its life, in calm weather"
    return None


def _judge_scans(record: LoginRecord, _: Any, weather: Weather) -> str | None:
    """A scan counts, whoever dies after it: nobody is asked to scan once more."""
    accepted = [scan.at for scan in record.scans if scan.refusal is None]
    if len(accepted) > 1 and not weather.touching(accepted[0], accepted[1], TELEGRAM):
        return "lost a scan: it had to be scanned once more"
    return None


def _judge_end(record: LoginRecord, row: Any, weather: Weather) -> Verdict:
    ended, expected = (row.status, row.reason), _expected_end(record)
    if any(status == 200 for _, status in record.cancels):
        return _WELL if row.status == "cancelled" else Verdict(f"was cancelled, and is {ended}")
    if row.status == "cancelled":
        return Verdict(excuse="unknown answer") if record.cancels else Verdict("is cancelled, and nobody did that")
    if ended == expected:
        return _WELL
    if excuse := _excuse(record, row, weather):
        return Verdict(excuse=excuse)
    return Verdict(f"is {ended}; expected {expected}")


def _expected_end(record: LoginRecord) -> tuple[str, str | None]:
    part = record.part
    if not part.scans:
        return "expired", None
    if record.expected_id not in (None, record.user_id):
        return "failed", "ownership_mismatch"
    if part.wrong_answers >= HOPELESS:
        return "failed", "password_attempts_exhausted"
    return "authorized", None


def _excuse(record: LoginRecord, row: Any, weather: Weather) -> str | None:
    ended_at = row.finished_at.timestamp()
    if (row.status, row.reason) == ("failed", "flood_wait"):
        return "flood" if weather.touching(record.asked_at, ended_at, {"flood"}) else None
    if row.status != "expired" and (row.status, row.reason) != ("failed", "telegram_unavailable"):
        return None
    due_at, closes_at = _due_at(record), row.expires_at.timestamp() - _END_EARLY_SECONDS
    if due_at > closes_at - _LAST_SECONDS - (_TALK_SECONDS if _talks(record.part) else 0.0):
        return "too late"
    if _talks(record.part) or record.done_at("scan") is None:
        return "outage" if weather.longest_calm(due_at, closes_at, EVERYTHING) < _TALK_SECONDS else None
    telegram_was_away = weather.touching(due_at, ended_at, TELEGRAM)
    no_calm = weather.longest_calm(due_at, ended_at, EVERYTHING) < _SCAN_SECONDS
    return "outage" if telegram_was_away and no_calm else None


def _talks(part: Part) -> bool:
    """Whether somebody has to be asked something while the login lives."""
    return part.has_password or part.method == "code"


def _due_at(record: LoginRecord) -> float:
    """When the person had done, or could have begun to do, their part."""
    if record.part.method == "code":
        return record.asked_at
    return record.done_at("scan") or record.asked_at + record.part.scans_after_seconds


def expected_statuses(session: SessionRecord, newest: dict[int, str]) -> set[str]:
    """How a session may stand after everything has settled.

    Args:
        newest: by account, the session that was made last.
    """
    if newest.get(session.user_id, session.session_id) != session.session_id:
        return {"replaced"}
    expected = {"active"}
    for what, status in session.ends:
        if what == "terminate":
            expected = {"invalid"}
        elif status == 202:
            expected = {"revoked"}
        else:
            expected = expected | {"revoked"}
    return expected


def judge_lease(at: float, trouble: str, weather: Weather) -> str | None:
    """Whether an outage explains what a lease ran into; None: it does."""
    hurts = {"false_death"} if trouble.startswith("SessionDead") else EVERYTHING
    return None if weather.touching(at, at + _LEASE_SECONDS, hurts) else f"a lease ran into {trouble}"


def judge_call(call: Call, weather: Weather) -> str | None:
    """Whether an answer that is a fault of the server's, or no answer, is in order; None: it is."""
    what = f"{call.what} was answered with {call.status or 'nothing'} ({call.trouble}, {call.code})"
    if call.status == 500:
        return what
    if call.status is not None and call.trouble != "application/problem+json":
        return what
    hung_up = call.status is None and call.trouble != "TimeoutError"
    explained = weather.touching(call.began_at, call.ended_at, {"web"} if hung_up else _STORES_AND_WEB)
    return None if explained else f"{what} in calm weather"
