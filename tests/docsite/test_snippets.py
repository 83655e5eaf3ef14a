"""Every command and program of the quick start and of the guides, run as a reader would, on one stack."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from telethon.sessions import SQLiteSession, StringSession

from devstack.roles import ROOT
from devstack.running import RunningStack, running_stack
from docsite.snippets import read_snippets
from sandbox.process import RunningSandbox
from tests.docsite.reader import Reader, somebody_who_scans
from tests.sandbox.clients import TelethonClients
from tests.stack.city import City
from tests.waiting import wait_until
from tests.web.browser import CHROMIUM, browsing

pytestmark = pytest.mark.timeout(240)  # a whole stack starts for the first test, on a machine that may be busy

DOCS = ROOT / "docs"
PAGES = [
    "quick-start.md",
    *sorted(str(path.relative_to(DOCS)) for path in (DOCS / "guides").glob("*.md")),
    *("webhooks.md", "miniapp.md", "widget.md"),
]
_LIMITS = ("LOGIN_RATE_PER_MINUTE", "STRICT_RATE_PER_MINUTE", "READ_RATE_PER_MINUTE", "OPEN_RATE_PER_MINUTE")

MakeReader = Callable[[str], Reader]


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    """The stack of ``make up``, with what the pages need."""
    with tempfile.TemporaryDirectory(prefix="latchkey-docs-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # a run as root hands PostgreSQL to an account that has to walk through
        settings = dict.fromkeys(_LIMITS, "1000000")
        with running_stack(folder, settings=settings, without=("flower", "exporter")) as running:
            yield running


@pytest.fixture
def read(stack: RunningStack, tmp_path: Path) -> MakeReader:
    """Makes the reader of a page, who has read before how to follow a guide."""
    return lambda page: Reader(stack, desk=tmp_path, pages=["guides/index.md", page])


@pytest.fixture
def old_sessions(stack: RunningStack, tmp_path: Path) -> None:
    """What the reader brings: a session file and string sessions, of Telethon, whose owners are logged in."""
    facts = stack.description
    telegram = RunningSandbox(
        process=stack.process,
        control=facts["sandbox"],
        dcs={facts["telegram"]["dc_id"]: facts["telegram"]["port"]},
        public_key_file=Path(facts["telegram"]["public_key_file"]),
        log_file=stack.folder / "logs" / "sandbox.log",
    )

    async def log_in_all() -> None:
        clients = TelethonClients(telegram)
        strings = []
        for name in ("Dora", "Erik", "Fay"):
            client = await clients.log_in(telegram.driver.create_account(first_name=name, dc_id=2))
            strings.append(client.session.save())
            if name == "Dora":
                _save_as_file(client.session, tmp_path / "old.session")
        await clients.close_all()
        (tmp_path / "old-string.txt").write_text(strings[1])
        (tmp_path / "more-strings.txt").write_text(strings[2] + "\n")

    asyncio.run(log_in_all())


def _save_as_file(session: StringSession, path: Path) -> None:
    kept = SQLiteSession(str(path))
    kept.set_dc(session.dc_id, session.server_address, session.port)
    kept.auth_key = session.auth_key
    kept.save()
    kept.close()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_tested_or_says_why_not(page: str) -> None:
    """Commands are typed, programs are saved; what is only shown has a reason."""
    for snippet in read_snippets(DOCS / page):
        assert snippet.is_tested or snippet.why_not, f"{page}: neither tested nor shown:\n{snippet.body}"
        assert not snippet.is_tested or snippet.language == "sh" or snippet.title, f"{page}: no file:\n{snippet.body}"


def test_the_quick_start_leads_to_a_leased_session(stack: RunningStack, read: MakeReader) -> None:
    """From the settings of the stack to a greeting by one's own program."""
    with somebody_who_scans(stack):
        said = read("quick-start.md").type_all()
    assert "Hello, Alice!" in said
    assert "active" in said


def test_the_phone_code_guide_ends_with_a_session(read: MakeReader) -> None:
    """A number in, the code from the phone, a session out."""
    assert read("guides/phone-code.md").type_all().splitlines()[-1].startswith("ses_")


def test_the_importing_guide_brings_three_sessions(old_sessions: None, read: MakeReader) -> None:
    """A file, a string that is piped in, and one of many by the API."""
    said = read("guides/importing.md").type_all()
    named = Counter(re.findall(r"ses_\w+", said))
    assert list(named.values())[:3] == [2, 2, 2], "each is told when it is imported, and listed as active"


def test_the_guide_from_telethon_goes_on_with_the_old_session(old_sessions: None, read: MakeReader) -> None:
    """The file is imported, and the changed program uses it."""
    assert "I am Dora" in read("guides/from-telethon.md").type_all()


def test_the_guide_from_another_service_starts_a_login_of_the_expected_user(read: MakeReader) -> None:
    """Its last word is the page to send to them."""
    assert "/login/lgn_" in read("guides/from-another-service.md").type_all()


def test_the_webhook_is_heard_and_verified(read: MakeReader) -> None:
    """By the page's own receiver."""
    assert "Heard webhook.test" in read("webhooks.md").type_all()


def test_the_qr_page_guide_leads_back_with_a_session(stack: RunningStack, read: MakeReader) -> None:
    """The button leads to Latchkey's page; after the scan the application asks, and says who was connected."""
    reader = read("guides/qr-page.md")
    City(stack).telegram.create_account(first_name="Gina")
    with reader.typing(), requests.Session() as browser:
        home = reader.url("5055")
        wait_until(lambda: _answers(home), within_seconds=20)
        browser.get(home, timeout=20)
        led_to = browser.post(f"{home}/connect", allow_redirects=False, timeout=20).headers["Location"]
        login_id = led_to.partition("#")[0].rpartition("/")[2]
        City(stack).wait_for_qr(login_id)
        reader.run(".venv/bin/python", "scan.py", login_id)
        City(stack).wait_for(login_id, "authorized")
        back = browser.get(f"{home}/connected", params={"login_id": login_id, "status": "authorized"}, timeout=20)
        assert back.text.startswith("Connected: Gina, session ses_")
        assert browser.get(f"{home}/connected", params={"login_id": "lgn_other"}, timeout=20).status_code == 400


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_the_page_of_ones_own_shows_the_code_and_the_end(
    stack: RunningStack, read: MakeReader, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In a browser: the QR code, the question for the 2FA password, the session."""
    reader = read("guides/own-page.md")
    City(stack).telegram.create_account(first_name="Hugo", password="correct")
    with reader.typing() as terminal, browsing(tmp_path_factory.mktemp("browser")) as page:
        home = reader.url("5056") + "/"
        wait_until(lambda: _answers(home), within_seconds=20)
        page.go(home)
        page.wait_for("!find('qr').hidden && find('qr').naturalWidth > 0")
        assert terminal.stdout is not None
        login_id = next(line for line in terminal.stdout if line.startswith("Started ")).split()[1]
        reader.run(".venv/bin/python", "scan.py", login_id)
        page.wait_for("!find('password').hidden")
        page.evaluate("find('password').elements.password.value = 'correct', find('password').requestSubmit()")
        page.wait_for("find('status').textContent.startsWith('Connected: ses_')", within_seconds=20)


@contextmanager
def _application(stack: RunningStack, script: str) -> Iterator[tuple[str, list[str]]]:
    """Somebody's application with that in its page; yields its origin, and the logins that it has started."""
    started: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(f'<!doctype html><link rel="icon" href="data:,"><button id="button">Connect</button>{script}')

        def do_POST(self) -> None:
            login = City(stack).start(origin=f"http://{self.headers['Host']}")
            started.append(login["id"])
            self._send(json.dumps({"page_url": login["page_url"]}))

        def _send(self, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", started
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_the_widget_s_lines_connect_somebody(
    stack: RunningStack, read: MakeReader, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Put into a page as they stand: the button opens the dialog, which goes when its login is authorized."""
    reader, city = read("widget.md"), City(stack)
    city.telegram.create_account(first_name="Ida")
    script = (tmp_path / "widget.html").read_text().replace("https://latchkey.example", city.web)
    with _application(stack, script) as (origin, started), browsing(tmp_path_factory.mktemp("browser")) as page:
        assert city.call("PATCH", "/v1/tenant", json={"origins": [origin]}).ok
        page.go(f"{origin}/")
        page.evaluate("button.click()")
        page.wait_for_in_frame("!!document.querySelector('#qr svg')")
        reader.run(".venv/bin/python", "scan.py", started[0])
        city.wait_for(started[0], "authorized")
        page.wait_for("!document.querySelector('.latchkey-widget')")


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
