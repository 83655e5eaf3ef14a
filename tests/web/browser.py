"""A real browser, driven over its debugging pipe (the Chrome DevTools Protocol): just what the pages' tests need.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class CallFailed(AssertionError):
    """Raised when the browser refuses a call: what it was about is no longer there, say."""


class Page:
    """One tab."""

    def __init__(self, write_fd: int, read_fd: int) -> None:
        self._write_fd = write_fd
        self._read_fd = read_fd
        self._buffer = b""
        self._last_id = 0
        self._session: dict[str, str] = {}
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()  # complaints with one of these words are what a test is about
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def size(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        """Be a screen of that many CSS pixels; a phone's is touched."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self._call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def before_each_page(self, script: str) -> str:
        """Run a script before every page's own from now on; returns its id."""
        added: str = self._call("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"]
        return added

    def no_longer_before(self, script_id: str) -> None:
        """Stop running such a script."""
        self._call("Page.removeScriptToEvaluateOnNewDocument", identifier=script_id)

    def watch_requests(self) -> None:
        """Write down the address of every request from now on, in ``requests``."""
        self._call("Network.enable")
        self.requests.clear()

    def be_offline(self, offline: bool) -> None:
        """Lose the network, or have it back."""
        self._call("Network.enable")
        self._call(
            "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def slow_down(self, *, latency_ms: int, bytes_per_second: int) -> None:
        """Have every answer come that much later, and no faster than that; nothing is kept from one visit to the next."""
        self._call("Network.enable")
        self._call("Network.setCacheDisabled", cacheDisabled=True)
        self._call(
            "Network.emulateNetworkConditions",
            offline=False,
            latency=latency_ms,
            downloadThroughput=bytes_per_second,
            uploadThroughput=bytes_per_second,
        )

    def go(self, url: str) -> None:
        """Open an address, in a document of its own."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=url)
        # Without the fragment: a page may take what is secret out of the address bar.
        here, there = "location.href.split('#')[0]", json.dumps(url.partition("#")[0])
        self.wait_for(f"{here} === {there} && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript, and await it."""
        answer = self._evaluate(expression)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def evaluate_in_frame(self, expression: str) -> Any:
        """Evaluate JavaScript in the page's first frame, whose origin may be another; None while there is none."""
        frames = self._call("Page.getFrameTree")["frameTree"].get("childFrames")
        if not frames:
            return None
        world = self._call("Page.createIsolatedWorld", frameId=frames[0]["frame"]["id"])["executionContextId"]
        answer = self._evaluate(expression, contextId=world)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, *, within_seconds: float = 15.0) -> Any:
        """Evaluate until it is truthy, and return it. What fails is not there yet: the document may be on its way."""
        return self._wait(expression, self.evaluate, within_seconds)

    def wait_for_in_frame(self, expression: str) -> Any:
        """As ``wait_for``, in the page's first frame."""

        def evaluate(attempt: str) -> Any:
            with suppress(CallFailed):  # the frame has just gone on to another document
                return self.evaluate_in_frame(attempt)

        return self._wait(expression, evaluate, 15.0)

    def _wait(self, expression: str, evaluate: Callable[[str], Any], within_seconds: float) -> Any:
        give_up_at = time.monotonic() + within_seconds
        attempt = f"(() => {{ try {{ return {expression} }} catch {{}} }})()"
        while not (value := evaluate(attempt)):
            if time.monotonic() > give_up_at:
                text = evaluate("document.body.innerText")
                raise AssertionError(f"never true: {expression}; the page says: {text!r}; it logged {self.complaints}")
            time.sleep(0.05)
        return value

    def _evaluate(self, expression: str, **where: Any) -> dict[str, Any]:
        return self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, **where)

    def other_tabs(self) -> list[str]:
        """Close the tabs that a page has opened; returns their addresses."""
        targets = self._call("Target.getTargets")["targetInfos"]
        tabs = [
            each for each in targets if each["type"] == "page" and not each["attached"] and each["url"] != "about:blank"
        ]
        for each in tabs:
            self._call("Target.closeTarget", targetId=each["targetId"])
        return [each["url"] for each in tabs]

    def press(self, key: str, *, code: int, shift: bool = False) -> None:
        """Press a key that writes nothing."""
        for kind in ("rawKeyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                modifiers=8 if shift else 0,
            )

    def click(self, element: str) -> None:
        """Click the middle of what an expression names, as a person does."""
        box = self.evaluate(f"(({element}).scrollIntoView(), ({element}).getBoundingClientRect().toJSON())")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into what has the focus, and press Enter."""
        self._call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )

    def screenshot(self, path: Path) -> None:
        """Save what is on the screen as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params, **self._session}
        os.write(self._write_fd, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise CallFailed(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Log.entryAdded":
            entry = event["params"]["entry"]
            if entry["level"] in {"warning", "error"}:
                self._complain(f"{entry['text']} {entry.get('url', '')}".strip())
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self._complain(json.dumps(event["params"]["exceptionDetails"]))

    def _complain(self, text: str) -> None:
        if not any(word in text for word in self.expected):
            self.complaints.append(text)

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read_fd], [], [], 20)
            assert ready, "the browser does not answer"
            chunk = os.read(self._read_fd, 1 << 20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        return message


@contextmanager
def browsing(folder: Path) -> Iterator[Page]:
    """Run a browser for the length of a block."""
    assert CHROMIUM is not None
    commands_read, commands_write = os.pipe()
    answers_read, answers_write = os.pipe()
    command = [
        *(CHROMIUM, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing of a test leaves the machine
        *("--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", f"--user-data-dir={folder}"),
    ]
    # The browser expects the pipe at 3 and 4; ours must be out of the way before they are put there.
    theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (commands_read, answers_write)]

    def put_the_pipe() -> None:
        os.dup2(theirs[0], 3)
        os.dup2(theirs[1], 4)

    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            pass_fds=(3, 4),
            preexec_fn=put_the_pipe,  # noqa: PLW1509  # nothing but dup2 between fork and exec
            stdout=log,
            stderr=log,
            process_group=0,
        )
    for fd in (commands_read, answers_write, *theirs):
        os.close(fd)
    try:
        yield Page(commands_write, answers_read)
    finally:
        os.close(commands_write)  # at the end of the pipe the browser leaves
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        os.close(answers_read)
