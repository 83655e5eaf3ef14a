"""One request and its answer: sent again when that is safe, read into a value, or raised as what went wrong."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote

import msgspec

from .errors import LatchkeyUnavailable, NotFound
from .problems import nonsense, read_problem
from .steps import Answer, Flow, Pause, Request

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 30.0

T = TypeVar("T")


def exchange(request: Request, read: Callable[[Answer], T]) -> Flow[T]:
    """Send a request and read its answer.

    What Latchkey refused with 429 or 503 has done nothing and is sent again; what got no answer only if it is repeatable.

    Raises:
        LatchkeyError: the subclass that the problem's code stands for.
    """
    for number in range(1, request.tries + 1):
        try:
            answer: Answer = yield request
            if answer.status >= 400:
                raise read_problem(answer)
            return read(answer)
        except LatchkeyUnavailable as exc:
            pause = _pause_seconds(exc, number)
            nothing_done = exc.status in (429, 503)
            if number == request.tries or pause > _LONGEST_PAUSE_SECONDS or not (request.repeatable or nothing_done):
                raise
        yield Pause(pause)
    raise AssertionError("tries is at least 1")


def reads(kind: type[T]) -> Callable[[Answer], T]:
    """Make a reader of JSON answers of a type. Members that it does not know are passed over: a later Latchkey's."""

    def read(answer: Answer) -> T:
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise nonsense(f"no {kind.__name__}") from exc

    return read


def nothing(_: Answer) -> None:
    """Read an answer that has nothing in it."""


def content(answer: Answer) -> bytes:
    """Read an answer that is no JSON."""
    return answer.content


def place(*parts: str) -> str:
    """A path of version 1; parts that are ids are quoted.

    Raises:
        NotFound: a part would be a step in the path instead of an id.
    """
    if {"", ".", ".."} & {*parts}:
        raise NotFound("There is no such id.", code="not_found")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def post(*parts: str, body: Mapping[str, object] | None = None, idempotency_key: str | None = None) -> Request:
    """A POST that may be sent again: under its idempotency key it has one effect, and one answer.

    Args:
        parts: of the path, see ``place``.
        idempotency_key: None: a new one.
    """
    return Request(
        method="POST",
        path=place(*parts),
        body=body,
        headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
        repeatable=True,
    )


def said(**members: object) -> dict[str, object]:
    """Those members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _pause_seconds(error: LatchkeyUnavailable, number: int) -> float:
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds + random.uniform(0.0, 0.5)  # noqa: S311  # spreads load only
    return float(_FIRST_PAUSE_SECONDS * 2**number) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load only
