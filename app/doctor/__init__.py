"""The doctor: looks at everything the settings name, and says what is wrong and what to do about it.

It changes nothing that lasts: what it writes to Redis it deletes, and the auth key that it makes at Telegram is nobody's.
Every look is bounded in time.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.brokers import is_rabbitmq
from app.database import make_engine
from app.doctor.bucket import look_at_bucket
from app.doctor.database import look_at_clock, look_at_database
from app.doctor.files import look_at_disk, look_at_secret_files
from app.doctor.finding import Finding
from app.doctor.keys import look_at_keys
from app.doctor.rabbitmq import look_at_rabbitmq
from app.doctor.redis import look_at_redis
from app.doctor.telegram import look_at_telegram
from app.exposure import find_exposures
from app.settings import Settings

__all__ = ["Finding", "examine"]


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at one dependency after the other."""
    engine = make_engine(settings.database_url, pool_size=1)
    try:
        yield from look_at_database(engine)
        yield from look_at_redis("redis", settings.redis_url)
        if is_rabbitmq(settings.broker_url):
            yield from look_at_rabbitmq(settings.broker_url)
        elif settings.broker_url != settings.redis_url:
            yield from look_at_redis("broker", settings.broker_url)
        yield look_at_keys(settings, engine)
        yield look_at_clock(engine)
    finally:
        engine.dispose()
    yield from look_at_secret_files(settings)
    yield from look_at_bucket(settings)
    yield from look_at_telegram(settings)
    yield from _public_url(settings)
    yield from look_at_disk()


def _public_url(settings: Settings) -> Iterator[Finding]:
    found = find_exposures(settings)
    for each in found:
        yield Finding("public url", "warning", each.found, each.advice)
    if not found:
        yield Finding("public url", "ok", settings.public_url)
