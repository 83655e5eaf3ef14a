"""Flows as methods: what is described once becomes a call that blocks here, and one that is awaited there."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

from .drivers import AsyncDriver, Driver
from .steps import Flow, ManyFlow

P = ParamSpec("P")
T = TypeVar("T")


class Group:
    """Calls on one subject, which block."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver


class AsyncGroup:
    """Calls on one subject, which are awaited."""

    def __init__(self, driver: AsyncDriver) -> None:
        self.driver = driver


class blocking(Generic[P, T]):  # noqa: N801  # reads as a verb where groups are made
    """A flow as a method that blocks."""

    def __init__(self, flow: Callable[P, Flow[T]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    def __get__(self, group: Group, _: type[Group]) -> Callable[P, T]:
        @functools.wraps(self._flow)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return group.driver.run(self._flow(*args, **kwargs))

        return call


class blocking_many(Generic[P, T]):  # noqa: N801
    """A flow of many results as a method that returns an iterator."""

    def __init__(self, flow: Callable[P, ManyFlow[T]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    def __get__(self, group: Group, _: type[Group]) -> Callable[P, Iterator[T]]:
        @functools.wraps(self._flow)
        def call(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return group.driver.iterate(self._flow(*args, **kwargs))

        return call


class awaited(Generic[P, T]):  # noqa: N801
    """A flow as a method that is awaited."""

    def __init__(self, flow: Callable[P, Flow[T]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    def __get__(self, group: AsyncGroup, _: type[AsyncGroup]) -> Callable[P, Coroutine[Any, Any, T]]:
        @functools.wraps(self._flow)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return await group.driver.run(self._flow(*args, **kwargs))

        return call


class awaited_many(Generic[P, T]):  # noqa: N801
    """A flow of many results as a method that returns an asynchronous iterator."""

    def __init__(self, flow: Callable[P, ManyFlow[T]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    def __get__(self, group: AsyncGroup, _: type[AsyncGroup]) -> Callable[P, AsyncIterator[T]]:
        @functools.wraps(self._flow)
        def call(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            return group.driver.iterate(self._flow(*args, **kwargs))

        return call
