"""Settings that are addresses: what nothing could be reached by is refused, and no message repeats a password."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.errors import SettingsError
from app.setting_values import (
    Sentinels,
    check_broker_url,
    check_http_url,
    check_redis_url,
    split_proxy,
    split_sentinels,
)
from app.settings import load_settings
from tests.builders import make_settings
from tests.telegram.test_connection import ME, connection_to

SECRET = "hunter2"
COMPATIBLE = "\u2100"  # one character that NFKC makes "a/c" of: Python's own message repeats the whole address


@pytest.mark.parametrize("read", [split_proxy, check_redis_url, check_http_url])
@pytest.mark.parametrize("password", [SECRET + COMPATIBLE, SECRET + "]"])
def test_no_message_repeats_a_password(read: Callable[[str], object], password: str) -> None:
    """Nor does what a traceback shows of the exception's causes."""
    schemes: dict[Callable[[str], object], str] = {split_proxy: "socks5", check_redis_url: "redis"}
    scheme = schemes.get(read, "http")
    with pytest.raises(ValueError, match="must") as refused:
        read(f"{scheme}://alice:{password}@127.0.0.1:1080")
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("url", "what"),
    [
        (f"socks5://alice:{'x' * 256}@127.0.0.1:1080", "255"),
        (f"socks5://{'x' * 256}:{SECRET}@127.0.0.1:1080", "255"),
        (f"socks5://alice:{SECRET}%C3%BC@127.0.0.1:1080", "ASCII"),
        (f"http://al%3Aice:{SECRET}@127.0.0.1:3128", "colon"),
        (f"ftp://alice:{SECRET}@127.0.0.1:21", "socks5"),
        (f"socks5://alice:{SECRET}@127.0.0.1", "socks5"),
    ],
)
def test_a_proxy_that_could_not_be_told_its_user_is_refused(url: str, what: str) -> None:
    """At the start, instead of a connection that never comes about."""
    with pytest.raises(ValueError, match=what) as refused:
        split_proxy(url)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("credentials", [f"alice:{'x' * 255}@", "alice@", "al%3Aice:secret@", "alice:p%20w%40%3A@", ""])
def test_a_proxy_that_can_be_used_is_taken(credentials: str) -> None:
    """With the longest password that SOCKS5 can tell, and with signs that an address must write as %XX."""
    assert split_proxy(f"socks5://{credentials}127.0.0.1:1080").hostname == "127.0.0.1"


def test_refused_settings_show_no_other_setting(tmp_path: Path) -> None:
    """One that is wrong must not bring those beside it into the log."""
    with pytest.raises(ValidationError) as refused:
        make_settings(
            database_url=f"postgresql://alice:{SECRET}@h/d",
            redis_url=f"redis://:{SECRET}@h/0",
            key_file=tmp_path / "key",
            telegram_proxy=f"socks5://alice:{SECRET}@nowhere",
            key_provider="aws-kms",
        )
    assert SECRET not in str(refused.value)


def test_a_tenants_own_proxy_is_refused_before_anything_is_sent() -> None:
    """It is in the tenant's row and in no setting, so it is looked at when it is used; nothing of it is repeated."""
    connection = connection_to(1)
    connection.identity = replace(ME, proxy=f"socks5://alice:{SECRET}\u00fc@127.0.0.1:1")
    with pytest.raises(SettingsError, match="ASCII") as refused:
        asyncio.run(connection.open())
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("given", "content", "says"),
    [
        ({}, "from-a-file\n", None),
        ({"TELEGRAM_API_HASH": "both"}, "from-a-file", "both set"),
        ({}, " \n", "is empty"),
        ({}, None, "cannot be read"),
    ],
)
def test_a_secret_comes_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], content: str | None, says: str | None
) -> None:
    """NAME_FILE instead of NAME; a file that is not there, or both at once, is told in one line without the secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TELEGRAM_API_HASH", raising=False)
    path = tmp_path / "secret"
    if content is not None:
        path.write_text(content)
    settings = {
        "DATABASE_URL": "postgresql://x@y/z",
        "REDIS_URL": "redis://127.0.0.1",
        "TELEGRAM_API_ID": "1",
        "TELEGRAM_API_HASH_FILE": str(path),
        "KEY_PROVIDER": "aws-kms",
        "KMS_KEY_ID": "alias/x",
    }
    for name, value in (settings | given).items():
        monkeypatch.setenv(name, value)
    if says is None:
        assert load_settings().telegram_api_hash.get_secret_value() == "from-a-file"
        return
    with pytest.raises(SettingsError, match=says) as refused:
        load_settings()
    assert "TELEGRAM_API_HASH" in str(refused.value)
    assert "from-a-file" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "addresses", "user", "password", "database"),
    [
        ("sentinel://a,b:1,[::1]:2/3?master=m", (("a", 26379), ("b", 1), ("::1", 2)), None, None, 3),
        ("sentinel://u:p%40w@a:1?master=m", (("a", 1),), "u", "p@w", 0),
        ("sentinel://:pw@a:1/0?master=m", (("a", 1),), None, "pw", 0),
    ],
)
def test_sentinels_are_read(
    url: str, addresses: tuple[tuple[str, int], ...], user: str | None, password: str | None, database: int
) -> None:
    """Several addresses in one URL, with Redis' own user and password."""
    assert check_redis_url(url) == url
    assert split_sentinels(url) == Sentinels(addresses, "m", database, user, password)


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://a:1/0",
        "sentinel://a:x/0?master=m",
        "sentinel:///0?master=m",
        "sentinel://a,/0?master=m",
        "sentinel://a/x?master=m",
        "sentinel://a/0?master=m&tls=1",
        "amqp://",
        "amqp://a:x/",
        "amqps://a/?cacertfile=/nowhere/ca.pem",
        "amqps://a/?verify=verify_none",
        "kafka://a",
    ],
)
def test_a_senseless_broker_is_refused(url: str) -> None:
    """At the start of a process, not at its first message."""
    with pytest.raises(ValueError, match=r"must|no file"):
        check_broker_url(url)


@pytest.mark.parametrize("url", ["amqp://u:p@a:5672//", "amqps://a/latchkey", "redis://a", "sentinel://a/0?master=m"])
def test_a_broker_is_redis_or_rabbitmq(url: str) -> None:
    """Whatever carries Celery's messages; all other state is in Redis."""
    assert check_broker_url(url) == url
    if url.startswith("amqp"):
        with pytest.raises(ValueError, match="redis://"):
            check_redis_url(url)
