"""One login, from asking for it to its end, as an application and its user go through it.

They do what people do: look again when nothing answers, point the phone at a new code when there is one, and type once more
when nothing comes of it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from chaos.record import LoginRecord, Scan, Seen, Typed
from chaos.scene import Scene
from chaos.tenant import Answer
from sandbox.driver import SandboxRefusedError

PASSWORD_MARK = "a-password-of-chaos-7719"  # made up
"""In every password, right and wrong: one search finds them all."""

LONGEST_SECONDS = 180.0
"""From asking to the end, at the very most: a login's life, and what the sweep needs to end one that nobody drives."""

_ATTEMPTS = 5
_PATIENCE_SECONDS = 6.0
_LOOK_SECONDS = 2.0
_STARTING_SECONDS = 60.0


def password_of(person: str) -> str:
    """The 2FA password of somebody's account."""
    return f"{PASSWORD_MARK}-{person}"


class Visit:
    """See the module."""

    def __init__(self, scene: Scene, record: LoginRecord, *, phone_number: str) -> None:
        self._scene = scene
        self._record = record
        self._phone_number = phone_number
        self._part = record.part
        self._login_secret: str | None = None
        self._url: str | None = None
        self._accepted_url: str | None = None
        self._scan_at: float | None = None
        self._typed_at: dict[tuple[str, int], float] = {}

    async def run(self) -> None:
        """Ask, look and do, until the login is over."""
        if not await self._ask():
            return
        give_up_at = time.time() + LONGEST_SECONDS
        while not self._record.over and time.time() < give_up_at:
            view = await self._look()
            if view is not None:
                await self._react(view)
            await self._cancel_in_time()
        if self._part.scans_late and self._url is not None:
            self._record.late_scans.append(await self._scan(self._url))

    # --- the application

    async def _ask(self) -> bool:
        record = self._record
        answer = await self._scene.tenant.call_until_known(
            "POST",
            "/v1/logins",
            within_seconds=_STARTING_SECONDS,
            json=self._body(),
            headers={"Idempotency-Key": f"{record.person}-{record.asked_at}"},
        )
        self._tell(f"asked for a login: {answer.status} {answer.body.get('id') or answer.body}")
        if answer.status not in (200, 202):
            return False
        record.login_id = answer.body["id"]
        secret: str = answer.body["client_secret"]
        self._scene.records.secrets.add("client secret", secret)
        if self._part.keyless:
            self._login_secret = secret
        self._note(answer.body)
        return True

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"metadata": {"person": self._record.person}, "replace": self._part.replace}
        if self._record.expected_id is not None:
            body["telegram_user_id"] = self._record.expected_id
        if self._part.method == "code":
            body |= {"method": "code", "phone": f"+{self._phone_number}"}
        return body

    async def _look(self) -> dict[str, Any] | None:
        now = time.time()
        ahead = [at - now for at in (self._scan_at, self._cancel_at()) if at is not None and at > now]
        wait_seconds = min(_LOOK_SECONDS, *ahead, _LOOK_SECONDS)
        answer = await self._call(
            "GET",
            wait_seconds=wait_seconds,
            params={"wait": f"{wait_seconds:.2f}", "version": str(self._record.seen[-1].version)},
        )
        if answer.status != 200:
            await asyncio.sleep(0.3)
            return None
        self._note(answer.body)
        return answer.body

    def _cancel_at(self) -> float | None:
        """When it is to be cancelled (again, if it is not known what became of it)."""
        after, record = self._part.cancels_after_seconds, self._record
        if after is None or any(status is not None and status < 500 for _, status in record.cancels):
            return None
        return record.asked_at + after

    async def _cancel_in_time(self) -> None:
        cancel_at = self._cancel_at()
        if cancel_at is None or time.time() < cancel_at:
            return
        answer = await self._call("DELETE")
        self._record.cancels.append((time.time(), answer.status))
        self._tell(f"cancels: {answer}")

    async def _call(self, method: str, path: str = "", **options: Any) -> Answer:
        return await self._scene.tenant.call(
            method, f"/v1/logins/{self._record.login_id}{path}", login_secret=self._login_secret, **options
        )

    def _note(self, view: dict[str, Any]) -> None:
        seen = Seen(time.time(), view["version"], view["status"], view["reason"])
        if self._record.seen and self._record.seen[-1].version == seen.version:
            return
        self._record.seen.append(seen)
        self._record.session_id = view["session_id"]
        told = {name: view[name] for name in ("reason", "password", "code", "retry_after", "session_id") if view[name]}
        self._tell(f"sees {seen.status}, version {seen.version} {told or ''}")

    # --- the person

    async def _react(self, view: dict[str, Any]) -> None:
        if view["status"] == "waiting_for_scan" and view["qr"]:
            await self._point_at(view["qr"]["url"])
        elif view["status"] == "password_required":
            await self._type("password", view["password"]["attempts_left"])
        elif view["status"] == "code_required" and self._part.scans:
            await self._type("code", view["code"]["attempts_left"])

    async def _point_at(self, url: str) -> None:
        now = time.time()
        if url != self._url:
            self._url = url
            self._scene.records.secrets.add("login token", url.partition("token=")[2])
            if self._record.scans and self._record.scans[-1].refusal is not None:
                self._scan_at = now
        if self._scan_at is None:
            self._scan_at = now + self._part.scans_after_seconds
        if not self._part.scans or url == self._accepted_url or now < self._scan_at:
            return
        scan = await self._scan(url)
        self._record.scans.append(scan)
        self._scan_at = time.time() + _PATIENCE_SECONDS
        if scan.refusal is None:
            self._accepted_url = url

    async def _scan(self, url: str) -> Scan:
        at, refusal = time.time(), None
        try:
            await self._scene.field.ask(self._scene.field.telegram.scan, self._record.user_id, url)
        except SandboxRefusedError as exc:
            refusal = exc.error
        self._tell(f"the phone scans: {refusal or 'accepted'}")
        return Scan(at, refusal)

    async def _type(self, what: str, attempts_left: int) -> None:
        if time.time() - self._typed_at.get((what, attempts_left), 0.0) < _PATIENCE_SECONDS:
            return
        self._typed_at[what, attempts_left] = time.time()
        # Who logs in by code mistypes the code, everybody else the password.
        mistypes = (what == "code") == (self._part.method == "code")
        right = not mistypes or _ATTEMPTS - attempts_left >= self._part.wrong_answers
        text = await self._code(right=right) if what == "code" else self._password(right=right)
        answer = await self._call("POST", f"/{what}", json={what: text})
        self._record.typed.append(Typed(time.time(), what, right, answer.status))
        self._tell(f"types a {'right' if right else 'wrong'} {what}: {answer}")

    def _password(self, *, right: bool) -> str:
        return password_of(self._record.person if right else "nobody")

    async def _code(self, *, right: bool) -> str:
        messages = await self._scene.field.ask(self._scene.field.telegram.messages, self._record.user_id)
        code: str = messages[-1]["code"]
        self._scene.records.secrets.add("login code", code)
        return code if right else f"{(int(code) + 1) % 100_000:05d}"

    def _tell(self, text: str) -> None:
        self._scene.tell(self._record.person, text)
