"""Key providers: local, and AWS KMS over HTTP."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from app.errors import AppError, SealBroken, SettingsError, Transient
from app.settings import Settings
from app.vault.kms import KmsKeyProvider
from app.vault.providers import KeyProviders, LocalKeyProvider, make_key_provider
from app.vault.wrapping import KeyUnavailable, WrappedKey
from devstack.ports import free_port
from tests.vault.vaults import make_local_provider

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

DATA_KEY = os.urandom(32)


@pytest.fixture
def kms(aws_url: str) -> KMSClient:
    """The emulated KMS, for the operator's side of things."""
    return boto3.client("kms", endpoint_url=aws_url, region_name="us-east-1")


@pytest.fixture
def kms_key(kms: KMSClient) -> str:
    """The ARN of a new KMS key."""
    return kms.create_key()["KeyMetadata"]["Arn"]


def test_local_keys_come_back(tmp_path: Path) -> None:
    """What was wrapped unwraps to the same, and says what wrapped it."""
    provider = make_local_provider(tmp_path)
    wrapped = provider.wrap(key_id="key_1", data_key=DATA_KEY)
    assert provider.unwrap(wrapped) == DATA_KEY
    assert (wrapped.key_id, wrapped.provider) == ("key_1", "local")
    assert DATA_KEY not in wrapped.ciphertext


def test_a_local_key_of_another_id_or_changed_does_not_unwrap(tmp_path: Path) -> None:
    """The key id is bound to the wrapping."""
    provider = make_local_provider(tmp_path)
    wrapped = provider.wrap(key_id="key_1", data_key=DATA_KEY)
    for bad in (
        wrapped._replace(key_id="key_2"),
        wrapped._replace(ciphertext=wrapped.ciphertext[:-1]),
        wrapped._replace(ciphertext=b""),
    ):
        with pytest.raises(SealBroken):
            provider.unwrap(bad)


def test_a_key_file_with_two_keys_wraps_by_the_first_and_unwraps_by_both(tmp_path: Path) -> None:
    """So the key encryption key of one machine can be replaced too; without the old line the key is unavailable."""
    first, second = (base64.b64encode(os.urandom(32)) for _ in range(2))
    files = {"old": first, "both": second + b"\n" + first + b"\n", "new": second}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    old, both, new = (LocalKeyProvider(tmp_path / name) for name in files)
    wrapped = old.wrap(key_id="key_1", data_key=DATA_KEY)
    assert both.unwrap(wrapped) == DATA_KEY
    assert new.unwrap(both.wrap(key_id="key_1", data_key=DATA_KEY)) == DATA_KEY
    with pytest.raises(KeyUnavailable, match="LOCAL_KEY_FILE"):
        new.unwrap(wrapped)


@pytest.mark.parametrize("content", [b"", b"not base64!", base64.b64encode(b"too short")])
def test_a_senseless_key_file_is_said_at_start(tmp_path: Path, content: bytes) -> None:
    """One line that names the setting."""
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match="LOCAL_KEY_FILE"):
        LocalKeyProvider(tmp_path / "key")


def test_kms_keys_come_back(aws_url: str, kms_key: str) -> None:
    """Wrapped and unwrapped by KMS; the wrapped key keeps the ARN."""
    provider = KmsKeyProvider(kms_key_id=kms_key, endpoint_url=aws_url)
    wrapped = provider.wrap(key_id="key_1", data_key=DATA_KEY)
    assert provider.unwrap(wrapped) == DATA_KEY
    assert (wrapped.provider, wrapped.wrapping_key_id) == ("aws-kms", kms_key)


def test_an_alias_may_move_on(aws_url: str, kms: KMSClient, kms_key: str) -> None:
    """What was wrapped by way of an alias unwraps after the alias points to another key."""
    alias = f"alias/latchkey-{kms_key[-8:]}"
    kms.create_alias(AliasName=alias, TargetKeyId=kms_key)
    provider = KmsKeyProvider(kms_key_id=alias, endpoint_url=aws_url)
    wrapped = provider.wrap(key_id="key_1", data_key=DATA_KEY)
    kms.update_alias(AliasName=alias, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    assert wrapped.wrapping_key_id == kms_key
    assert provider.unwrap(wrapped) == DATA_KEY


def test_a_kms_key_of_another_id_or_changed_does_not_unwrap(aws_url: str, kms_key: str) -> None:
    """The encryption context binds the key id; KMS says no, and it is a broken seal."""
    provider = KmsKeyProvider(kms_key_id=kms_key, endpoint_url=aws_url)
    wrapped = provider.wrap(key_id="key_1", data_key=DATA_KEY)
    for bad in (wrapped._replace(key_id="key_2"), wrapped._replace(ciphertext=wrapped.ciphertext[:-4])):
        with pytest.raises(SealBroken):
            provider.unwrap(bad)


@contextmanager
def refusing_kms(error: str, status: int) -> Iterator[str]:
    """A KMS that answers every call with one error: for those that the emulator never gives."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"__type": error, "message": "no"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the standard library
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        ("IncorrectKeyException", 400, SealBroken),
        ("DisabledException", 400, KeyUnavailable),
        ("AccessDeniedException", 400, KeyUnavailable),
        ("KMSInvalidStateException", 400, KeyUnavailable),
        ("ThrottlingException", 400, Transient),
        ("KMSInternalException", 500, Transient),
    ],
)
def test_what_kms_refuses_tells_damage_from_what_can_be_mended(
    aws_url: str, error: str, status: int, expected: type[AppError]
) -> None:
    """Only what KMS says of the ciphertext itself is a broken seal: a session must not be given up for a grant."""
    wrapped = WrappedKey("key_1", "aws-kms", "arn:aws:kms:us-east-1:123456789012:key/1", b"wrapped")
    with refusing_kms(error, status) as url:
        provider = KmsKeyProvider(kms_key_id=wrapped.wrapping_key_id, endpoint_url=url)
        with pytest.raises(expected, match=error) as raised:
            provider.unwrap(wrapped)
    assert type(raised.value) is expected


def test_a_missing_kms_key_is_unavailable(aws_url: str, kms_key: str) -> None:
    """The wrong region or account looks like this, too."""
    missing = kms_key[:-12] + "000000000000"
    with pytest.raises(KeyUnavailable, match="NotFound"):
        KmsKeyProvider(kms_key_id=missing, endpoint_url=aws_url).wrap(key_id="key_1", data_key=DATA_KEY)


def test_a_kms_that_is_away_is_transient_and_soon_said(aws_url: str, kms_key: str) -> None:
    """Bounded tries, then an error that says to try again."""
    provider = KmsKeyProvider(kms_key_id=kms_key, endpoint_url=f"http://127.0.0.1:{free_port()}")
    start = time.monotonic()
    with pytest.raises(Transient, match="does not wrap"):
        provider.wrap(key_id="key_1", data_key=DATA_KEY)
    assert time.monotonic() - start < 10


def test_each_provider_unwraps_what_it_wrapped(tmp_path: Path, aws_url: str, kms_key: str) -> None:
    """While keys move from one provider to the other, both serve."""
    local, kms = make_local_provider(tmp_path), KmsKeyProvider(kms_key_id=kms_key, endpoint_url=aws_url)
    wrapped = local.wrap(key_id="key_1", data_key=DATA_KEY)
    both = KeyProviders(kms, {"local": lambda: local})
    assert both.unwrap(wrapped) == both.unwrap(both.wrap(key_id="key_1", data_key=DATA_KEY)) == DATA_KEY
    with pytest.raises(KeyUnavailable, match="local"):
        KeyProviders(kms, {}).unwrap(wrapped)


def test_settings_choose_the_provider(tmp_path: Path, aws_url: str, kms_key: str) -> None:
    """``KEY_PROVIDER`` wraps; whatever else is configured still unwraps."""
    key_file = tmp_path / "local.key"
    key_file.write_bytes(base64.b64encode(os.urandom(32)))
    common = {
        "database_url": "postgresql://localhost/none",
        "redis_url": "redis://localhost",
        "telegram_api_id": 1,
        "telegram_api_hash": "test",
        "local_key_file": key_file,
    }
    local = make_key_provider(Settings.model_validate(common))
    kms = make_key_provider(
        Settings.model_validate(
            common | {"key_provider": "aws-kms", "kms_key_id": kms_key, "kms_endpoint_url": aws_url}
        )
    )
    wrapped: WrappedKey = local.wrap(key_id="key_1", data_key=DATA_KEY)
    assert (local.name, kms.name) == ("local", "aws-kms")
    assert kms.unwrap(wrapped) == DATA_KEY
