"""``python -m app login``, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from app.cli import cli
from app.clock import utc_now
from app.models import Login
from tests.waiting import wait_until
from tests.web.live import Live
from tests.web.playing_worker import PlayingWorker


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """A thread for the worker's part."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def run(live: Live, *words: str, typed: str = "", **environment: str) -> Result:
    """Run the command as Alice."""
    key = live.headers["Authorization"].partition(" ")[2]
    return CliRunner().invoke(
        cli, ["login", *words], input=typed, env={"LATCHKEY_URL": live.url, "LATCHKEY_API_KEY": key, **environment}
    )


def worker_of(live: Live, user_id: int) -> PlayingWorker:
    """Wait for the command's login, and drive it."""

    def find() -> str | None:
        with live.core.transaction() as db:
            return db.scalar(select(Login.id).where(Login.telegram_user_id == user_id, Login.finished_at.is_(None)))

    found = wait_until(find)
    assert found is not None
    return PlayingWorker(live.core, found)


def test_the_command_draws_asks_and_ends(live: Live, threads: ThreadPoolExecutor) -> None:
    """The QR code in blocks, the password without echo (twice, when wrong), and the outcome."""

    def play() -> list[str]:
        worker = worker_of(live, 7711)
        worker.publish_qr()
        worker.ask_password(attempts_left=5, hint_text="first dog")
        answers = [worker.take_answer("password")]
        worker.ask_password(attempts_left=4)
        answers.append(worker.take_answer("password"))
        worker.finish("authorized")
        return answers

    played: Future[list[str]] = threads.submit(play)
    result = run(live, "--telegram-user-id", "7711", typed="wrong\nright\n")
    assert played.result() == ["wrong", "right"]
    assert result.exit_code == 0, result.output
    assert "first dog" in result.output
    assert "4 tries left" in result.output
    assert "Authorized: account 7711" in result.output
    assert "wrong" not in result.output


def test_a_login_that_fails_exits_with_1(live: Live, threads: ThreadPoolExecutor) -> None:
    """And says why."""
    played = threads.submit(lambda: worker_of(live, 7712).finish("failed", reason="ownership_mismatch"))
    result = run(live, "--telegram-user-id", "7712")
    played.result()
    assert result.exit_code == 1
    assert "The login ended failed (ownership_mismatch)." in result.output


def test_a_flood_wait_does_not_ask_again(live: Live, threads: ThreadPoolExecutor) -> None:
    """The worker keeps what was typed and checks it after the wait: one question, one answer."""

    def polls() -> float:
        return live.metric('latchkey_http_requests_total{method="GET",route="/v1/logins/<id:login_id>"')

    def play() -> str:
        worker = worker_of(live, 7714)
        worker.ask_password()
        answer = worker.take_answer("password")
        for until in (utc_now() + timedelta(seconds=30), None):
            told = polls()
            worker.advance(retry_after_at=until)
            wait_until(lambda told=told: polls() > told)  # type: ignore[misc]  # bound on purpose
        worker.finish("authorized")
        return answer

    played = threads.submit(play)
    result = run(live, "--telegram-user-id", "7714", typed="right\n")
    assert (played.result(), result.exit_code) == ("right", 0)
    assert "Telegram asks to wait" in result.output


def test_a_phone_login_asks_for_the_code(live: Live, threads: ThreadPoolExecutor) -> None:
    """The code is passed on."""

    def play() -> str:
        worker = worker_of(live, 7713)
        worker.ask_code()
        code = worker.take_answer("code")
        worker.finish("authorized")
        return code

    played = threads.submit(play)
    result = run(live, "--telegram-user-id", "7713", "--phone", "+15551234567", typed="12345\n")
    assert (played.result(), result.exit_code) == ("12345", 0)


def test_a_code_that_cannot_be_the_one_is_asked_for_again(live: Live, threads: ThreadPoolExecutor) -> None:
    """The login has not moved on, so that nothing else would ask; what is wrong with it is said, and where it was sent."""

    def play() -> str:
        worker = worker_of(live, 7715)
        worker.ask_code(delivery="email", length=6, pattern="a***e@example.com")
        code = worker.take_answer("code")
        worker.finish("authorized")
        return code

    played = threads.submit(play)
    result = run(live, "--telegram-user-id", "7715", "--phone", "00 1 (555) 123-4567", typed="1234\n123 456\n")
    assert (played.result(), result.exit_code) == ("123456", 0)
    assert result.output.count("sent by e-mail to a***e@example.com") == 2
    assert "must have 6 digits; this has 4" in result.output


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        ((), {"LATCHKEY_API_KEY": "lk_wrong"}, "This API key is not valid."),
        (("--phone", "12"), {}, "Check phone. phone must be an international number"),
        ((), {"LATCHKEY_URL": "http://127.0.0.1:1"}, "does not answer"),
        ((), {"LATCHKEY_URL": "ftp://x"}, "no http:// or https:// address"),
    ],
)
def test_a_refusal_is_the_servers_own_sentence(
    live: Live, words: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    """One line, exit code 1."""
    result = run(live, *words, **environment)
    assert result.exit_code == 1
    assert says in result.output
    assert len(result.output.strip().splitlines()) == 1
