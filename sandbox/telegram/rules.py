"""Telegram's times and the api credentials it knows: what tests and the command line set."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rules:
    """Telegram's times, shortened by tests."""

    token_seconds: float = 30
    code_seconds: float = 300
    fresh_seconds: float = 86_400
    """How long a new login may not end other ones."""
    takeover_seconds: float = 5
    """How long a connection must have made no call for another one to use its auth key without blame."""
    api_id: int | None = None
    """The only api_id that is accepted; None accepts every one that is not 0."""
    api_hash: str | None = field(default=None, repr=False)
