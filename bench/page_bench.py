"""What somebody waits for who opens the hosted page on a slow network: until it says something, and until a QR code is there.

A login is started and its page opened at once, in Chromium on its own emulated networks: slow 3G (400 ms, 400 kbit/s) and fast
3G (150 ms, 1,600 kbit/s), nothing kept from one visit to the next; medians of five. The wait is what the browser itself
measures, from the navigation to the paint. The emulation delays each answer; looking the name up, connecting and TLS are not in
it. The peer is the least that any page costs there: a few words (`/healthz`) from the same server. The aim on slow 3G is one
second; the limits leave room for a busy machine. Beside that, the page's weight in its heaviest language, raw and as it
travels, and the widget's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import requests

from bench.figures import at_most
from devstack.running import RunningStack, running_stack
from tests.web.browser import CHROMIUM, Page, browsing
from web.page_texts import LANGUAGES

_VISITS = 5
_KILOBYTE = 1000
_DESKTOP = (1280, 800)


class Network(NamedTuple):
    """One that Chromium plays."""

    name: str
    latency_ms: int
    kilobits_per_second: int
    status_limit_ms: int
    qr_limit_ms: int


NETWORKS = (
    Network("slow 3G", 400, 400, status_limit_ms=1000, qr_limit_ms=1200),
    Network("fast 3G", 150, 1600, status_limit_ms=600, qr_limit_ms=700),
)
# The frame after a code came into the document is the one that shows it.
_WATCH = """
    new MutationObserver((_, observer) => {
      if (!document.querySelector("#qr svg")) return;
      observer.disconnect();
      requestAnimationFrame(() => requestAnimationFrame((at) => (window.qrShownAt = at)));
    }).observe(document, { childList: true, subtree: true });
"""
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def run() -> dict[str, Any]:
    """All figures, by name; none where there is no Chromium."""
    if CHROMIUM is None:
        sys.stderr.write("There is no Chromium here: the hosted page is not measured.\n")
        return {}
    with tempfile.TemporaryDirectory(prefix="latchkey-bench-") as name:
        folder, profile = Path(name) / "run", Path(name) / "browser"
        for each in (folder, profile):
            each.mkdir()
        Path(name).chmod(0o711)
        with running_stack(folder, without=("flower", "exporter", "s3")) as stack, browsing(profile) as page:
            figures = _weights(stack.description["web"])
            page.size(*_DESKTOP)
            page.before_each_page(_WATCH)
            for network in NETWORKS:
                figures |= _measure(stack, page, network)
    return figures


def _weights(web: str) -> dict[str, Any]:
    pages = [f"{web}/login/lgn_x?lang={language}" for language in LANGUAGES]
    raw, packed = (max(_weight(each, coding) for each in pages) for coding in ("identity", "gzip"))
    return {
        "the page, raw": at_most(60, raw, "kB"),
        "the page, as it travels": at_most(20, packed, "kB"),
        "the widget's script, as it travels": at_most(20, _weight(f"{web}/widget.js", "gzip"), "kB"),
    }


def _weight(url: str, coding: str) -> float:
    answer = requests.get(url, headers={"Accept-Encoding": coding}, timeout=10, stream=True)
    answer.raise_for_status()
    return len(answer.raw.read(decode_content=False)) / _KILOBYTE


def _measure(stack: RunningStack, page: Page, network: Network) -> dict[str, Any]:
    page.slow_down(latency_ms=network.latency_ms, bytes_per_second=network.kilobits_per_second * 1000 // 8)
    visits = [_visit(stack, page) for _ in range(_VISITS)]
    least = median(_open(page, f"{stack.description['web']}/healthz") for _ in range(_VISITS))
    peer = f"a few words, {network.name}"
    status_ms, qr_ms = (median(each) for each in zip(*visits, strict=True))
    return {
        f"until the first status, {network.name}": at_most(
            network.status_limit_ms, status_ms, "ms", peer=peer, peer_value=least, of="value"
        ),
        f"until the first QR code, {network.name}": at_most(
            network.qr_limit_ms, qr_ms, "ms", peer=peer, peer_value=least, of="value"
        ),
    }


def _visit(stack: RunningStack, page: Page) -> tuple[float, float]:
    """Milliseconds until the page says something, and until a QR code is there."""
    facts = stack.description
    key = {"Authorization": f"Bearer {facts['api_key']}"}
    login = requests.post(f"{facts['web']}/v1/logins", json={}, headers=key, timeout=10)
    login.raise_for_status()
    status_ms = _open(page, login.json()["page_url"])
    qr_ms = float(page.wait_for("window.qrShownAt"))
    requests.delete(f"{facts['web']}/v1/logins/{login.json()['id']}", headers=key, timeout=10)
    return status_ms, qr_ms


def _open(page: Page, url: str) -> float:
    page.go(url)
    return float(page.wait_for(_PAINTED))
