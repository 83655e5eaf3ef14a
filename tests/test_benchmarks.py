"""The benchmarks' results: in the shape that is promised, and on the page as they are in the file."""

from __future__ import annotations

import json

from bench.__main__ import RESULTS
from bench.figures import at_least, at_most
from bench.page import PAGE, render

_MEMBERS = {"value", "unit", "peer", "peer_value", "ratio", "limit", "command"}


def test_the_page_shows_the_results() -> None:
    """`make bench` writes both."""
    results = json.loads(RESULTS.read_text())
    assert all(figure.keys() >= _MEMBERS for figure in results.values())
    assert PAGE.read_text() == render(results)


def test_a_limit_is_the_ratios_beside_a_peer() -> None:
    """And the value's otherwise, or when it is said."""
    assert at_least(2.0, 30.0, "logins/s", peer="bare", peer_value=10.0)["kept"]
    assert not at_least(2.0, 15.0, "logins/s", peer="bare", peer_value=10.0)["kept"]
    assert at_most(8.0, 7.0, "s")["kept"]
    assert not at_most(8.0, 9.0, "s", peer="bare", peer_value=10.0, of="value")["kept"]
