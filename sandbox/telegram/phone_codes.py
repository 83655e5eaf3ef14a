"""Login codes: sent to an account's phone, typed into the device that asked for one.

Source: https://core.telegram.org/api/auth
"""

import secrets
from dataclasses import dataclass, field

from sandbox.telegram.cloud import Cloud, normalize_phone
from sandbox.telegram.errors import RpcError
from sandbox.telegram.model import USUAL_CODE_WAYS, Account, AccountState, CodeWay, Device, PhoneMessage

CODE_DIGITS = 5
EMAIL_PATTERN = "a***e@example.com"
CALLERS_PREFIX = "4477"
_WORDS = ("amber", "breeze", "canyon", "dolphin", "ember", "forest", "glacier", "harbour")
_MISSED_CALL_DIGITS = 6
_TEXTS = {
    CodeWay.APP: "Login code: {code}. Do not give this code to anyone.",
    CodeWay.SMS: "Telegram code: {code}",
    CodeWay.CALL: "A voice says: your code is {code}.",
    CodeWay.FLASH_CALL: "Missed call from +{code}",
    CodeWay.MISSED_CALL: "Missed call from +44770{code}",
    CodeWay.EMAIL: "E-mail: your login code is {code}.",
    CodeWay.FRAGMENT: "fragment.com: your login code is {code}.",
    CodeWay.FIREBASE: "Seen by an official app only: {code}",
    CodeWay.WORD: "Telegram word: {code}",
    CodeWay.PHRASE: "Telegram phrase: {code}",
}
_MESSAGES_KEPT = 100


@dataclass(slots=True)
class SentCode:
    """A code on its way from a phone to a device. `account` is None when nobody has that number."""

    phone: str
    phone_code_hash: str = field(repr=False)
    code: str = field(repr=False)
    expires_at: float
    way: CodeWay
    key_id: int
    account: Account | None
    later_ways: tuple[CodeWay, ...] = ()

    @property
    def next_way(self) -> CodeWay | None:
        """How the code would be sent the next time."""
        return self.later_ways[0] if self.later_ways else None


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
        return self._send(device, normalize_phone(phone), account, account.code_ways if account else USUAL_CODE_WAYS)

    def resend(self, device: Device, phone: str, phone_code_hash: str) -> SentCode:
        """Answer auth.resendCode: a new code, by the next way; the former one ends.

        Raises:
            RpcError: PHONE_CODE_EMPTY, PHONE_CODE_EXPIRED, PHONE_NUMBER_INVALID, SEND_CODE_UNAVAILABLE.
        """
        sent = self._take(phone, phone_code_hash)
        ways = sent.later_ways
        if not ways and sent.way is CodeWay.SMS:
            ways = (CodeWay.SMS,)  # another one comes the same way
        if not ways:
            raise RpcError("SEND_CODE_UNAVAILABLE")
        del self._sent[phone_code_hash]
        return self._send(device, sent.phone, sent.account, ways)

    def cancel(self, phone: str, phone_code_hash: str) -> None:
        """Answer auth.cancelCode.

        Raises:
            RpcError: PHONE_CODE_EXPIRED, PHONE_NUMBER_INVALID.
        """
        self._take(phone, phone_code_hash)
        del self._sent[phone_code_hash]

    def check(self, device: Device, phone: str, phone_code_hash: str, code: str, *, by_email: bool = False) -> Account:
        """Answer auth.signIn up to the point where the device is logged in; a right code is used up.

        Args:
            by_email: the code came in `email_verification`, where an e-mailed code belongs, and no other.

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
        if by_email != (sent.way is CodeWay.EMAIL) or not secrets.compare_digest(sent.code.encode(), code.encode()):
            raise RpcError("CODE_INVALID" if by_email else "PHONE_CODE_INVALID")
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

    def _send(self, device: Device, phone: str, account: Account | None, ways: tuple[CodeWay, ...]) -> SentCode:
        now, way = self._cloud.clock(), ways[0]
        code = _new_code(way)
        sent = SentCode(
            phone=phone,
            phone_code_hash=secrets.token_hex(9),
            code=code,
            expires_at=now + self._cloud.rules.code_seconds,
            way=way,
            key_id=device.auth_key.key_id,
            account=account,
            later_ways=ways[1:],
        )
        self._sent = {h: s for h, s in self._sent.items() if s.expires_at > now}
        self._sent[sent.phone_code_hash] = sent
        if account is not None and way in _TEXTS:
            account.messages.append(PhoneMessage(_TEXTS[way].format(code=code), code, now, way))
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


def _new_code(way: CodeWay) -> str:
    """Make a code as it looks when it is sent that way."""
    match way:
        case CodeWay.WORD:
            return secrets.choice(_WORDS)
        case CodeWay.PHRASE:
            return " ".join(secrets.choice(_WORDS) for _ in range(3))
        case CodeWay.FLASH_CALL:
            return CALLERS_PREFIX + _digits(8)
        case CodeWay.MISSED_CALL:
            return _digits(_MISSED_CALL_DIGITS)
        case _:
            return _digits(CODE_DIGITS)


def _digits(count: int) -> str:
    return f"{secrets.randbelow(10**count):0{count}d}"
