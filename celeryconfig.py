"""Celery's settings, the same for every process. Addresses come from ``app.settings`` when a process is built.

The reasons are in docs/decisions; in short: the committed row, the fenced lock and the sweep are the guarantee, a
message is a hint. So messages are acknowledged early and not prefetched, results are not kept, and no countdown passes 60 s.
"""

broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_transport_options = {
    "visibility_timeout": 1800,  # never shorter than a countdown: Redis would deliver a second time
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
}

task_serializer = "json"
accept_content = ["json"]
task_ignore_result = True
task_acks_late = False
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
worker_send_task_events = True
task_send_sent_event = True
worker_hijack_root_logger = False
worker_redirect_stdouts = False
worker_enable_remote_control = True

enable_utc = True
timezone = "UTC"

task_default_queue = "background"
task_create_missing_queues = True
task_routes = {"latchkey.run_qr_login": {"queue": "logins"}, "latchkey.deliver_webhooks": {"queue": "webhooks"}}

redbeat_key_prefix = "latchkey:redbeat:"
beat_max_loop_interval = 1
redbeat_lock_timeout = 10
