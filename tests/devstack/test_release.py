"""`make release`: refuses what is no release and says why, builds all that can be built here, pushes and tags nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from app import __version__
from deploy.release import SOURCE, NotReady, check, versions
from tests.devstack.prometheus import ROOT
from tests.node import TYPESCRIPT_CLIENT, install_packages

_IDENTITY = ("-c", "user.name=Alice", "-c", "user.email=alice@example.com")


def git(root: Path, *words: str) -> str:
    """What git says."""
    done = subprocess.run(["git", *_IDENTITY, *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def read(archive: Path) -> dict[str, bytes]:
    """The files of a tar archive, by name."""
    with tarfile.open(archive) as tar:
        members = {member.name: tar.extractfile(member) for member in tar.getmembers() if member.isfile()}
        return {name: file.read() for name, file in members.items() if file is not None}


def commit(root: Path) -> None:
    """Commit everything."""
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """This tree's files, whose changelog dates the version, in a repository of their own."""
    root = tmp_path / "latchkey"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout of git's")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    changelog = root / "CHANGELOG.md"
    if f"## [{__version__}] - " not in changelog.read_text():
        dated = f"## [Unreleased]\n\n## [{__version__}] - 2026-12-01\n"
        changelog.write_text(changelog.read_text().replace("## [Unreleased]\n", dated))
    git(root, "init", "-q")
    commit(root)
    return root


def test_the_version_is_the_same_everywhere() -> None:
    """It is in one place; the names of the image follow."""
    found = versions(ROOT)
    assert ROOT / SOURCE in found
    assert ROOT / "docker-compose.yml" in found
    assert len(found) > 8
    assert {version for each in found.values() for version in each} == {__version__}
    python, typescript = (ROOT / "client" / "pyproject.toml").read_text(), TYPESCRIPT_CLIENT / "package.json"
    assert f'version = "{json.loads(typescript.read_text())["version"]}"' in python


def test_a_release_is_built(tree: Path) -> None:
    """Client packages, manifests, what the image is made of, the source, checksums; the tree is as it was, and not tagged."""
    install_packages(TYPESCRIPT_CLIENT)  # skips where npm's registry is away
    done = subprocess.run(
        [sys.executable, "-m", "deploy.release", __version__, "--root", str(tree)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    dist = tree / "dist"
    [wheel], [sdist] = dist.glob("latchkey_client-*.whl"), dist.glob("latchkey_client-*.tar.gz")
    assert "latchkey_client/__init__.py" in zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("/pyproject.toml") for name in read(sdist))
    [package] = dist.glob("latchkey-client-*.tgz")
    assert "package/dist/index.js" in read(package)
    manifests = read(dist / f"latchkey-kubernetes-{__version__}.tar.gz")
    rendered = manifests[f"latchkey-kubernetes-{__version__}/rendered/production.yaml"]
    assert f"/latchkey:{__version__}" in rendered.decode()
    bill = json.loads((dist / f"latchkey-{__version__}.cdx.json").read_text())
    assert "telethon" in {each["name"].lower() for each in bill["components"]}
    lines = (dist / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert set(sums) == {file.name for file in dist.iterdir()} - {"SHA256SUMS"}
    assert all(hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    built = (dist / f"latchkey-image-{__version__}.tar.gz").exists()
    assert built != ("NOT BUILT: the image: no Docker engine" in done.stdout)
    assert f"git tag -a v{__version__}" in done.stdout
    assert (git(tree, "status", "--porcelain"), git(tree, "tag")) == ("", "")


def test_what_is_no_release_is_refused(tree: Path) -> None:
    """Each thing that is missing, with what to do about it."""
    check(tree, __version__)
    with pytest.raises(NotReady, match=r"make version VERSION=9\.9\.9"):
        check(tree, "9.9.9")
    with pytest.raises(NotReady, match="is no version"):
        check(tree, "next")
    git(tree, "tag", f"v{__version__}")
    with pytest.raises(NotReady, match="exists already"):
        check(tree, __version__)
    git(tree, "tag", "-d", f"v{__version__}")
    (tree / "left.txt").write_text("x")
    with pytest.raises(NotReady, match=r"not clean(.|\n)*left\.txt"):
        check(tree, __version__)
    (tree / "left.txt").unlink()
    subprocess.run(
        [sys.executable, "-m", "deploy.release", "--set", "9.9.9", "--root", str(tree)], cwd=ROOT, check=True
    )
    commit(tree)
    with pytest.raises(NotReady, match="CHANGELOG"):
        check(tree, "9.9.9")
    assert {version for each in versions(tree).values() for version in each} == {"9.9.9"}
