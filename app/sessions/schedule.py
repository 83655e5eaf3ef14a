"""When a session is looked at: each has its own place in the validation interval, for good.

The place comes from the session's id. So any number of sessions is spread evenly over the interval, however they came
together: made at once, restored at once, or all overdue after an outage.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta


def next_slot(session_id: str, *, now: datetime, interval_seconds: float) -> datetime:
    """The session's next turn: after ``now``, and at most one interval away."""
    return now + timedelta(seconds=interval_seconds - _since_slot(session_id, now, interval_seconds))


def slot_number(session_id: str, *, at: datetime, interval_seconds: float) -> int:
    """Count the session's turns since 1970: two times with the same number lie between the same two turns."""
    return int((at.timestamp() - _phase(session_id, interval_seconds)) // interval_seconds)


def _since_slot(session_id: str, now: datetime, interval_seconds: float) -> float:
    return (now.timestamp() - _phase(session_id, interval_seconds)) % interval_seconds


def _phase(session_id: str, interval_seconds: float) -> float:
    chance = int.from_bytes(hashlib.sha256(session_id.encode()).digest()[:8], "big") / 2**64
    return chance * interval_seconds
