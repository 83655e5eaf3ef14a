"""Login codes: sent to an account's phone, typed into the device that asked for one.

Source: https://core.telegram.org/api/auth
"""

import secrets
from dataclasses import dataclass

from sandbox.telegram.cloud import Cloud, normalize_phone
from sandbox.telegram.errors import RpcError
from sandbox.telegram.model import Account, AccountState, Device, PhoneMessage

CODE_DIGITS = 5
_MESSAGES_KEPT = 100


@dataclass(slots=True)
class SentCode:
    """A code on its way from a phone to a device. `account` is None when nobody has that number."""

    phone: str
    phone_code_hash: str
    code: str
    expires_at: float
    delivery: str
    key_id: int
    account: Account | None


class PhoneCodes:
    """All codes that were sent and not used yet."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._sent: dict[str, SentCode] = {}

    def send(self, device: Device, phone: str) -> SentCode:
        """Answer auth.sendCode.

        Raises:
            RpcError: PHONE_NUMBER_INVALID, PHONE_NUMBER_BANNED, PHONE_MIGRATE_X.
        """
        account = self._find(device, phone)
        return self._send(device, normalize_phone(phone), account, delivery="app")

    def resend(self, device: Device, phone: str, phone_code_hash: str) -> SentCode:
        """Answer auth.resendCode: a new code, by SMS; the former one ends.

        Raises:
            RpcError: PHONE_CODE_EMPTY, PHONE_CODE_EXPIRED, PHONE_NUMBER_INVALID.
        """
        sent = self._take(phone, phone_code_hash)
        del self._sent[phone_code_hash]
        return self._send(device, sent.phone, sent.account, delivery="sms")

    def cancel(self, phone: str, phone_code_hash: str) -> None:
        """Answer auth.cancelCode.

        Raises:
            RpcError: PHONE_CODE_EXPIRED, PHONE_NUMBER_INVALID.
        """
        self._take(phone, phone_code_hash)
        del self._sent[phone_code_hash]

    def check(self, device: Device, phone: str, phone_code_hash: str, code: str) -> Account:
        """Answer auth.signIn up to the point where the device is logged in; a right code is used up.

        Raises:
            RpcError: PHONE_CODE_EMPTY, PHONE_CODE_EXPIRED, PHONE_CODE_INVALID, PHONE_NUMBER_INVALID,
                PHONE_NUMBER_UNOCCUPIED, PHONE_NUMBER_BANNED.
        """
        if not code:
            raise RpcError("PHONE_CODE_EMPTY")
        sent = self._take(phone, phone_code_hash)
        if sent.key_id != device.auth_key.key_id:
            raise RpcError("PHONE_CODE_EXPIRED")
        if sent.account is None:
            raise RpcError("PHONE_NUMBER_UNOCCUPIED")
        if not secrets.compare_digest(sent.code.encode(), code.encode()):
            raise RpcError("PHONE_CODE_INVALID")
        del self._sent[phone_code_hash]
        return sent.account

    def _find(self, device: Device, phone: str) -> Account | None:
        number = normalize_phone(phone)
        if not number:
            raise RpcError("PHONE_NUMBER_INVALID")
        account = self._cloud.find_by_phone(number)
        if account is not None and account.state is not AccountState.ACTIVE:
            raise RpcError("PHONE_NUMBER_BANNED")
        if account is not None and account.dc_id != device.auth_key.dc_id:
            raise RpcError(f"PHONE_MIGRATE_{account.dc_id}")
        return account

    def _send(self, device: Device, phone: str, account: Account | None, *, delivery: str) -> SentCode:
        now = self._cloud.clock()
        code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
        sent = SentCode(
            phone=phone,
            phone_code_hash=secrets.token_hex(9),
            code=code,
            expires_at=now + self._cloud.rules.code_seconds,
            delivery=delivery,
            key_id=device.auth_key.key_id,
            account=account,
        )
        self._sent = {h: s for h, s in self._sent.items() if s.expires_at > now}
        self._sent[sent.phone_code_hash] = sent
        if account is not None:
            text = f"Login code: {code}. Do not give this code to anyone."
            account.messages.append(PhoneMessage(text, code, now, delivery))
            del account.messages[:-_MESSAGES_KEPT]
            self._cloud.journal.save_account(account)
        return sent

    def _take(self, phone: str, phone_code_hash: str) -> SentCode:
        number = normalize_phone(phone)
        if not number:
            raise RpcError("PHONE_NUMBER_INVALID")
        if not phone_code_hash:
            raise RpcError("PHONE_CODE_HASH_EMPTY")
        sent = self._sent.get(phone_code_hash)
        if sent is None or sent.phone != number or sent.expires_at <= self._cloud.clock():
            raise RpcError("PHONE_CODE_EXPIRED")
        return sent
