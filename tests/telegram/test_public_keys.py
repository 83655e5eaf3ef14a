"""The server's RSA keys: whatever PEM file an operator has at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import ValidationError
from telethon.crypto import rsa as telethon_rsa

from app.settings import Settings
from app.telegram.preparation import prepare_telethon
from sandbox.mtproto.arithmetic import ServerKey
from tests.builders import make_settings


def settings_with(folder: Path, content: bytes) -> Settings:
    """Settings whose key file holds this."""
    (folder / "keys.pem").write_bytes(content)
    return make_settings(
        database_url="postgresql+psycopg2://localhost/x",
        redis_url="redis://localhost",
        key_file=folder / "key",
        telegram_public_key_file=folder / "keys.pem",
    )


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: PublicFormat) -> bytes:
    """A public key as text."""
    return key.public_key().public_bytes(Encoding.PEM, form)


def test_every_key_of_the_file_is_trusted(tmp_path: Path) -> None:
    """As PKCS#1 and as SubjectPublicKeyInfo, with remarks and Windows line ends."""
    keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
    text = (
        b"# main\n" + pem(keys[0], PublicFormat.PKCS1) + b"# test\n" + pem(keys[1], PublicFormat.SubjectPublicKeyInfo)
    )
    prepare_telethon(settings_with(tmp_path, text.replace(b"\n", b"\r\n")))
    for key in keys:
        assert telethon_rsa.encrypt(ServerKey(key).fingerprint, b"data") is not None


def test_a_file_without_rsa_public_keys_is_a_senseless_setting(tmp_path: Path) -> None:
    """Said at the start, not by logins that fail: nothing, a private key, another kind of key, a torn one."""
    key, other = rsa.generate_private_key(public_exponent=65537, key_size=2048), ec.generate_private_key(ec.SECP256R1())
    whole = pem(key, PublicFormat.PKCS1)
    for content in (
        b"",
        b"\xff\xfe nonsense",
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        pem(other, PublicFormat.SubjectPublicKeyInfo),
        whole + pem(other, PublicFormat.SubjectPublicKeyInfo),
        whole[:100] + whole[120:],
    ):
        with pytest.raises(ValidationError, match="PEM"):
            settings_with(tmp_path, content)
