"""Redis: does it answer, does it keep what is queued, may our user do what it has to, who can read along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError
from redis.retry import Retry

from app.doctor.finding import LOOK_SECONDS, Finding, is_this_machine, reason
from app.redis_servers import make_pool, sentinels_of

_SETTINGS = {"redis": "REDIS_URL", "broker": "CELERY_BROKER_URL"}
_LOOK: dict[str, Any] = {
    "socket_timeout": LOOK_SECONDS,
    "socket_connect_timeout": LOOK_SECONDS,
    "retry": Retry(NoBackoff(), 0),
}
_FEWEST_SENTINELS = 3  # two cannot outvote one
_MORE_RIGHTS = "give its user the rules of `service` in deploy/redis/users"
_LESS_RIGHTS = "use a user of its own, with the rules of `service` in deploy/redis/users"


def look_at_redis(name: str, url: str) -> Iterator[Finding]:
    """Ask for its version; then, if it answers, for everything else.

    Args:
        name: ``redis`` or ``broker``.
    """
    client = redis.Redis.from_pool(make_pool(url, **_LOOK))
    try:
        yield from _sentinels(name, url)
        yield from _answers(name, client)
        yield from _rights(name, client)
        yield from _tls(name, url)
    except NoPermissionError as exc:
        yield Finding(name, "failed", reason(exc), _MORE_RIGHTS)
    except RedisError as exc:
        yield Finding(name, "failed", reason(exc), f"start Redis, or mend {_SETTINGS[name]}")
    finally:
        client.close()


def _sentinels(name: str, url: str) -> Iterator[Finding]:
    """Each of them on its own: one that is gone is noticed only when the others go, too."""
    known = sentinels_of(url)
    if known is None:
        return
    silent = [f"{host}:{port}" for host, port in known.addresses if not _knows(host, port, known.master)]
    if silent:
        found = f"no answer, or no master {known.master}, from {', '.join(silent)}"
        yield Finding(name, "warning", found, "start these Sentinels, or mend the URL: a failover needs most of them")
    if len(known.addresses) < _FEWEST_SENTINELS:
        found = f"{len(known.addresses)} Sentinels in the URL"
        yield Finding(name, "warning", found, "name all of them, three or more: any of them may be away")


def _knows(host: str, port: int, master: str) -> bool:
    with redis.Redis(host=host, port=port, **_LOOK) as client:
        try:
            return bool(client.sentinel_get_master_addr_by_name(master))
        except RedisError:
            return False


def _answers(name: str, client: redis.Redis) -> Iterator[Finding]:
    server, memory, persistence = client.info("server"), client.info("memory"), client.info("persistence")
    yield Finding(name, "ok", f"Redis {server['redis_version']}")
    if memory.get("maxmemory_policy", "noeviction") != "noeviction":
        yield Finding(
            name,
            "warning",
            f"maxmemory-policy is {memory['maxmemory_policy']}",
            "set it to noeviction: Redis would throw away locks and queued messages",
        )
    if memory.get("maxmemory") and memory["used_memory"] > 0.8 * memory["maxmemory"]:
        used = memory["used_memory"] / memory["maxmemory"]
        yield Finding(
            name, "warning", f"{used:.0%} of maxmemory is used", "raise maxmemory: a full Redis takes no login"
        )
    if not persistence.get("aof_enabled"):
        yield Finding(
            name, "warning", "no append-only file", "set appendonly yes: a restart then keeps queues and rate limits"
        )
    if persistence.get("aof_last_write_status", "ok") != "ok":
        yield Finding(
            name, "failed", "the append-only file cannot be written", "look at Redis' disk: it takes no writes now"
        )


def _rights(name: str, client: redis.Redis) -> Iterator[Finding]:
    """Do a little of everything that Latchkey does, under names that nobody uses."""
    key = f"latchkey:doctor:{uuid4().hex}"
    refused: dict[str, None] = {}
    for words in _probes(key):
        try:
            client.execute_command(*words)  # type: ignore[no-untyped-call]  # theirs
        except NoPermissionError:
            refused[words[0] if key in words else f"{words[0]} {words[1]}"] = None
    if refused:
        yield Finding(name, "failed", f"its user may not: {', '.join(refused)}", _MORE_RIGHTS)
    elif _may_administer(client) and not _is_here(client):
        yield Finding(name, "warning", "its user may administer and empty Redis", _LESS_RIGHTS)


def _probes(key: str) -> Iterator[tuple[Any, ...]]:
    for queue in ("logins", "background", "webhooks"):
        yield "LLEN", queue
        yield "SMEMBERS", f"_kombu.binding.{queue}"
    yield "HLEN", "unacked"
    yield "SET", key, "x", "NX", "PX", 5000
    yield "EVAL", "return redis.call('GET', KEYS[1])", 1, key
    yield "DEL", key
    yield "ZADD", key, 1, "x"
    yield "DEL", key
    yield "HSET", key, "x", 1
    yield "DEL", key
    yield "LPUSH", key, "x"
    yield "BRPOP", key, 1
    yield "PUBLISH", key, "x"
    yield "PUBSUB", "NUMSUB", key


def _is_here(client: redis.Redis) -> bool:
    """Where it is connected to: with Sentinels no URL tells."""
    connection = client.connection_pool.get_connection()
    try:
        return is_this_machine(getattr(connection, "host", None))
    finally:
        client.connection_pool.release(connection)


def _may_administer(client: redis.Redis) -> bool:
    try:
        client.config_get("maxmemory")
    except RedisError:
        return False
    return True


def _tls(name: str, url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    known = sentinels_of(url)
    if known is not None and not all(is_this_machine(host) for host, _ in known.addresses):
        advice = "keep Redis and its Sentinels in a network of their own: Latchkey speaks no TLS to them"
        yield Finding(name, "warning", "no TLS through Sentinels: Redis' password travels in the open", advice)
    elif parts.scheme == "redis" and not is_this_machine(parts.hostname):
        yield Finding(
            name,
            "warning",
            f"no TLS to {parts.hostname}: its password travels in the open",
            f"begin {_SETTINGS[name]} with rediss://, and give Redis a certificate",
        )
