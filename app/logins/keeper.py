"""Keeping hold of logins: locks that are heartbeats, renewed for all logins of a process in one go.

A lock lives 15 s and is renewed every 5 s. Whoever loses one (another worker took over while this one was paused, or Redis
forgot it and somebody was quicker) finds out before it sends anything: ``LoginKeeper.guard`` asks again when the last renewal
is older than it should be. The row's epoch fences whatever slips through.

The keeper asks PostgreSQL in threads of its own: a renewal must not wait behind sealing, SRP and the logins' own writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar

import redis.asyncio
from redis.exceptions import RedisError

from app.clock import utc_now
from app.core import Core
from app.errors import LoginOver, OwnershipLost, Unavailable
from app.gathering import Gathering, RedisRounds
from app.logins.store import DISPATCH_GRACE_SECONDS, Ownership, look_again, ownership_of
from app.logs import get_logger
from app.redis_state import INBOX_CHANNEL, decode_inbox_hint, login_lock_key, make_async_subscriber
from app.supervision import supervise
from app.timers import Alarm

T = TypeVar("T")

LOCK_SECONDS = 15.0
RENEW_SECONDS = 5.0
_STALE_SECONDS = 1.5 * RENEW_SECONDS
_BATCH = 5000  # a busy loop makes every step of a renewal wait: few steps, however many logins
_THREADS = 2

# KEYS: locks. ARGV: how long a lock lives in ms, then the token of each.
_RENEW = """
local answers = {}
for i, key in ipairs(KEYS) do
  local held, token = redis.call('GET', key), ARGV[i + 1]
  if held == token then
    redis.call('PEXPIRE', key, ARGV[1])
    answers[i] = 1
  elseif held then
    answers[i] = 0
  else
    redis.call('SET', key, token, 'PX', ARGV[1])
    answers[i] = 2
  end
end
return answers
"""
_LOST, _RESTORED = 0, 2

# KEYS: locks. ARGV: the token of each.
_RELEASE = """
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i] then redis.call('DEL', key) end
end
"""

_log = get_logger(__name__)


class HandOver(Exception):
    """Raised while a login is driven when this run is to leave it: disconnect, do not log out, let another run go on.

    The worker is leaving, or the login goes on another way.
    """


class Hold:
    """One login in this process's hands.

    ``wake`` is set whenever whoever drives it should look around: an update, an answer of the user, a broken connection.
    ``stop`` ends the driving from outside, by cancelling ``task``. ``forgotten`` is set when Redis had lost the lock, and so
    all else that it held for this login. ``epoch`` is the row's once it was taken, negative before.
    """

    __slots__ = ("confirmed_at", "epoch", "forgotten", "login_id", "reason", "task", "token", "wake")

    def __init__(self, login_id: str) -> None:
        self.login_id = login_id
        self.token = secrets.token_hex(16)
        self.epoch = -1
        self.confirmed_at = time.monotonic()
        self.wake = Alarm()
        self.forgotten = False
        self.reason: Exception | None = None
        self.task: asyncio.Task[object] | None = None

    def stop(self, reason: Exception) -> None:
        """End the driving for a reason; the first one counts, but for a loss, which overrules all."""
        if self.reason is None or isinstance(reason, OwnershipLost):
            self.reason = reason
        if self.task is not None:
            self.task.cancel()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            LoginOver, OwnershipLost, HandOver: what ``stop`` was given.
        """
        if self.reason is not None:
            raise self.reason


class LoginKeeper:
    """Acquires, renews and releases the holds of this process. Lives on the loop."""

    def __init__(self, core: Core, *, redis: redis.asyncio.Redis) -> None:
        self._core = core
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="keeper")
        self._renew_script = redis.register_script(_RENEW)
        self._release_script = redis.register_script(_RELEASE)
        self._rounds = RedisRounds(redis)
        self._stale = Gathering[Hold, None](self._confirm_stale)
        self._releases = Gathering[Hold, None](self._release_together)
        self._holds: dict[str, Hold] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False
        self._renewing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._holds)

    async def start(self) -> None:
        """Start renewing and listening, until ``stop``."""
        loops = {"keeper.renew": self._renew_forever, "keeper.listen": self._listen_forever}
        self._tasks = [
            asyncio.create_task(supervise(loop, name=name, metrics=self._core.metrics)) for name, loop in loops.items()
        ]

    async def stop(self) -> None:
        """Stop renewing; locks that are still held run out by themselves."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False)

    async def acquire(self, login_id: str) -> Hold | None:
        """Take a login's lock; None when somebody has it, this worker included.

        A worker that drives a login asks nobody: when Redis has lost the lock, a second message for the login must not take
        it away from the first.

        Raises:
            Unavailable: Redis is away.
        """
        if login_id in self._holds:
            return None
        hold = self._holds[login_id] = Hold(login_id)
        taken = False
        try:
            lock = ("SET", login_lock_key(login_id), hold.token, "PX", int(LOCK_SECONDS * 1000), "NX")
            taken = bool(await self._rounds.do(*lock))
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot be asked for a login's lock.") from exc
        finally:
            if not taken:
                del self._holds[login_id]
        if self._draining:
            hold.stop(HandOver())
        return hold if taken else None

    async def release(self, hold: Hold) -> None:
        """Release a lock. Never raises: a lock that cannot be released runs out."""
        self._holds.pop(hold.login_id, None)
        # A renewal that is on its way would take the lock once more, for nobody: let it arrive first.
        async with self._renewing:
            pass
        with contextlib.suppress(RedisError, OSError):
            await self._releases.ask(hold)

    async def guard(self, hold: Hold) -> None:
        """Make sure, right before something is sent, that this worker still owns the login.

        Free when the last renewal is recent; otherwise (the process was paused, Redis was away) asks Redis and the row.

        Raises:
            LoginOver, OwnershipLost, HandOver: it does not, or should stop.
            Unavailable: it cannot be known now.
        """
        hold.check()
        if time.monotonic() - hold.confirmed_at > _STALE_SECONDS:
            await self._stale.ask(hold)
            hold.check()

    async def drain(self) -> None:
        """Make every login of this worker go elsewhere, and those that still come at once.

        Each is published again by its task. The rows are noted as sent in one statement for all, so that the sweep waits for
        those messages; when that fails, it sends a second one, which does no harm.
        """
        self._draining = True
        until = utc_now() + timedelta(seconds=DISPATCH_GRACE_SECONDS)
        with contextlib.suppress(Unavailable):
            await self._in_thread(self._look_again, list(self._holds), until)
        for hold in list(self._holds.values()):
            hold.stop(HandOver())

    async def renew_all(self) -> None:
        """Renew every hold, and stop those that are over or lost. What cannot be asked now is asked again next time."""
        holds = [hold for hold in self._holds.values() if hold.epoch >= 0]
        for start in range(0, len(holds), _BATCH):
            try:
                await self._confirm(holds[start : start + _BATCH])
            except Unavailable as exc:
                _log.warning("logins.renewal_failed", detail=exc.detail, logins=len(holds))

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.renew_all()

    async def _confirm_stale(self, holds: Sequence[Hold]) -> list[None]:
        """A worker that is late with its renewals is busy: those who ask meanwhile are asked about together."""
        await self._confirm(holds)
        return [None for _ in holds]

    async def _release_together(self, holds: Sequence[Hold]) -> list[None]:
        keys = [login_lock_key(hold.login_id) for hold in holds]
        await self._release_script(keys=keys, args=[hold.token for hold in holds])
        return [None for _ in holds]

    async def _confirm(self, holds: Sequence[Hold]) -> None:
        # The time before asking: what the answer says was true then, and may not be now.
        asked_at = time.monotonic()
        found = await self._in_thread(self._ask_rows, {hold.login_id: hold.epoch for hold in holds})
        for hold in holds:
            if found[hold.login_id] is Ownership.ELSEWHERE:
                hold.stop(OwnershipLost(f"Another worker drives login {hold.login_id} now."))
            elif found[hold.login_id] is Ownership.OVER:
                hold.stop(LoginOver(f"Login {hold.login_id} is over."))
        # Only then the locks: one that has run out must not be taken back from who drives the login now.
        async with self._renewing:
            mine = [hold for hold in holds if self._is_held(hold) and not isinstance(hold.reason, OwnershipLost)]
            renewed = await self._renew(mine)
        for hold, answer in zip(mine, renewed, strict=True):
            hold.confirmed_at = asked_at
            if answer == _LOST:
                hold.stop(OwnershipLost(f"Another worker holds the lock of login {hold.login_id}."))
            elif answer == _RESTORED:
                hold.forgotten = True
                hold.wake.set()

    def _is_held(self, hold: Hold) -> bool:
        return self._holds.get(hold.login_id) is hold

    def _ask_rows(self, epochs: dict[str, int]) -> dict[str, Ownership]:
        with self._core.transaction() as db:
            return ownership_of(db, epochs)

    def _look_again(self, login_ids: list[str], at: datetime) -> None:
        with self._core.transaction() as db:
            look_again(db, login_ids, at=at)

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def _renew(self, holds: Sequence[Hold]) -> list[int]:
        if not holds:
            return []
        try:
            answers = await self._renew_script(
                keys=[login_lock_key(hold.login_id) for hold in holds],
                args=[int(LOCK_SECONDS * 1000), *(hold.token for hold in holds)],
            )
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot be asked to renew locks.") from exc
        return [int(answer) for answer in answers]

    async def _listen_forever(self) -> None:
        """Wake those whom the users' answers are for. A lost hint costs seconds: they look by themselves."""
        while True:
            client = make_async_subscriber(self._core.settings.redis_url)
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(INBOX_CHANNEL)
                    while True:
                        message = await pubsub.get_message(timeout=20.0)
                        if message is not None:
                            self._deliver(message["data"])
            except (RedisError, OSError):
                await asyncio.sleep(1.0)
            finally:
                await client.aclose()

    def _deliver(self, message: bytes) -> None:
        hint = decode_inbox_hint(message)
        hold = self._holds.get(hint.login_id)
        if hold is None:
            return
        if hint.what == "cancelled":
            hold.stop(LoginOver(f"Login {hold.login_id} was cancelled."))
        elif hint.what == "switched":
            hold.stop(HandOver())
        hold.wake.set()
