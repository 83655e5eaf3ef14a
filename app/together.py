"""Questions that come at the same time, answered by one call: what thousands ask of a store costs a few round trips.

Nobody waits for company: who asks while nothing is under way is answered at once, with those alone who ask at that very moment.
Who asks meanwhile waits for that answer to come, and is then asked for together with all the others that wait.
``app.gathering`` is the same on the event loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from app.errors import Unavailable

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_MOST = 200  # in one call; the others wait for the next


class _Asked(Generic[Question, Answer]):
    """A question of one caller, who waits for ``called``: answered, or to lead the others."""

    __slots__ = ("answers", "called", "error", "leads", "question")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.answers: list[Answer] = []
        self.error: Exception | None = None
        self.leads = False
        self.called = threading.Lock()
        self.called.acquire()


class Together(Generic[Question, Answer]):
    """Safe for threads and greenlets.

    Args:
        answer_all: the answers, one for each question and in their order. What it raises is raised to each who asked.
    """

    def __init__(self, answer_all: Callable[[list[Question]], list[Answer]]) -> None:
        self._answer_all = answer_all
        self._lock = threading.Lock()
        self._waiting: list[_Asked[Question, Answer]] = []
        self._under_way = False

    def ask(self, question: Question) -> Answer:
        """The answer to a question.

        Raises:
            Whatever ``answer_all`` raises.
        """
        mine = _Asked[Question, Answer](question)
        with self._lock:
            self._waiting.append(mine)
            mine.leads = not self._under_way
            self._under_way = True
        if not mine.leads:
            self._wait(mine)
        if mine.leads:
            self._lead()
        if mine.error is not None:
            raise mine.error
        [answer] = mine.answers
        return answer

    def _wait(self, mine: _Asked[Question, Answer]) -> None:
        try:
            mine.called.acquire()
        except BaseException:  # who waits is being ended: nobody may be led by it
            with self._lock:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                    if mine.leads:
                        self._hand_on()
            raise

    def waiting(self) -> int:
        """How many wait for the answer that is under way to come."""
        return len(self._waiting)

    def _lead(self) -> None:
        """Answer all who wait, oneself among them, and let the first of those who came meanwhile go on."""
        batch: list[_Asked[Question, Answer]] = []
        try:
            time.sleep(0)  # lets the greenlets ask whose requests have come already; a thread yields as well
            batch = self._take()
            for asked, answer in zip(batch, self._answer_all([asked.question for asked in batch]), strict=True):
                asked.answers.append(answer)
        except Exception as exc:  # noqa: BLE001  # raised to each who asked
            for asked in batch:
                asked.error = exc
        except BaseException:  # who leads is being ended; the others are told to come again
            batch = batch or self._take()
            for asked in batch:
                asked.error = Unavailable("The answer got lost; try again.")
            raise
        finally:
            with self._lock:
                self._hand_on()
            for asked in batch[1:]:
                asked.called.release()

    def _hand_on(self) -> None:
        """Let the first of those who wait lead. The lock is held."""
        self._under_way = bool(self._waiting)
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].called.release()

    def _take(self) -> list[_Asked[Question, Answer]]:
        with self._lock:
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        return batch
