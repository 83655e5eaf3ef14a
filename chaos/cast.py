"""Who comes and what they are going to do: drawn from the seed, before anything happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Literal

Expects = Literal["nobody", "self", "other"]
"""Whom the application expects to log in: anybody, this person, or (by mistake) another one."""

Then = Literal["lease", "validate", "revoke", "terminate"]
"""What is done with the session afterwards. ``terminate``: the person ends it on the phone."""

HOPELESS = 5
"""So many wrong answers, and the login is over."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one person does, if nothing prevents it.

    Args:
        dc_id: the data centre of the account; the login begins at 2.
        accept: when a scan authorizes the auth key, as the sandbox knows it.
        has_password: of the account.
        scans: whether the code is ever scanned, or the login code ever typed.
        scans_after_seconds: after the code is there.
        cancels_after_seconds: after the login was asked for.
        scans_late: the phone keeps the picture of the code, and accepts it after the login's end.
        wrong_answers: wrong passwords (or login codes) before the right one.
        imports: no login at all: the person brings a session of their own.
        again: how the same person logs in once more; None: does not.
        keyless: looks at the login with its own secret instead of the tenant's API key.
    """

    name: str
    method: Literal["qr", "code"] = "qr"
    dc_id: int = 2
    accept: Literal["next_export", "at_once"] = "next_export"
    has_password: bool = False
    expects: Expects = "nobody"
    replace: bool = False
    scans: bool = True
    scans_after_seconds: float = 0.5
    cancels_after_seconds: float | None = None
    scans_late: bool = False
    wrong_answers: int = 0
    imports: bool = False
    again: Literal["replace", "unexpected", "reuse"] | None = None
    keyless: bool = False
    then: tuple[Then, ...] = ()

    def __str__(self) -> str:
        """What is said of it in a story: its name, and what is not as usual."""
        unusual = {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }
        return " ".join([unusual.pop("name"), *(f"{name}={value}" for name, value in unusual.items())])

    def once_more(self) -> Part:
        """The part of the second login of a person who comes ``again``."""
        return replace(
            self,
            expects="nobody" if self.again == "unexpected" else "self",
            replace=self.again == "replace",
            again=None,
        )


_KINDS: tuple[tuple[int, Part], ...] = (
    (5, Part(name="plain")),
    (2, Part(name="expected", expects="self")),
    (3, Part(name="password", has_password=True)),
    (2, Part(name="forgetful", has_password=True, wrong_answers=2)),
    (1, Part(name="hopeless", has_password=True, wrong_answers=HOPELESS)),
    (2, Part(name="code", method="code")),
    (1, Part(name="code, mistyped", method="code", wrong_answers=1)),
    (1, Part(name="code and password", method="code", has_password=True)),
    (3, Part(name="mover", dc_id=1)),
    (1, Part(name="mover with password", dc_id=3, has_password=True)),
    (1, Part(name="mover by code", method="code", dc_id=3)),
    (2, Part(name="no-show", scans=False)),
    (2, Part(name="late phone", scans=False, scans_late=True)),
    (1, Part(name="canceller", scans=False, cancels_after_seconds=3.0)),
    (2, Part(name="canceller, late phone", scans=False, scans_late=True, cancels_after_seconds=3.0)),
    (3, Part(name="undecided", cancels_after_seconds=1.0)),
    (1, Part(name="undecided with password", has_password=True, cancels_after_seconds=2.0)),
    (2, Part(name="stranger", expects="other")),
    (3, Part(name="comes again", again="unexpected")),
    (1, Part(name="importer", imports=True)),
)
"""How often each comes, and what makes it what it is; the rest is drawn."""

_AFTERWARDS: tuple[tuple[Then, ...], ...] = (
    (),
    ("lease",),
    ("validate",),
    ("lease", "validate"),
    ("revoke",),
    ("lease", "revoke"),
    ("terminate",),
)
_AGAIN: tuple[Literal["replace", "unexpected", "reuse"], ...] = ("replace", "unexpected", "reuse")


def draw_part(random: Random, *, waiting_seconds: float) -> Part:
    """Draw a part.

    Args:
        waiting_seconds: for how long a login waits.
    """
    kind = random.choices([part for _, part in _KINDS], [weight for weight, _ in _KINDS])[0]
    cancels = kind.cancels_after_seconds is not None
    hurries = random.random() < 0.7
    return replace(
        kind,
        accept=random.choice(("next_export", "at_once")),
        scans_after_seconds=round(random.uniform(0.1, 3.0 if hurries else waiting_seconds), 1),
        # Early, late, and right when the code is scanned.
        cancels_after_seconds=round(random.uniform(0.5, 0.6 * waiting_seconds), 1) if cancels else None,
        again=random.choice(_AGAIN) if kind.again else None,
        keyless=random.random() < 0.3,
        then=() if kind.again else random.choice(_AFTERWARDS),
    )


def draw_arrivals(
    random: Random, *, seconds: float, every_seconds: float, waiting_seconds: float
) -> Iterator[tuple[float, Part]]:
    """Draw who comes when, in seconds since the beginning."""
    at = 0.0
    while (at := at + random.expovariate(1 / every_seconds)) < seconds:
        yield at, draw_part(random, waiting_seconds=waiting_seconds)
