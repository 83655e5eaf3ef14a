"""The five dashboards: the source of deploy/grafana/dashboards, which `make dashboards` writes.

Every query has an answer from a stack's first minute on: what never happened is told as 0, and a ratio over nothing is 0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deploy.panels import RANGE, RATE, TENANT, Dashboard, Panel, to_grafana

FOLDER = Path(__file__).parent / "grafana" / "dashboards"

_MINE = f'{{tenant_id=~"{TENANT}"}}'


def _per_second(metric: str, *labels: str, where: str = "") -> str:
    return f"sum {_by(*labels)}(rate({metric}{where}[{RATE}]))"


def _in_all(metric: str, *labels: str, where: str = "") -> str:
    """How many within the range that is shown, as whole ones."""
    return f"round(sum {_by(*labels)}(increase({metric}{where}[{RANGE}])))"


def _by(*labels: str) -> str:
    return f"by ({', '.join(labels)}) " if labels else ""


def _most(query: str, count: int = 8) -> str:
    return f"topk({count}, {query})"


def _share(part: str, whole: str) -> str:
    return f"({part} / ({whole} > 0)) or vector(0)"


def _quantile(q: float, metric: str, *labels: str) -> str:
    return f"histogram_quantile({q}, {_per_second(f'{metric}_bucket', 'le', *labels)})"


def _tasks(metric: str) -> str:
    # The exporter knows a task's counter once it has seen one.
    return f'sum by (name) (rate({metric}[{RATE}])) > 0 or on () label_replace(vector(0), "name", "none", "", "")'


def _halves_and_most(metric: str) -> dict[str, str]:
    return {"half within": _quantile(0.5, metric), "95 % within": _quantile(0.95, metric)}


_STEPS = {
    "started": "start",
    "shown": "published",
    "scanned": "scanned",
    "password": "password",
    "authorized": "success",
}


def _step(name: str) -> str:
    return f"telethon_auth_qr_{_STEPS[name]}_total"


LOGIN_FUNNEL = Dashboard(
    name="login-funnel",
    title="login funnel",
    about="How far people come on their way to a session, where they are lost, and why.",
    by_tenant=True,
    rows={
        "The way": (
            Panel(
                title="How far logins came",
                about="Within the range shown. A login by phone code is not shown a QR code; most accounts have no password.",
                kind="bargauge",
                queries={name: _in_all(_step(name), where=_MINE) for name in _STEPS},
            ),
            Panel(
                title="Where people are lost",
                about="The state in which a login was when it ended without a session. Who starts again meanwhile is not lost.",
                kind="bargauge",
                queries={
                    "{{end}} in {{status}}": _most(_in_all("telethon_auth_qr_lost_total", "end", "status", where=_MINE))
                },
            ),
            Panel(
                title="Why logins fail",
                kind="bargauge",
                queries={"{{reason}}": _most(_in_all("telethon_auth_qr_failed_total", "reason", where=_MINE))},
            ),
            Panel(
                title="Scanned, of those shown",
                kind="stat",
                unit="percentunit",
                width=6,
                height=4,
                queries={
                    "scanned": _share(_in_all(_step("scanned"), where=_MINE), _in_all(_step("shown"), where=_MINE)),
                },
            ),
            Panel(
                title="Authorized, of those scanned",
                kind="stat",
                unit="percentunit",
                width=6,
                height=4,
                queries={
                    "authorized": _share(
                        _in_all(_step("authorized"), where=_MINE), _in_all(_step("scanned"), where=_MINE)
                    ),
                },
            ),
            Panel(
                title="Under way now",
                kind="stat",
                width=6,
                height=4,
                queries={"logins": f"sum(max by (tenant_id) (telethon_logins_pending{_MINE}))"},
            ),
            Panel(
                title="Answered with a session that was there",
                kind="stat",
                width=6,
                height=4,
                queries={"reused": _in_all("telethon_auth_qr_reused_total", where=_MINE)},
            ),
        ),
        "Over time": (
            Panel(
                title="Steps",
                unit="ops",
                width=12,
                queries={name: _per_second(_step(name), where=_MINE) for name in _STEPS},
            ),
            Panel(
                title="Losses",
                unit="ops",
                width=12,
                queries={
                    "{{end}} in {{status}}": _most(
                        _per_second("telethon_auth_qr_lost_total", "end", "status", where=_MINE), 6
                    )
                },
            ),
            Panel(
                title="From the POST to the first QR code",
                unit="s",
                limit=5,
                queries=_halves_and_most("telethon_time_to_qr_seconds"),
            ),
            Panel(
                title="From the scan to the session",
                unit="s",
                queries=_halves_and_most("telethon_scan_to_authorized_seconds"),
            ),
            Panel(
                title="Cleaning up after a login",
                unit="s",
                limit=3,
                queries=_halves_and_most("telethon_session_cleanup_duration_seconds"),
            ),
        ),
        "Objectives": (
            Panel(
                title="Scanned logins that fail",
                about="Objective: 99.9 % of scanned logins end authorized.",
                unit="percentunit",
                limit=0.001,
                width=12,
                queries={
                    "within 1 h": "latchkey:scanned_logins_failed:ratio_rate1h",
                    "within 5 min": "latchkey:scanned_logins_failed:ratio_rate5m",
                },
            ),
            Panel(
                title="Expired, of those shown",
                about="Objective: under 10 %.",
                unit="percentunit",
                limit=0.1,
                width=12,
                queries={
                    "within 1 h": "latchkey:logins_expired:ratio_rate1h",
                    "within 6 h": "latchkey:logins_expired:ratio_rate6h",
                },
            ),
        ),
    },
)

TELEGRAM = Dashboard(
    name="telegram",
    title="Telegram's health",
    about="What Telegram answers, how fast, and what it refuses.",
    rows={
        "Requests": (
            Panel(
                title="Requests by outcome",
                unit="reqps",
                queries={"{{outcome}}": _per_second("telethon_requests_total", "outcome")},
            ),
            Panel(
                title="Requests by method",
                unit="reqps",
                queries={"{{method}}": _most(_per_second("telethon_requests_total", "method"))},
            ),
            Panel(
                title="Answered within, 95 %",
                unit="s",
                queries={"{{method}}": _most(_quantile(0.95, "telethon_request_duration_seconds", "method"))},
            ),
            Panel(
                title="Neither answered nor refused",
                about="Timeouts and lost connections, of all requests: the network, or Telegram itself.",
                unit="percentunit",
                queries={
                    "{{outcome}}": "sum by (outcome) (rate(telethon_requests_total{outcome=~"
                    f'"timeout|connection_lost|error"}}[{RATE}])) / ignoring (outcome) group_left '
                    f"clamp_min(sum(rate(telethon_requests_total[{RATE}])), 0.001)"
                },
            ),
            Panel(
                title="Moves to another data centre",
                unit="ops",
                queries={"{{call}}": _per_second("telethon_auth_qr_migrated_total", "call")},
            ),
            Panel(
                title="Pause before a request",
                about="Ours: 200 to 500 ms between two requests of one client.",
                unit="s",
                queries=_halves_and_most("telethon_throttling_delay_seconds"),
            ),
        ),
        "Flood waits": (
            Panel(
                title="Flood waits, of all requests",
                about="Objective: under 5 %.",
                unit="percentunit",
                limit=0.05,
                queries={
                    "within 15 min": "latchkey:floodwaits:ratio_rate15m",
                    "within 1 h": "latchkey:floodwaits:ratio_rate1h",
                },
            ),
            Panel(
                title="Flood waits by method",
                unit="ops",
                queries={"{{method}}": _most(_per_second("telethon_floodwait_total", "method"), 6)},
            ),
            Panel(
                title="How long Telegram wants us to wait",
                unit="s",
                queries=_halves_and_most("telethon_floodwait_seconds"),
            ),
            Panel(
                title="Gates of a whole api_id that closed",
                about="Several people met waits of one method within a minute.",
                kind="bargauge",
                width=12,
                height=5,
                queries={"{{method}}": _most(_in_all("telethon_floodwait_api_gate_total", "method"), 4)},
            ),
            Panel(
                title="Keys that logins left behind",
                about="Logged out; to be asked again; put off by Telegram; given up.",
                kind="bargauge",
                width=12,
                height=5,
                queries={"{{outcome}}": _in_all("telethon_key_log_outs_total", "outcome")},
            ),
        ),
    },
)

CUSTODY = Dashboard(
    name="custody",
    title="custody",
    about="Sessions that are kept: alive, backed up, sealed under young keys, used by one holder at a time.",
    rows={
        "Sessions": (
            Panel(title="Sessions by status", queries={"{{status}}": "max by (status) (telethon_sessions)"}),
            Panel(
                title="Validations",
                unit="ops",
                queries={"{{outcome}}": _most(_per_second("telethon_session_validations_total", "outcome"), 6)},
            ),
            Panel(
                title="The most overdue validation",
                unit="s",
                limit=1800,
                queries={"late": "max(telethon_validation_lag_seconds)"},
            ),
            Panel(
                title="Leases",
                about="`session_leased`: somebody wanted a session that another holds.",
                unit="ops",
                queries={"{{outcome}}": _per_second("telethon_session_leases_total", "outcome")},
            ),
            Panel(
                title="Logins by another account than expected",
                kind="bargauge",
                queries={"{{tenant_id}}": _most(_in_all("telethon_ownership_mismatch_total", "tenant_id"), 5)},
            ),
            Panel(
                title="The validator pauses", kind="stat", limit=1, queries={"pauses": "max(telethon_validator_paused)"}
            ),
        ),
        "Keys and backups": (
            Panel(
                title="Age of the active key",
                unit="s",
                queries={
                    "key": "max(telethon_encryption_key_age_seconds)",
                    "replaced at": "max(telethon_encryption_key_rotation_seconds)",
                },
            ),
            Panel(title="Keys unwrapped", unit="ops", queries={"unwraps": _per_second("telethon_key_unwraps_total")}),
            Panel(
                title="Age of the newest backup",
                unit="s",
                limit=3600,
                queries={"backup": "max(telethon_backup_age_seconds)"},
            ),
            Panel(
                title="Backup objects",
                kind="bargauge",
                queries={"{{outcome}}": _in_all("telethon_backups_total", "outcome")},
            ),
            Panel(
                title="Living sessions without a backup",
                about="As the last verification found. More than none: somebody emptied the bucket, or wrote to it.",
                kind="stat",
                limit=1,
                queries={"sessions": "max(telethon_backup_gaps)"},
            ),
            Panel(
                title="Rows that were kept for long enough",
                kind="bargauge",
                queries={"{{table}}": _in_all("telethon_pruned_rows_total", "table")},
            ),
        ),
        "Webhooks": (
            Panel(
                title="Tries",
                unit="ops",
                queries={"{{outcome}}": _most(_per_second("telethon_webhook_deliveries_total", "outcome"), 6)},
            ),
            Panel(title="Waiting for a try", limit=1000, queries={"webhooks": "max(telethon_webhook_backlog)"}),
            Panel(
                title="Endpoints disabled for their failures",
                kind="bargauge",
                queries={"{{tenant_id}}": _most(_in_all("telethon_webhooks_disabled_total", "tenant_id"), 5)},
            ),
        ),
    },
)

CELERY = Dashboard(
    name="celery",
    title="Celery",
    about="Whether everything runs that should: processes, queues, tasks, what is periodic, the API.",
    rows={
        "Processes": (
            Panel(title="Answer to a scrape", queries={"{{job}} {{instance}}": "up"}),
            Panel(title="Workers at each queue", queries={"{{queue_name}}": "celery_active_worker_count"}),
            Panel(
                title="Loops that had to be started again",
                kind="bargauge",
                queries={"{{loop}}": _in_all("telethon_background_restarts_total", "loop")},
            ),
        ),
        "Tasks": (
            Panel(
                title="Waiting in the queues",
                about="Logins wait here only when no worker has a thread for them.",
                queries={"{{queue_name}}": "celery_queue_length"},
            ),
            Panel(
                title="Ended well",
                unit="ops",
                queries={"{{name}}": _tasks("celery_task_succeeded_total")},
            ),
            Panel(
                title="Failed, put off",
                about="A login that meets a flood wait is put off: it retries, and costs no thread meanwhile.",
                unit="ops",
                queries={
                    "failed: {{name}}": _tasks("celery_task_failed_total"),
                    "put off: {{name}}": _tasks("celery_task_retried_total"),
                },
            ),
            Panel(
                title="Running now",
                about="A waiting login is a running task.",
                queries={"{{hostname}}": "celery_worker_tasks_active"},
            ),
            Panel(
                title="Logins that a worker took over",
                unit="ops",
                queries={"taken over": _per_second("telethon_auth_qr_resumed_total")},
            ),
            Panel(
                title="Logins that the sweep had to end",
                about="They outlived their life, and no worker had ended them.",
                kind="stat",
                limit=1,
                queries={"logins": _in_all("telethon_overdue_logins_total")},
            ),
        ),
        "What is periodic": (
            Panel(
                title="Since it last succeeded",
                about="Those that have succeeded once.",
                unit="s",
                kind="bargauge",
                width=24,
                height=9,
                queries={
                    "{{task}}": "sort_desc(time() - max by (task) (telethon_last_success_timestamp_seconds > 0))",
                },
            ),
        ),
        "The API": (
            Panel(
                title="Answers by status",
                unit="reqps",
                queries={"{{status}}": _per_second("latchkey_http_requests_total", "status")},
            ),
            Panel(
                title="Answered within, 95 %",
                about="A long poll's wait is in it.",
                unit="s",
                queries={"{{route}}": _most(_quantile(0.95, "latchkey_http_request_duration_seconds", "route"), 6)},
            ),
            Panel(title="Open event streams", queries={"streams": "sum(latchkey_http_event_streams)"}),
        ),
    },
)

TENANTS = Dashboard(
    name="tenants",
    title="tenants",
    about="Who uses Latchkey how much, and whose people are lost. Tenants beyond METRICS_MAX_TENANTS share the label other.",
    by_tenant=True,
    rows={
        "Within the range": (
            Panel(
                title="Logins started",
                kind="bargauge",
                queries={"{{tenant_id}}": _most(_in_all(_step("started"), "tenant_id", where=_MINE), 10)},
            ),
            Panel(
                title="Authorized, of those started",
                unit="percentunit",
                kind="bargauge",
                queries={
                    "{{tenant_id}}": _most(
                        f"{_in_all(_step('authorized'), 'tenant_id', where=_MINE)} / "
                        f"clamp_min({_in_all(_step('started'), 'tenant_id', where=_MINE)}, 1)",
                        10,
                    )
                },
            ),
            Panel(
                title="Lost",
                kind="bargauge",
                queries={
                    "{{tenant_id}}: {{end}}": _most(
                        _in_all("telethon_auth_qr_lost_total", "tenant_id", "end", where=_MINE), 10
                    )
                },
            ),
        ),
        "Over time": (
            Panel(
                title="Started",
                unit="ops",
                queries={"{{tenant_id}}": _most(_per_second(_step("started"), "tenant_id", where=_MINE), 10)},
            ),
            Panel(
                title="Under way",
                queries={"{{tenant_id}}": _most(f"max by (tenant_id) (telethon_logins_pending{_MINE})", 10)},
            ),
            Panel(
                title="Telegram calls that ran out of time",
                unit="ops",
                queries={
                    "{{tenant_id}}": _most(_per_second("telethon_auth_qr_timeout_total", "tenant_id", where=_MINE), 10)
                },
            ),
        ),
        "To look into": (
            Panel(
                title="Failed, by reason",
                kind="bargauge",
                queries={
                    "{{tenant_id}}: {{reason}}": _most(
                        _in_all("telethon_auth_qr_failed_total", "tenant_id", "reason", where=_MINE), 10
                    )
                },
            ),
            Panel(
                title="By another account than expected",
                kind="bargauge",
                queries={
                    "{{tenant_id}}": _most(_in_all("telethon_ownership_mismatch_total", "tenant_id", where=_MINE), 10)
                },
            ),
            Panel(
                title="Webhook endpoints disabled",
                kind="bargauge",
                queries={
                    "{{tenant_id}}": _most(_in_all("telethon_webhooks_disabled_total", "tenant_id", where=_MINE), 10)
                },
            ),
        ),
    },
)

DASHBOARDS = (LOGIN_FUNNEL, TELEGRAM, CUSTODY, CELERY, TENANTS)


def render(dashboard: Dashboard) -> str:
    """The dashboard's file."""
    return json.dumps(to_grafana(dashboard), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        (FOLDER / f"{each.name}.json").write_text(render(each))
        sys.stdout.write(f"{FOLDER / each.name}.json\n")
