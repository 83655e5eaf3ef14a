"""A benchmark's figures: each with its unit, what it stands beside, and the limit that it has to keep.

A figure that has a peer was measured beside it in the same run on the same machine; its limit is one of the ratio, unless it
says otherwise. Without a peer, the limit is one of the value.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median, quantiles
from typing import Any, Literal

Figure = dict[str, Any]
"""Its members: value, unit, peer, peer_value, ratio (of value to peer_value), limit, limit_of, bound, kept."""


def at_most(
    limit: float,
    value: float,
    unit: str,
    *,
    peer: str | None = None,
    peer_value: float | None = None,
    of: Literal["ratio", "value"] | None = None,
) -> Figure:
    """A figure that must not be more than its limit."""
    return _figure(value, unit, peer, peer_value, limit, of, "at most", lambda shown: shown <= limit)


def at_least(
    limit: float,
    value: float,
    unit: str,
    *,
    peer: str | None = None,
    peer_value: float | None = None,
    of: Literal["ratio", "value"] | None = None,
) -> Figure:
    """A figure that must not be less than its limit."""
    return _figure(value, unit, peer, peer_value, limit, of, "at least", lambda shown: shown >= limit)


def only_told(value: float, unit: str, *, peer: str | None = None, peer_value: float | None = None) -> Figure:
    """A figure without a limit: what bounds another one, or what it grows with."""
    return _figure(value, unit, peer, peer_value, None, None, None, None)


def median_of(runs: int, measure: Callable[[], float]) -> float:
    """The median of several runs."""
    return median(measure() for _ in range(runs))


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return quantiles(values, n=20)[-1]


def _figure(
    value: float,
    unit: str,
    peer: str | None,
    peer_value: float | None,
    limit: float | None,
    of: str | None,
    bound: str | None,
    keeps: Callable[[float], bool] | None,
) -> Figure:
    ratio = value / peer_value if peer_value else None
    limit_of = None if limit is None else of or ("value" if ratio is None else "ratio")
    shown = ratio if limit_of == "ratio" and ratio is not None else value
    return {
        "value": value,
        "unit": unit,
        "peer": peer,
        "peer_value": peer_value,
        "ratio": ratio,
        "limit": limit,
        "limit_of": limit_of,
        "bound": bound,
        "kept": None if keeps is None else keeps(shown),
    }
