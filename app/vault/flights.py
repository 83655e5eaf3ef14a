"""Doing one thing once for all the threads that want it at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs a fetch by name; who comes while it runs waits for it and gets what it gets, an error as well.

    So a thousand threads that miss the same key are one call to its provider, and when that is away they all hear so after
    one time limit, not one after the other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[T]] = {}

    def run(self, name: str, fetch: Callable[[], T]) -> T:
        """Fetch, or wait for the fetch of that name that is under way."""
        with self._lock:
            flight = self._under_way.get(name)
            if flight is not None:
                mine = False
            else:
                mine, flight = True, Future()
                self._under_way[name] = flight
        if mine:
            self._fly(name, fetch, flight)
        return flight.result()

    def _fly(self, name: str, fetch: Callable[[], T], flight: Future[T]) -> None:
        try:
            flight.set_result(fetch())
        except BaseException as exc:  # noqa: BLE001  # whoever waits raises it
            flight.set_exception(exc)
        finally:
            with self._lock:
                del self._under_way[name]
