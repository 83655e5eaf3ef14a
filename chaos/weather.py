"""What struck when: so that whoever judges can tell a fault of ours from one that an outage explains."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

RECOVERY_SECONDS = {
    "telegram": 12.0,  # a login's connection is tried again after 8 s at most, and then needs a moment
    "postgres": 8.0,
    "redis": 8.0,
    "worker": 28.0,  # a lock runs out after 15 s, the sweep comes every 2 s, a worker starts within 8 s on a busy machine
    "background": 12.0,
    "beat": 15.0,  # its lock runs out after 10 s
    "web": 10.0,
    "s3": 5.0,
    "flood": 25.0,  # the longest wait that a strike asks for, with its jitter
    "false_death": 5.0,
}
"""What a strike can hurt, and how long after its end that may still show."""


@dataclass(kw_only=True)
class Strike:
    """One fault, while it strikes and after."""

    name: str
    hurts: set[str]
    began_at: float = field(default_factory=time.time)
    ended_at: float | None = None

    def shows_until(self, hurts: Collection[str]) -> float:
        """Until when what it did to these may show."""
        recovery = max(RECOVERY_SECONDS[each] for each in self.hurts & set(hurts))
        return float("inf") if self.ended_at is None else self.ended_at + recovery


class Weather:
    """All strikes of a run."""

    def __init__(self) -> None:
        self.strikes: list[Strike] = []

    def begin(self, name: str, hurts: Iterable[str]) -> Strike:
        """A fault strikes from now on, until somebody sets its end."""
        strike = Strike(name=name, hurts=set(hurts))
        self.strikes.append(strike)
        return strike

    def touching(self, since: float, until: float, hurts: Collection[str]) -> list[Strike]:
        """The strikes on any of these that were felt at some time between."""
        return [
            strike
            for strike in self.strikes
            if strike.hurts & set(hurts) and strike.began_at <= until and strike.shows_until(hurts) >= since
        ]

    def longest_calm(self, since: float, until: float, hurts: Collection[str]) -> float:
        """The longest stretch between, in seconds, in which no strike on any of these was felt."""
        longest, calm_since = 0.0, since
        for strike in sorted(self.touching(since, until, hurts), key=lambda each: each.began_at):
            longest = max(longest, strike.began_at - calm_since)
            calm_since = max(calm_since, strike.shows_until(hurts))
        return max(longest, until - calm_since)
