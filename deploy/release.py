"""A release: checks that the tree is one, builds what it is made of into dist/, and says how to tag it.

``make release VERSION=0.1.0``. Pushes nothing, and tags only when it is told to (``TAG=1``). ``make version VERSION=0.2.0``
writes another version wherever it stands.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_KUBERNETES = Path("deploy") / "kubernetes"
_OVERLAYS = ("small", "production")
_VERSION = r"\d+\.\d+\.\d+(?:[-+][\w.]+)?"
SOURCE = Path("app") / "__init__.py"
"""Where the version is. Wherever else it stands, it must be the same: Docker Compose and Kubernetes name the image by it."""
_PLACES = {
    SOURCE: re.compile(rf'^(__version__ = ")({_VERSION})(")$', re.MULTILINE),
    Path("docker-compose.yml"): re.compile(rf"^(  image: latchkey:)({_VERSION})()$", re.MULTILINE),
    _KUBERNETES: re.compile(rf"(image: latchkey:|newName: \S+/latchkey, newTag: )({_VERSION})()"),
}


class NotReady(Exception):
    """Raised when the tree is no release; says what to do."""


def versions(root: Path) -> dict[Path, set[str]]:
    """Which versions stand where."""
    return {file: {found[2] for found in pattern.finditer(file.read_text())} for file, pattern in _files(root)}


def set_version(root: Path, version: str) -> None:
    """Write a version wherever one stands."""
    for file, pattern in _files(root):
        file.write_text(pattern.sub(rf"\g<1>{version}\g<3>", file.read_text()))


def _files(root: Path) -> Iterator[tuple[Path, re.Pattern[str]]]:
    for place, pattern in _PLACES.items():
        for file in sorted((root / place).rglob("*.yaml")) if (root / place).is_dir() else [root / place]:
            if pattern.search(file.read_text()):
                yield file, pattern


def check(root: Path, version: str) -> None:
    """Make sure that the tree is this release.

    Raises:
        NotReady: it is not.
    """
    if not re.fullmatch(_VERSION, version):
        raise NotReady(f"{version} is no version: it must look like 0.1.0")
    if changed := _git(root, "status", "--porcelain"):
        raise NotReady(f"the tree is not clean, commit or remove first:\n{changed}")
    others = {file.relative_to(root): found for file, found in versions(root).items() if found != {version}}
    if others:
        told = ", ".join(f"{file} ({', '.join(sorted(found))})" for file, found in others.items())
        raise NotReady(f"not {version}: {told}. Run: make version VERSION={version}")
    sections = re.split(r"^## ", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    dated = re.compile(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*)", re.DOTALL)
    if not any((found := dated.match(each)) and "- " in found[1] for each in sections):
        raise NotReady(
            f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD': put what is under [Unreleased] there"
        )
    if _git(root, "tag", "--list", f"v{version}"):
        raise NotReady(f"the tag v{version} exists already")


def build(root: Path, version: str, out: Path) -> list[str]:
    """Build everything into an emptied folder, with the checksums of all; returns what was not built, and why."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    missing = [
        *_python_client(root, out),
        *_typescript_client(root, out),
        *_manifests(root, version, out),
        *_bill_of_materials(root, version, out),
        *_image(root, version, out),
    ]
    _git(root, "archive", f"--prefix=latchkey-{version}/", f"--output={out / f'latchkey-{version}.tar.gz'}", "HEAD")
    lines = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(out.iterdir()))
    (out / "SHA256SUMS").write_text("".join(list(lines)))
    return missing


def _python_client(root: Path, out: Path) -> Iterator[str]:
    _run(root / "client", sys.executable, "-m", "hatchling", "build", "-d", str(out.resolve()))
    yield from ()


def _typescript_client(root: Path, out: Path) -> Iterator[str]:
    if shutil.which("npm") is None:
        yield "the TypeScript package: there is no npm"
        return
    folder = root / "client-typescript"
    _run(folder, "npm", "ci", "--ignore-scripts", "--silent", "--no-audit", "--no-fund")
    _run(folder, "npm", "run", "--silent", "build")
    _run(folder, "npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(out.resolve()))


def _manifests(root: Path, version: str, out: Path) -> Iterator[str]:
    """The folder as it is, to be used as a base, and each overlay rendered."""
    name = f"latchkey-kubernetes-{version}"
    kubectl = Path(sys.executable).with_name("kubectl")
    rendered = root / _KUBERNETES / "rendered"
    rendered.mkdir()
    try:
        for overlay in _OVERLAYS:
            text = _run(root, str(kubectl), "kustomize", str(root / _KUBERNETES / "overlays" / overlay))
            (rendered / f"{overlay}.yaml").write_text(text)
        with tarfile.open(out / f"{name}.tar.gz", "w:gz") as tar:
            tar.add(root / _KUBERNETES, arcname=name)
    finally:
        shutil.rmtree(rendered)
    yield from ()


def _bill_of_materials(root: Path, version: str, out: Path) -> Iterator[str]:
    """What the image is made of."""
    tool = Path(sys.executable).with_name("cyclonedx-py")
    file = out / f"latchkey-{version}.cdx.json"
    _run(root, str(tool), "requirements", "requirements.txt", "--of", "JSON", "-o", str(file.resolve()))
    yield from ()


def _image(root: Path, version: str, out: Path) -> Iterator[str]:
    engine = next((each for each in ("docker", "podman") if shutil.which(each)), None)
    if engine is None or subprocess.run([engine, "info"], capture_output=True, check=False).returncode:  # noqa: S603  # found above
        yield f"the image: no Docker engine answers. Where there is one: docker build -t latchkey:{version} ."
        return
    _run(root, engine, "build", "-t", f"latchkey:{version}", ".")
    with (
        gzip.open(out / f"latchkey-image-{version}.tar.gz", "wb") as file,
        subprocess.Popen([engine, "save", f"latchkey:{version}"], stdout=subprocess.PIPE) as saving,  # noqa: S603
    ):
        assert saving.stdout is not None
        shutil.copyfileobj(saving.stdout, file)
    if saving.returncode:
        raise NotReady(f"{engine} save failed")


def _git(root: Path, *words: str) -> str:
    return _run(root, "git", *words).strip()


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603  # our own words
    if done.returncode:
        raise NotReady(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--set", action="store_true", help="write the version, and do no more")
    parser.add_argument("--tag", action="store_true", help="tag the commit when all is built")
    parser.add_argument("--root", type=Path, default=_ROOT)
    asked = parser.parse_args()
    say = sys.stdout.write
    if asked.set:
        set_version(asked.root, asked.version)
        return
    try:
        check(asked.root, asked.version)
        missing = build(asked.root, asked.version, asked.root / "dist")
    except NotReady as exc:
        sys.exit(f"release: {exc}")
    for file in sorted((asked.root / "dist").iterdir()):
        say(f"dist/{file.name}\n")
    for each in missing:
        say(f"NOT BUILT: {each}\n")
    tag = ("git", "tag", "-a", f"v{asked.version}", "-m", f"Latchkey {asked.version}")
    if asked.tag:
        _run(asked.root, *tag)
        say(f"tagged v{asked.version}; nothing was pushed: git push origin v{asked.version}\n")
    else:
        say(f"nothing was tagged or pushed: git tag -a v{asked.version} -m 'Latchkey {asked.version}'\n")


if __name__ == "__main__":
    main()
