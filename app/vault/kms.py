"""The ``aws-kms`` key provider: data encryption keys wrapped by a key that never leaves AWS KMS.

Each wrapping is bound to the key's id by the encryption context, which KMS also writes into CloudTrail in plain text.
Source: https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app.errors import AppError, SealBroken, SettingsError, Transient
from app.vault.wrapping import KeyUnavailable, WrappedKey

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

# A login waits for this: three tries of at most 5 s each, and then somebody else's turn to try again.
_CLIENT_CONFIG = Config(
    connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=4
)
# KMS says these of the ciphertext itself.
_BROKEN = {"InvalidCiphertextException", "IncorrectKeyException"}
# These can be mended (grants, policies, a key that is disabled or pending deletion, the wrong region): never a broken seal.
_UNAVAILABLE = {
    "AccessDeniedException",
    "DisabledException",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidGrantTokenException",
    "InvalidKeyUsageException",
    "InvalidSignatureException",
    "KMSInvalidStateException",
    "NotFoundException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "ValidationException",
}


class KmsKeyProvider:
    """Wraps with ``kms:Encrypt`` and unwraps with ``kms:Decrypt``. Credentials come the way boto3 looks for them.

    Args:
        kms_key_id: id, ARN or alias of the key that wraps. What a wrapped key keeps is the ARN that KMS answered, so an
            alias may move on.
        endpoint_url: None: AWS itself.
    """

    name = "aws-kms"

    def __init__(self, *, kms_key_id: str, endpoint_url: str | None = None) -> None:
        self._kms_key_id = kms_key_id
        self._kms = _make_client(kms_key_id, endpoint_url)

    def wrap(self, *, key_id: str, data_key: bytes) -> WrappedKey:
        """See ``KeyProvider.wrap``."""
        try:
            answer = self._kms.encrypt(
                KeyId=self._kms_key_id, Plaintext=data_key, EncryptionContext=_encryption_context(key_id)
            )
        except (ClientError, BotoCoreError) as exc:
            raise _translate(exc, f"KMS key {self._kms_key_id} does not wrap") from exc
        return WrappedKey(key_id, self.name, answer["KeyId"], answer["CiphertextBlob"])

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """See ``KeyProvider.unwrap``."""
        try:
            answer = self._kms.decrypt(
                # Named, so that KMS refuses a ciphertext that somebody wrapped under a key of their own.
                KeyId=wrapped.wrapping_key_id,
                CiphertextBlob=wrapped.ciphertext,
                EncryptionContext=_encryption_context(wrapped.key_id),
            )
        except (ClientError, BotoCoreError) as exc:
            raise _translate(exc, f"KMS key {wrapped.wrapping_key_id} does not unwrap {wrapped.key_id}") from exc
        return answer["Plaintext"]


def _encryption_context(key_id: str) -> dict[str, str]:
    return {"latchkey:key_id": key_id}


def _make_client(kms_key_id: str, endpoint_url: str | None) -> KMSClient:
    session = boto3.Session()  # boto3's own default one is not safe for threads
    region = kms_key_id.split(":")[3] if kms_key_id.startswith("arn:") else session.region_name or ""
    if not region and endpoint_url is None:
        raise SettingsError("AWS_DEFAULT_REGION is not set (KEY_PROVIDER=aws-kms; or give KMS_KEY_ID as an ARN)")
    return session.client("kms", region_name=region or "us-east-1", endpoint_url=endpoint_url, config=_CLIENT_CONFIG)


def _translate(exc: ClientError | BotoCoreError, what: str) -> AppError:
    """Turn boto3's exception into ours. Everything that is not known to last is passing."""
    if not isinstance(exc, ClientError):
        return Transient(f"{what}: {type(exc).__name__}.", code="kms_unreachable")
    code = exc.response["Error"]["Code"]
    if code in _BROKEN:
        return SealBroken(f"{what}: {code}.")
    if code in _UNAVAILABLE:
        return KeyUnavailable(f"{what}: {code}.")
    return Transient(f"{what}: {code}.", code="kms_unreachable")
