"""A body that trickles: who sends it is told so after ten seconds, and nobody waits for it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from urllib.parse import urlsplit

from tests.web.live import Live


def trickle(live: Live, *, every_seconds: float) -> bytes:
    """Begin a POST whose body comes byte by byte; all that the server says until it hangs up."""
    parts = urlsplit(live.url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=30) as connection:
        head = (
            "POST /v1/logins HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Authorization: {live.headers['Authorization']}",
            "Content-Type: application/json",
            "Content-Length: 1000",
            "Connection: close",
        )
        connection.sendall("\r\n".join((*head, "", "")).encode())
        stop = threading.Event()

        def send() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(every_seconds):
                    connection.sendall(b" ")

        sender = threading.Thread(target=send)
        sender.start()
        try:
            answer = b""
            with contextlib.suppress(OSError):
                while received := connection.recv(4096):
                    answer += received
            return answer
        finally:
            stop.set()
            sender.join()


def test_a_body_that_trickles_is_given_up(live: Live) -> None:
    """408 after ten seconds in all, however steadily the bytes come; others are served meanwhile."""
    began = time.monotonic()
    answers: list[bytes] = []
    slow = [threading.Thread(target=lambda: answers.append(trickle(live, every_seconds=0.2))) for _ in range(20)]
    for each in slow:
        each.start()
    assert live.call("GET", "/healthz").elapsed.total_seconds() < 1
    assert live.call("POST", "/v1/logins", json={}).elapsed.total_seconds() < 3
    for each in slow:
        each.join()
    assert 9.5 < time.monotonic() - began < 20
    for answer in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 "), head
        assert json.loads(body)["code"] == "request_timeout"
