"""What each role of a running stack tells, against the contract's list of metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator

import redis
import requests
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from app import metrics_labels as known
from app.periodic import PERIODIC_TASKS
from tests.stack.city import City
from tests.waiting import wait_until

# The contract's metrics, each with its labels. A process counts the first; the second are read from the stores, by the web.
_COUNTED = {
    **{
        f"auth_qr_{name}_total": {"tenant_id"}
        for name in ("start", "published", "scanned", "password", "success", "expired", "reused", "resumed", "timeout")
    },
    "auth_qr_failed_total": {"tenant_id", "reason"},
    "auth_qr_lost_total": {"tenant_id", "status", "end"},
    "ownership_mismatch_total": {"tenant_id"},
    "floodwait_total": {"method"},
    "requests_total": {"method", "outcome"},
    "session_validations_total": {"outcome"},
    "session_leases_total": {"outcome"},
    "backups_total": {"outcome"},
    "key_unwraps_total": set(),
    "webhook_deliveries_total": {"outcome"},
    "time_to_qr_seconds_bucket": {"le"},
    "scan_to_authorized_seconds_bucket": {"le"},
    "session_cleanup_duration_seconds_bucket": {"le"},
    "throttling_delay_seconds_bucket": {"le"},
    "floodwait_seconds_bucket": {"le"},
    "request_duration_seconds_bucket": {"method", "le"},
}
_READ = {
    "logins_pending": {"tenant_id"},
    "sessions": {"status"},
    "validation_lag_seconds": set(),
    "backup_age_seconds": set(),
    "encryption_key_age_seconds": set(),
    "encryption_key_rotation_seconds": set(),
    "last_success_timestamp_seconds": {"task"},
}
_KNOWN = {
    "method": set(known.TELEGRAM_METHODS),
    "reason": set(known.LOGIN_FAILURE_REASONS),
    "task": set(PERIODIC_TASKS),
    "tenant_id": {"demo", "other"},
}
# What one login moves, and in which role.
_MOVED_BY_A_LOGIN = {
    "auth_qr_start_total": "web",
    "auth_qr_published_total": "worker-logins",
    "auth_qr_scanned_total": "worker-logins",
    "auth_qr_success_total": "worker-logins",
    "requests_total": "worker-logins",
    "time_to_qr_seconds_bucket": "worker-logins",
    "scan_to_authorized_seconds_bucket": "worker-logins",
    "session_cleanup_duration_seconds_bucket": "worker-logins",
    "throttling_delay_seconds_bucket": "worker-logins",
    "request_duration_seconds_bucket": "worker-logins",
    "key_unwraps_total": "worker-logins",
}


def test_each_role_tells_the_contract_s_metrics(city: City) -> None:
    """Every one of them in every process, with the contract's labels, from its start and not from the first count."""
    for role, page in _pages(city):
        told = _told(page)
        expected = {**_COUNTED, **(_READ if role == "web" else {})}
        assert not set(expected) - set(told), role
        assert {name: told[name][0] for name in expected} == expected, role


def test_a_login_moves_what_it_should(city: City) -> None:
    """Each metric of a login is counted by the role that does the work; no label takes a value that nobody foresaw."""

    def moved() -> dict[str, float]:
        totals = dict.fromkeys(_MOVED_BY_A_LOGIN, 0.0)
        for role, page in _pages(city):
            for name, (_, total) in _told(page).items():
                if _MOVED_BY_A_LOGIN.get(name) == role:
                    totals[name] += total
        return totals

    before = moved()
    account = city.telegram.create_account()
    started = city.start()
    city.telegram.scan(account["id"], city.wait_for_qr(started["id"]))
    city.wait_for(started["id"], "authorized")
    without_unwraps = {name for name in _MOVED_BY_A_LOGIN if name != "key_unwraps_total"}  # a key is unwrapped once
    wait_until(lambda: all(moved()[name] > before[name] for name in without_unwraps), within_seconds=5)
    for _, page in _pages(city):
        for sample in (sample for family in page for sample in family.samples if family.name.startswith("telethon_")):
            for label, values in _KNOWN.items():
                assert sample.labels.get(label) in {*values, None}, sample


def test_periodic_tasks_are_told_by_their_last_success(city: City) -> None:
    """The sweeps make no events; whether they still run is told all the same."""
    with redis.Redis.from_url(city.stack.description["redis_url"], decode_responses=True) as client:
        entries = [f"latchkey:redbeat:{name}" for name in client.smembers("latchkey:redbeat::statics")]
        scheduled = [json.loads(client.hget(entry, "definition") or "")["task"] for entry in entries]
    assert sorted(scheduled) == sorted(PERIODIC_TASKS)
    sweeps = [task for task in PERIODIC_TASKS if task.endswith(("orphaned_logins", "log_out_sessions", "webhooks"))]

    def last() -> dict[str, float]:
        samples = (s for role, page in _pages(city) if role == "web" for family in page for s in family.samples)
        return {s.labels["task"]: s.value for s in samples if s.name == "telethon_last_success_timestamp_seconds"}

    wait_until(lambda: all(last()[task] for task in sweeps))
    before = last()
    wait_until(lambda: all(last()[task] > before[task] for task in sweeps))


def _pages(city: City) -> Iterator[tuple[str, list[Metric]]]:
    """The metrics of each process, with its role."""
    addresses = [("web", f"{city.web}/metrics")]
    *login_workers, background = city.stack.description["worker_metrics"]
    addresses += [("worker-logins", address) for address in login_workers] + [("worker-background", background)]
    for role, address in addresses:
        yield role, list(text_string_to_metric_families(requests.get(address, timeout=10).text))


def _told(page: list[Metric]) -> dict[str, tuple[set[str], float]]:
    """By name less its namespace: the labels of its samples, and their sum."""
    told: dict[str, tuple[set[str], float]] = {}
    for sample in (sample for family in page for sample in family.samples):
        name = sample.name.removeprefix("telethon_")
        labels, total = told.get(name, (set(), 0.0))
        told[name] = labels | set(sample.labels), total + sample.value
    return told
