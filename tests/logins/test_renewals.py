"""When a token is exported again: as seldom as can be, and not all of a worker's at once."""

from __future__ import annotations

import pytest

from app.logins.qr_scan import after_expiry_seconds, look_again_in


@pytest.mark.parametrize(
    ("until_expiry", "poll_seconds", "looks_in"),
    [
        (30.25, 10.0, 10.0),
        (20.25, 10.0, 10.0),
        (10.25, 10.0, 10.25),
        (30.25, 25.0, 30.25),
        (3.0, 10.0, 3.0),
        (-5.0, 10.0, 0.25),
    ],
    ids=["a poll", "another", "the renewal soon after is the poll", "of thousands", "the renewal first", "overdue"],
)
def test_a_renewal_that_is_due_soon_after_a_poll_is_the_poll(
    until_expiry: float, poll_seconds: float, looks_in: float
) -> None:
    """Both ask Telegram the same question."""
    assert look_again_in(until_expiry=until_expiry, poll_seconds=poll_seconds) == looks_in


@pytest.mark.parametrize(("neighbours", "most"), [(1, 0.2501), (500, 0.3), (5000, 0.75), (50_000, 0.75)])
def test_the_renewals_of_a_busy_worker_are_spread(neighbours: int, most: float) -> None:
    """Alone, a login shows its next code a quarter of a second after the last one; among thousands, within three quarters."""
    assert after_expiry_seconds(neighbours, uniform=min) == 0.25
    assert after_expiry_seconds(neighbours, uniform=max) == pytest.approx(most)
