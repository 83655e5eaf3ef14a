"""What happened to each login and session, as the driver saw it: what the verdict is reached from."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from chaos.cast import Part

FINAL = ("authorized", "expired", "failed", "cancelled")


@dataclass(frozen=True)
class Scan:
    """The phone pointed at a code. ``refusal`` is what Telegram said no with; None: it accepted."""

    at: float
    refusal: str | None


@dataclass(frozen=True)
class Typed:
    """Somebody typed a password or a login code. ``status`` is HTTP's, None: no answer came."""

    at: float
    what: str
    right: bool
    status: int | None


@dataclass(frozen=True)
class Seen:
    """A state of the login that somebody saw."""

    at: float
    version: int
    status: str
    reason: str | None


@dataclass(kw_only=True)
class LoginRecord:
    """One login.

    Args:
        person: whose it is, as the story calls them.
        user_id: the account that scans or types.
        expected_id: the account that the application expects; None: any.
        login_id: None until Latchkey has told.
        cancels: when it was cancelled, and what HTTP answered; None: nothing.
    """

    person: str
    part: Part
    user_id: int
    expected_id: int | None
    asked_at: float = field(default_factory=time.time)
    login_id: str | None = None
    session_id: str | None = None
    scans: list[Scan] = field(default_factory=list)
    late_scans: list[Scan] = field(default_factory=list)
    typed: list[Typed] = field(default_factory=list)
    cancels: list[tuple[float, int | None]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether its end was seen."""
        return bool(self.seen) and self.seen[-1].status in FINAL

    def done_at(self, what: str) -> float | None:
        """When it was certainly done first: a ``scan`` that the phone's Telegram accepted, a right ``password`` or ``code``
        that was taken; None: never."""
        if what == "scan":
            return next((scan.at for scan in self.scans if scan.refusal is None), None)
        return next((each.at for each in self.typed if each.what == what and each.right and each.status == 202), None)

    def did(self, what: str) -> bool:
        """Whether it was done, or tried without an answer."""
        unsure = any(each.what == what and each.right and (each.status or 500) >= 500 for each in self.typed)
        return unsure or self.done_at(what) is not None


@dataclass(kw_only=True)
class SessionRecord:
    """One session that a login or an import has made.

    Args:
        ends: what was done to end it, with HTTP's answer (200 for what the phone did).
        troubles: what a lease ran into that an outage has to explain.
    """

    person: str
    user_id: int
    session_id: str
    ends: list[tuple[str, int | None]] = field(default_factory=list)
    troubles: list[tuple[float, str]] = field(default_factory=list)


@dataclass
class Secrets:
    """Every secret that the driver has come to know, by kind. None of them may be anywhere in the open."""

    found: dict[str, set[bytes]] = field(default_factory=dict)

    def add(self, kind: str, secret: str | bytes) -> None:
        """Note one."""
        self.found.setdefault(kind, set()).add(secret.encode() if isinstance(secret, str) else secret)


@dataclass
class Records:
    """All of a run's."""

    logins: list[LoginRecord] = field(default_factory=list)
    sessions: list[SessionRecord] = field(default_factory=list)
    secrets: Secrets = field(default_factory=Secrets)
    accounts: set[int] = field(default_factory=set)

    def session(self, session_id: str, *, person: str, user_id: int) -> SessionRecord:
        """The record of a session; a session that serves a second login has one all the same."""
        for known in self.sessions:
            if known.session_id == session_id:
                return known
        self.sessions.append(SessionRecord(person=person, user_id=user_id, session_id=session_id))
        return self.sessions[-1]
