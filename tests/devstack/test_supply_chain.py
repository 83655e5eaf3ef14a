"""What Latchkey is built from is pinned: packages by hash, images by digest once somebody with a network asks for them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from deploy.pin_images import FILES, Image, find_digest, find_images, pin
from devstack.roles import ROOT

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-exporter.txt"])
def test_every_package_is_pinned_by_hash(name: str) -> None:
    """No package without a version and a hash; no index is named."""
    text = (ROOT / name).read_text()
    assert "://" not in text
    pins = re.split(r"\n(?=\S)", text.strip())
    assert len(pins) > 20
    for each in pins:
        assert re.match(r"[\w.-]+(\[[\w,]+\])?==\S+", each), each[:60]
        assert "--hash=sha256:" in each, each[:60]


def test_every_image_has_a_version() -> None:
    """None is whatever is newest today."""
    found = {image for name in FILES for image in find_images((ROOT / name).read_text())}
    assert {"postgres", "redis", "python", "grafana/grafana"} <= {image.repository for image in found}
    assert all(re.search(r"\d+\.\d+", image.tag) for image in found)


def test_the_bill_of_materials_names_every_package(tmp_path: Path) -> None:
    """CycloneDX, of what the image installs, with hashes."""
    path = tmp_path / "sbom.json"
    tool = Path(sys.executable).with_name("cyclonedx-py")
    command = [str(tool), "requirements", str(ROOT / "requirements.txt"), "--of", "JSON", "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    components = json.loads(path.read_text())["components"]
    names = {component["name"] for component in components}
    assert {"celery", "telethon", "cryptography", "flask"} <= {name.lower() for name in names}
    assert all(component["externalReferences"][0]["hashes"] for component in components)


class _Registry(BaseHTTPRequestHandler):
    """A registry that wants a token, as Docker Hub does."""

    def do_HEAD(self) -> None:
        host = self.headers["Host"]
        if self.headers.get("Authorization") != "Bearer anonymous":
            self.send_response(401)
            realm = f'Bearer realm="http://{host}/token",service="registry",scope="repository:library/redis:pull"'
            self.send_header("WWW-Authenticate", realm)
        elif self.path == "/v2/library/redis/manifests/8.8.1":
            self.send_response(200)
            self.send_header("Docker-Content-Digest", DIGEST)
        else:
            self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        good = asked.path == "/token" and parse_qs(asked.query)["scope"] == ["repository:library/redis:pull"]
        self.send_response(200 if good else 404)
        self.end_headers()
        self.wfile.write(b'{"token": "anonymous"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    """The registry's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_image_is_pinned_to_what_its_registry_says(registry: str) -> None:
    """By its digest, behind its tag; one that is pinned is pinned anew; the rest of the file stays as it is."""
    image = Image("redis", "8.8.1")
    assert find_digest(image, registry=registry) == DIGEST
    with pytest.raises(requests.HTTPError):
        find_digest(Image("redis", "0"), registry=registry)
    text = "services:\n  a:\n    image: redis:8.8.1\n  b:\n    image: latchkey:0.1.0\n"
    pinned = pin(text, {image: DIGEST})
    assert pinned == text.replace("redis:8.8.1", f"redis:8.8.1@{DIGEST}")
    assert list(find_images(pinned)) == [image]
    assert pin(pinned, {image: "sha256:" + "cd" * 32}).count("@sha256:cd") == 1
