"""Calls as descriptions: a flow is a generator that yields what has to be done and is sent what came of it.

A flow does nothing itself: no network, no waiting. So it is written once, and ``drivers`` carries it out in two ways, one
that blocks and one that awaits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

CALL_SECONDS = 10.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request to Latchkey. Its answer is an ``Answer``.

    Args:
        path: under the base URL, quoted.
        query: members that are None are left out.
        body: sent as JSON; None: no body.
        repeatable: a request that may have arrived may be sent again.
        tries: how often it is sent at most when Latchkey is away or asks to wait; 1: once.
        seconds: how long it may take.
    """

    method: str
    path: str
    query: Mapping[str, str | int | float | None] = field(default_factory=dict)
    body: Mapping[str, object] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    repeatable: bool = False
    tries: int = 3
    seconds: float = CALL_SECONDS


@dataclass(frozen=True)
class Answer:
    """What Latchkey answered; header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


@dataclass(frozen=True)
class Ask:
    """Call a function of the program that uses this package; what it returns, awaited if need be, is sent back."""

    function: Callable[..., Any]
    argument: Any = field(repr=False)


@dataclass(frozen=True)
class Item(Generic[T]):
    """Hand out one of a flow's many results."""

    value: T


Step = Request | Pause | Ask
Flow = Generator[Step, Any, T]
"""Returns one result."""
ManyFlow = Generator[Step | Item[T], Any, None]
"""Hands out results as they come."""
