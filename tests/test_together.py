"""Questions that come at the same time are answered by one call."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.together import Together


def test_each_gets_its_own_answer() -> None:
    """However many ask at once, and whoever asked for whom."""
    together = Together[int, int](lambda numbers: [number * 2 for number in numbers])
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(together.ask, range(2000))) == [number * 2 for number in range(2000)]


def test_those_who_come_meanwhile_are_answered_together() -> None:
    """One call for the first, who need not wait for company, and one for all who came while it was under way."""
    calls: list[list[int]] = []
    arrived, go_on = threading.Event(), threading.Event()

    def answer_all(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        arrived.set()
        assert go_on.wait(10)
        return numbers

    together = Together[int, int](answer_all)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(together.ask, 0)
        assert arrived.wait(10)
        others = [pool.submit(together.ask, number) for number in range(1, 9)]
        while together.waiting() < len(others):
            pass
        go_on.set()
        assert [first.result(10), *(other.result(10) for other in others)] == list(range(9))
    assert calls[0] == [0]
    assert sorted(calls[1]) == list(range(1, 9))


def test_a_failure_is_told_to_all_who_asked_and_to_nobody_after() -> None:
    """The next call is made as if nothing had been."""
    fails = [True]

    def answer_all(numbers: list[int]) -> list[int]:
        if fails.pop():
            raise ValueError("away")
        return numbers

    together = Together[int, int](answer_all)
    with pytest.raises(ValueError, match="away"):
        together.ask(1)
    fails.append(False)
    assert together.ask(2) == 2


def test_who_leads_may_be_ended_and_the_others_go_on() -> None:
    """A server ends a request by an exception that is no error; those who waited for its answer hear one."""
    calls: list[list[int]] = []

    def answer_all(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return numbers

    together = Together[int, int](answer_all)
    with pytest.raises(KeyboardInterrupt):
        together.ask(1)
    assert together.ask(2) == 2


def test_who_leads_may_be_ended_while_it_yields(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it has asked for anybody: nobody waits for ever, and the next one leads."""

    def end_here(_seconds: float) -> None:
        raise KeyboardInterrupt

    together, answers = Together[int, int](lambda numbers: numbers), list[int]()
    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", end_here)
        with pytest.raises(KeyboardInterrupt):
            together.ask(1)
    other = threading.Thread(target=lambda: answers.append(together.ask(2)), daemon=True)
    other.start()
    other.join(10)
    assert answers == [2]


class _EndedWhileItWaits:
    """A lock whose owner is ended when it waits for it."""

    def __init__(self) -> None:
        self._taken = False

    def acquire(self) -> None:
        if self._taken:
            raise KeyboardInterrupt
        self._taken = True

    def release(self) -> None:
        """Nobody is there."""


def test_who_waits_may_be_ended_and_leads_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called to lead, it would let all who come after it wait for ever."""
    asked, go_on, answers = threading.Event(), threading.Event(), list[int]()

    def answer(numbers: list[int]) -> list[int]:
        asked.set()
        go_on.wait(10)
        return numbers

    together = Together[int, int](answer)
    first = threading.Thread(target=lambda: answers.append(together.ask(1)), daemon=True)
    first.start()
    asked.wait(10)
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Lock", _EndedWhileItWaits)
        with pytest.raises(KeyboardInterrupt):
            together.ask(2)
    go_on.set()
    first.join(10)
    third = threading.Thread(target=lambda: answers.append(together.ask(3)), daemon=True)
    third.start()
    third.join(10)
    assert answers == [1, 3]
