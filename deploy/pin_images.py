"""Pins the images that docker-compose.yml and the Dockerfile name to their digests, so that a tag that moves changes nothing.

``name:tag`` becomes ``name:tag@sha256:…``; one that is pinned already is asked for again by its tag. Speaks the registry's own
protocol (https://distribution.github.io/distribution/spec/api/, token authentication included) and needs no Docker.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import requests

FILES = ("docker-compose.yml", "Dockerfile")
_HUB = "https://registry-1.docker.io"
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_IMAGE = re.compile(r"^(\s*image: |FROM )([\w./-]+):([\w.-]+)(@sha256:[0-9a-f]{64})?", re.MULTILINE)
_OURS = "latchkey"  # built from this repository
_SECONDS = 30


class Image(NamedTuple):
    """An image as it is named: ``repository`` as in ``postgres`` or ``prom/prometheus``."""

    repository: str
    tag: str


def find_images(text: str) -> Iterator[Image]:
    """The images that a file names, ours left out."""
    for match in _IMAGE.finditer(text):
        if match[2] != _OURS:
            yield Image(match[2], match[3])


def find_digest(image: Image, *, registry: str = _HUB) -> str:
    """Ask a registry for an image's digest: of all its platforms, where there are several.

    Returns:
        ``sha256:…``

    Raises:
        requests.RequestException: it cannot be reached, or does not have the image.
    """
    repository = image.repository if "/" in image.repository else f"library/{image.repository}"
    url = f"{registry}/v2/{repository}/manifests/{image.tag}"
    headers = {"Accept": ", ".join(_MANIFESTS)}
    answer = requests.head(url, headers=headers, timeout=_SECONDS)
    if answer.status_code == requests.codes.unauthorized:
        headers["Authorization"] = f"Bearer {_token(answer.headers['WWW-Authenticate'])}"
        answer = requests.head(url, headers=headers, timeout=_SECONDS)
    answer.raise_for_status()
    return answer.headers["Docker-Content-Digest"]


def pin(text: str, digests: dict[Image, str]) -> str:
    """Write the digests behind the tags."""

    def pinned(match: re.Match[str]) -> str:
        digest = digests.get(Image(match[2], match[3]))
        return match[0] if digest is None else f"{match[1]}{match[2]}:{match[3]}@{digest}"

    return _IMAGE.sub(pinned, text)


def _token(challenge: str) -> str:
    """Fetch an anonymous token, as ``WWW-Authenticate: Bearer realm="…",service="…",scope="…"`` asks."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    answer = requests.get(fields.pop("realm"), params=fields, timeout=_SECONDS)
    answer.raise_for_status()
    token: str = answer.json()["token"]
    return token


def main() -> int:
    """Pin every image of every file; the number of images that could not be asked for."""
    texts = {name: Path(name).read_text() for name in FILES}
    digests: dict[Image, str] = {}
    failed = 0
    for image in sorted({image for text in texts.values() for image in find_images(text)}):
        try:
            digests[image] = find_digest(image)
        except requests.RequestException as exc:
            failed += 1
            sys.stderr.write(f"{image.repository}:{image.tag}: {type(exc).__name__}: left as it is\n")
    for name, text in texts.items():
        Path(name).write_text(pin(text, digests))
    sys.stdout.write(f"{len(digests)} images pinned, {failed} left as they are\n")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
