"""A public address without TLS, or without trusted proxies, is said aloud: at the web's start and by doctor."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.exposure import find_exposures
from tests.builders import make_settings


@pytest.mark.parametrize(
    ("public_url", "trusted_proxies", "found"),
    [
        ("https://login.acme.com", 1, []),
        ("http://login.acme.com", 1, ["TLS"]),
        ("https://login.acme.com", 0, ["proxy"]),
        ("http://8.8.8.8:8000", 0, ["TLS", "proxy"]),
        ("http://127.0.0.1:8000", 0, []),
        ("http://localhost:8000", 0, []),
        ("http://10.0.0.5", 0, []),
        ("http://[::1]:8000", 0, []),
        ("http://latchkey", 0, []),
    ],
)
def test_a_public_address_is_looked_at(tmp_path: Path, public_url: str, trusted_proxies: int, found: list[str]) -> None:
    """Both faults, each with what to do; private addresses may be anything."""
    settings = make_settings(
        database_url="postgresql://x@y/z",
        redis_url="redis://127.0.0.1",
        key_file=tmp_path / "key",
        public_url=public_url,
        trusted_proxies=trusted_proxies,
    )
    exposures = find_exposures(settings)
    assert len(exposures) == len(found)
    for exposure, word in zip(exposures, found, strict=True):
        assert word in exposure.found
        assert exposure.advice
