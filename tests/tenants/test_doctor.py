"""The doctor: for each common mistake a finding that names it, and what to do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
import redis
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from app.core import Core
from app.database import make_engine
from app.doctor import database, files
from app.doctor.bucket import look_at_bucket
from app.doctor.database import compare_clocks, look_at_database
from app.doctor.files import look_at_disk, look_at_secret_files
from app.doctor.finding import Finding, is_this_machine
from app.doctor.redis import look_at_redis
from app.doctor.telegram import look_at_telegram
from app.grants import grant_service_role
from app.settings import Settings
from app.vault.sealing import Place
from deploy.make_bucket import lifecycle
from sandbox.process import RunningSandbox
from tests.sessions.socks import PASSWORD, USER, SocksProxy
from tests.tenants.commands import Run, answer
from tests.vault.vaults import aws_environment, emulated_aws

Change = Callable[..., Settings]


@pytest.fixture
def changed(core: Core) -> Change:
    """The test's settings, with these changed."""

    def change(**changes: Any) -> Settings:
        return core.settings.model_copy(update=changes)

    return change


@pytest.fixture(scope="module")
def telegram(sandboxes: Callable[..., RunningSandbox]) -> RunningSandbox:
    """A Telegram that knows one application."""
    return sandboxes(api_id=12345)


def at(telegram: RunningSandbox) -> dict[str, Any]:
    """The settings that lead there."""
    return {
        "telegram_dc_address": f"2:127.0.0.1:{telegram.dcs[2]}",
        "telegram_public_key_file": telegram.public_key_file,
    }


def told(findings: Sequence[Finding] | Iterator[Finding], state: str) -> str:
    """What findings of a state say, and advise; each that is not ok says what to do."""
    all_of_them = list(findings)
    assert all(bool(each.advice) == (each.state != "ok") for each in all_of_them)
    return "\n".join(f"{each.name}: {each.found} → {each.advice}" for each in all_of_them if each.state == state)


def test_a_healthy_stack_is_healthy(run: Run, telegram: RunningSandbox) -> None:
    """Exit code 0 although optional parts are not there."""
    where = {name.upper(): str(value) for name, value in at(telegram).items()}
    findings = answer(run("doctor", "--json", **where))
    assert isinstance(findings, list)
    states = {finding["name"]: finding["state"] for finding in findings}
    assert {"database", "schema", "redis", "keys", "telegram", "api_id", "clock", "disk"} <= set(states)
    assert "failed" not in states.values()


def test_what_is_away_is_named(run: Run, empty_database: Callable[[], str]) -> None:
    """Each failure with its advice, and exit code 1."""
    sick = run(
        "doctor",
        DATABASE_URL=empty_database(),
        REDIS_URL="redis://127.0.0.1:1/0",
        TELEGRAM_DC_ADDRESS="2:127.0.0.1:1",
    )
    assert sick.exit_code == 1
    for advice in ("python -m app migrate", "mend REDIS_URL", "TELEGRAM_PROXY"):
        assert advice in sick.output
    down = run("doctor", DATABASE_URL="postgresql://x@127.0.0.1:1/x", TELEGRAM_DC_ADDRESS="2:127.0.0.1:1")
    assert "mend DATABASE_URL" in down.output


def test_a_setting_that_is_missing_is_another_exit_code(run: Run) -> None:
    """2: nothing was looked at."""
    assert run("doctor", TELEGRAM_API_HASH="").exit_code == 2


def test_a_key_that_unwraps_nothing_is_noticed(run: Run, core: Core, tmp_path: Path) -> None:
    """The key file of another installation."""
    core.keyring.forget()
    core.keyring.seal(Place("test", "alice", "x"), b"x")
    other = tmp_path / "other"
    other.write_text("A" * 43 + "=")
    sick = run("doctor", LOCAL_KEY_FILE=str(other), TELEGRAM_DC_ADDRESS="2:127.0.0.1:1")
    assert sick.exit_code == 1
    assert "was wrapped by" in sick.output


def test_a_role_that_owns_the_tables_is_warned_of(migrated_database: Callable[[], str]) -> None:
    """Its process could change the audit. One that may do too little fails; the one that migrations make is fine."""
    owner = make_engine(migrated_database())
    service_url = owner.url.set(username=f"doctor_{owner.url.database}", password="x").render_as_string(
        hide_password=False
    )
    try:
        assert "owns the tables" in told(look_at_database(owner), "warning")
        grant_service_role(owner, service_url=service_url, audit_retention_days=400)
        service = make_engine(service_url)
        assert "role" not in {finding.name for finding in look_at_database(service)}
        with owner.begin() as connection:
            connection.exec_driver_sql(f"REVOKE INSERT ON logins FROM {make_url(service_url).username}")
        assert "may not read and write logins" in told(look_at_database(service), "failed")
        service.dispose()
    finally:
        owner.dispose()


@pytest.mark.parametrize(
    ("host", "query", "says"),
    [("db.example", "", "no TLS to db.example"), ("127.0.0.1", "", ""), ("db.example", "?sslmode=require", "no TLS")],
)
def test_a_database_elsewhere_without_tls_is_warned_of(
    migrated_database: Callable[[], str], host: str, query: str, says: str
) -> None:
    """What counts is what PostgreSQL says of the connection, not what was asked for."""
    engine = make_engine(migrated_database())
    elsewhere = make_url(f"postgresql://x@{host}/x{query}")
    with engine.connect() as connection:
        found = told(database._tls(elsewhere, connection), "warning")
    engine.dispose()
    assert says in found
    assert bool(found) == bool(says)


def test_clocks_that_differ_are_warned_of() -> None:
    """Two seconds are borne."""
    assert compare_clocks(1.9, whose="x").state == "ok"
    assert "NTP" in told([compare_clocks(-3, whose="Telegram's")], "warning")


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("::1", True), (None, True), ("/run/x", True), ("redis", False), ("10.0.0.1", False)],
)
def test_what_stays_on_this_machine_needs_no_tls(host: str | None, here: bool) -> None:
    """Loopback and socket files."""
    assert is_this_machine(host) == here


@pytest.fixture
def user(redis_url: str) -> Iterator[Callable[[str], str]]:
    """Makes a user of Redis by its rules; the URL by which it comes."""
    parts = make_url(redis_url)
    with redis.Redis.from_url(redis_url) as administrator:

        def make(rules: str) -> str:
            administrator.execute_command("ACL", "SETUSER", "doctor", "reset", "on", ">x", *rules.split())
            return f"redis://doctor:x@{parts.host}:{parts.port}/{parts.database}"

        yield make
        administrator.execute_command("ACL", "DELUSER", "doctor")


def rules_of(name: str) -> str:
    """A user's rules in deploy/redis/users."""
    text = (Path(__file__).parents[2] / "deploy" / "redis" / "users").read_text()
    return next(line.removeprefix(f"{name} ") for line in text.splitlines() if line.startswith(f"{name} "))


def test_a_redis_user_that_may_do_too_little_is_named(user: Callable[[str], str], redis_url: str) -> None:
    """By what it may not do. The one that Latchkey comes with can do what it has to; no key stays behind."""
    assert told(look_at_redis("redis", user(rules_of("service"))), "failed") == ""
    for rules, says in (
        (rules_of("watcher"), "SET"),
        (rules_of("service") + " -@scripting", "EVAL"),
        (rules_of("service") + " -publish", "PUBLISH"),
        ("~latchkey:* &* +@all", "LLEN logins"),
        ("~* &* +@all -info", "info"),
    ):
        found = told(look_at_redis("redis", user(rules)), "failed")
        assert says in found
        assert "deploy/redis/users" in found
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys("*doctor*") == []


def test_a_redis_that_forgets_is_warned_of(redis_url: str) -> None:
    """Eviction takes locks and queued messages."""
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("maxmemory-policy")["maxmemory-policy"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert "set it to noeviction" in told(look_at_redis("redis", redis_url), "warning")
        finally:
            client.config_set("maxmemory-policy", before)


def test_redis_elsewhere_without_tls_is_warned_of(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    """And a user there who may empty it."""
    monkeypatch.setattr("socket.getaddrinfo", _everywhere_is_here(socket.getaddrinfo))
    found = told(look_at_redis("broker", redis_url.replace("127.0.0.1", "redis.example")), "warning")
    assert "begin CELERY_BROKER_URL with rediss://" in found
    assert "may administer and empty Redis" in found


def _everywhere_is_here(ask: Callable[..., Any]) -> Callable[..., Any]:
    return lambda host, *more, **others: ask("127.0.0.1", *more, **others)


@pytest.mark.parametrize(("mode", "warned"), [(0o400, False), (0o440, False), (0o644, True), (0o460, True)])
def test_a_key_file_that_others_may_read_is_warned_of(
    core: Core, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int, warned: bool
) -> None:
    """Kubernetes gives a Secret's file to a group of its own: that is fine."""
    assert core.settings.local_key_file is not None
    core.settings.local_key_file.chmod(0o400)
    secret = tmp_path / "database_url"
    secret.write_text("x")
    monkeypatch.setenv("DATABASE_URL_FILE", str(secret))
    for path in (core.settings.local_key_file, secret):
        for each in (core.settings.local_key_file, secret):
            each.chmod(mode if each == path else 0o400)
        assert (f"chmod 400 {path}" in told(look_at_secret_files(core.settings), "warning")) == warned


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A root that is read only, and no room for temporary files."""
    assert told(look_at_disk(), "failed") == ""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/proc/1/metrics")
    assert "cannot be written" in told(look_at_disk(), "failed")
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    monkeypatch.setattr(files, "_LEAST_FREE", 1.0)
    assert "make room" in told(look_at_disk(), "warning")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulated AWS for this module."""
    with aws_environment(), emulated_aws(tmp_path_factory.mktemp("aws")) as url:
        yield url


def test_a_bucket_without_versions_and_lifecycle_is_warned_of(s3: str, changed: Change) -> None:
    """Until it has what deploy/make_bucket.py gives it."""
    client = boto3.client("s3", endpoint_url=s3)
    client.create_bucket(Bucket="plain")
    settings = changed(s3_bucket="plain", s3_endpoint_url=s3)
    found = told(look_at_bucket(settings), "warning")
    assert "no versioning" in found
    assert "no lifecycle rule" in found
    assert "make_bucket.py" in found
    client.put_bucket_versioning(Bucket="plain", VersioningConfiguration={"Status": "Enabled"})
    rule = lifecycle(30)
    client.put_bucket_lifecycle_configuration(Bucket="plain", LifecycleConfiguration=rule)
    assert told(look_at_bucket(settings), "warning") == ""
    client.put_bucket_lifecycle_configuration(
        Bucket="plain",
        LifecycleConfiguration={
            "Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
        },
    )
    assert "deletes current objects" in told(look_at_bucket(settings), "warning")


def test_a_bucket_that_locks_nothing_fails_where_locks_are_asked_for(s3: str, changed: Change) -> None:
    """Every backup would be refused."""
    client = boto3.client("s3", endpoint_url=s3)
    client.create_bucket(Bucket="unlocked")
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    for bucket, fails in (("unlocked", True), ("locked", False)):
        found = told(look_at_bucket(changed(s3_bucket=bucket, s3_endpoint_url=s3, s3_object_lock_days=7)), "failed")
        assert ("locks nothing" in found) == fails


def test_a_bucket_that_is_away_is_named(s3: str, changed: Change) -> None:
    """Whether it is not there, or its store is not."""
    for settings in (
        changed(s3_bucket="nowhere", s3_endpoint_url=s3),
        changed(s3_bucket="x", s3_endpoint_url="http://127.0.0.1:1"),
    ):
        assert "mend S3_BUCKET" in told(look_at_bucket(settings), "failed")
    assert "there are no backups" in told(look_at_bucket(changed(s3_bucket=None)), "warning")


def test_a_wrong_api_id_is_named(telegram: RunningSandbox, changed: Change) -> None:
    """Where the server refuses it at once; a hash of the wrong form is warned of, and not repeated."""
    assert told(look_at_telegram(changed(**at(telegram))), "failed") == ""
    found = told(look_at_telegram(changed(**at(telegram), telegram_api_id=4711)), "failed")
    assert "refuses api_id 4711" in found
    assert "my.telegram.org" in found
    wrong = SecretStr("hunter2")
    found = told(look_at_telegram(changed(**at(telegram), telegram_api_hash=wrong)), "warning")
    assert "not 32 hexadecimal digits" in found
    assert "hunter2" not in found


def test_a_server_that_is_not_telegram_is_named(telegram: RunningSandbox, changed: Change) -> None:
    """It answers TCP, and nothing else."""
    telegram.driver.network("accept_and_close")
    try:
        assert "TELEGRAM_PUBLIC_KEY_FILE" in told(look_at_telegram(changed(**at(telegram))), "failed")
    finally:
        telegram.driver.network("ok")


def test_a_proxy_is_tried(telegram: RunningSandbox, changed: Change) -> None:
    """All the way to Telegram. One that is away, and one that refuses us, are told apart; no password is repeated."""
    with SocksProxy() as proxy:
        for url, state, says in (
            (f"socks5://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{proxy.port}", "ok", "answers through the proxy"),
            (f"socks5://{USER}:wrong-secret@127.0.0.1:{proxy.port}", "failed", "user and password"),
            (f"socks5://{USER}:wrong-secret@127.0.0.1:1", "failed", "no proxy answers at 127.0.0.1:1"),
        ):
            found = told(look_at_telegram(changed(**at(telegram), telegram_proxy=url)), state)
            assert says in found
            assert "wrong-secret" not in found


def test_a_public_address_without_tls_is_warned_of(run: Run) -> None:
    """And without a trusted proxy."""
    found = run("doctor", PUBLIC_URL="http://login.acme.com", TELEGRAM_DC_ADDRESS="2:127.0.0.1:1").output
    assert "begin PUBLIC_URL with https://" in found
    assert "set TRUSTED_PROXIES" in found
