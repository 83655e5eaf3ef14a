"""Executes API calls: applies the rules and the faults, runs the method, answers.

The order matters and is that of `Dispatcher.execute`. Source: https://core.telegram.org/api/invoking
"""

import asyncio
import logging
from collections import Counter
from typing import Any, Final

from sandbox import tl
from sandbox.mtproto.call import GZIP_PACKED, BoundedGzip, Call, ExchangeFault
from sandbox.mtproto.temporary_keys import BindingRefusedError, bind
from sandbox.telegram import auth_methods, common_methods, layers
from sandbox.telegram.cloud import normalize_phone
from sandbox.telegram.errors import RpcError
from sandbox.telegram.faults import Fault, Faults
from sandbox.telegram.invocation import Invocation, unwrap
from sandbox.telegram.methods import METHODS, Access, Caller, Services
from sandbox.telegram.model import Device
from sandbox.telegram.violations import Violations, Waiter

log = logging.getLogger(__name__)

HANDLERS: Final = (auth_methods, common_methods)
"""Imported so that they enter their methods into the table."""

_OPEN_NAMESPACES: Final = frozenset({"help", "langpack"})
_BIND: Final = tl.functions.auth.BindTempAuthKeyRequest
_LOGIN_TOKEN_REQUESTS: Final = (tl.functions.auth.ExportLoginTokenRequest, tl.functions.auth.ImportLoginTokenRequest)


class Dispatcher:
    """Executes the calls of all data centres."""

    def __init__(self, services: Services, *, faults: Faults, violations: Violations) -> None:
        self._services = services
        self._faults = faults
        self._violations = violations
        tl.also_read({**layers.FORMER_REQUESTS, GZIP_PACKED: BoundedGzip})
        self.calls: Counter[str] = Counter()
        """How often each method was called."""

    def exchange_fault(self, step: str) -> ExchangeFault:
        """Return the fault that waits for a step of an auth key exchange; `*` means API calls, not these."""
        fault = self._faults.take(step, user_id=None, auth_key_id=None, by_name=True)
        if fault is None:
            return ExchangeFault()
        return ExchangeFault(fault.error, fault.delay_seconds, fault.drop_connection, fault.silent)

    def execute(self, call: Call) -> None:
        """Read a call, count it, apply rules and faults, and answer it now or later."""
        try:
            invocation = unwrap(call.message.body)
            if isinstance(invocation.request, _BIND):
                self._bind(call, invocation)
                return
            device = self._device_of(call)
        except RpcError as error:
            self._fail(call, error)
            return
        if device is None:  # its key was destroyed by an earlier message of the same envelope
            call.leave_unanswered()
            return
        name = tl.method_name(invocation.request)
        self.calls[name] += 1
        if not invocation.without_updates:
            call.session.wants_updates = True
        try:
            self._apply_rules(call, device, invocation, name)
        except RpcError as error:
            self._fail(call, error)
            return
        user_id = self._user_of(device, invocation.request)
        fault = self._faults.take(name, user_id=user_id, auth_key_id=device.auth_key.key_id)
        if fault is None:
            self._run_in_order(call, device, invocation)
        elif fault.delay_seconds:
            loop = asyncio.get_running_loop()
            loop.call_later(fault.delay_seconds, self._meet, fault, call, device, invocation)
        else:
            self._meet(fault, call, device, invocation)

    def _device_of(self, call: Call) -> Device | None:
        """Return the device behind a call's key; None when the key is gone.

        Raises:
            RpcError: AUTH_KEY_PERM_EMPTY for a temporary key that is not bound.
        """
        auth_key = call.session.auth_key.lasting
        if auth_key is None:
            raise RpcError("AUTH_KEY_PERM_EMPTY")
        return self._services.cloud.devices.get(auth_key.key_id)

    def _user_of(self, device: Device, request: Any) -> int | None:
        """Return whose call it is; before a login is complete, by the phone number in the request or by the scan."""
        if device.authorization is not None:
            return device.authorization.user_id
        if phone := _phone_in(request):
            account = self._services.cloud.find_by_phone(phone)
            return account.user_id if account else None
        return device.accepted_by if isinstance(request, _LOGIN_TOKEN_REQUESTS) else None

    def _bind(self, call: Call, invocation: Invocation) -> None:
        try:
            bind(self._services.cloud.keys, call, invocation.request)
        except BindingRefusedError as refusal:
            raise RpcError(refusal.name) from refusal
        device = self._device_of(call)
        if device is not None and invocation.introduction is not None:
            self._introduce(device, invocation)
        call.answer(tl.write(True))

    def _apply_rules(self, call: Call, device: Device, invocation: Invocation, name: str) -> None:
        """Refuse a call that breaks a rule which Telegram enforces, and count what it does not."""
        key_id = device.auth_key.key_id
        if device.is_duplicated:
            raise RpcError("AUTH_KEY_DUPLICATED")
        if self._violations.is_parallel(call):
            log.warning("auth key %016x is used on two connections", key_id)
            self._services.cloud.kill_duplicated(device)
            raise RpcError("AUTH_KEY_DUPLICATED")
        if not invocation.is_set_up:
            self._violations.check_pace(call, method=name)
        wait_seconds = self._violations.check_wait(name, whom=_waiters(device, invocation.request))
        if wait_seconds:
            raise RpcError(f"FLOOD_WAIT_{wait_seconds}")

    def _meet(self, fault: Fault, call: Call, device: Device, invocation: Invocation) -> None:
        """Let a call meet its fault."""
        if fault.drop_connection:
            call.leave_unanswered()
            call.connection.abort()
        elif fault.silent:
            call.leave_unanswered()
        elif fault.error is not None:
            error = RpcError(fault.error)
            self._note_flood_wait(call, device, invocation, error)
            self._fail(call, error)
        else:
            self._run_in_order(call, device, invocation)
        call.session.flush()

    def _run_in_order(self, call: Call, device: Device, invocation: Invocation) -> None:
        """Run a call, after those that it asked to wait for."""
        others = call.session.running - {call.message.msg_id}
        awaited = next((msg_id for msg_id in invocation.after if msg_id in others), None)
        if awaited is None:
            self._run(call, device, invocation)
        else:
            call.session.when_finished(awaited, lambda: self._run_in_order(call, device, invocation))

    def _run(self, call: Call, device: Device, invocation: Invocation) -> None:
        try:
            self._introduce(device, invocation)
            result = self._result_of(device, invocation.request)
        except RpcError as error:
            self._note_flood_wait(call, device, invocation, error)
            self._fail(call, error)
        except Exception:  # the outermost edge of a call: one that trips the sandbox must not end the connection
            log.exception("a call failed: %s", tl.method_name(invocation.request))
            self._fail(call, RpcError("INTERNAL"))
        else:
            call.answer(tl.write(result))

    def _introduce(self, device: Device, invocation: Invocation) -> None:
        """Note what initConnection says about the device.

        Raises:
            RpcError: CONNECTION_NOT_INITED, API_ID_INVALID.
        """
        introduction = invocation.introduction
        if introduction is not None:
            Caller(self._services, device).check_api_credentials(introduction.api_id)
            self._services.cloud.introduce(
                device,
                layer=invocation.layer or device.layer,
                api_id=introduction.api_id,
                device_model=introduction.device_model,
                system_version=introduction.system_version,
                app_version=introduction.app_version,
            )
        if not device.layer:
            raise RpcError("CONNECTION_NOT_INITED")

    def _result_of(self, device: Device, request: Any) -> Any:
        method = METHODS.get(type(request))
        access = _access_to_unknown(request) if method is None else method.access
        if access is Access.LOGGED_IN:
            self._services.cloud.account_of(device)
        elif access is Access.PASSWORD_PENDING:
            self._services.cloud.pending_or_active(device)
        if method is None:
            raise RpcError("METHOD_INVALID")
        return method.run(Caller(self._services, device), request)

    def _note_flood_wait(self, call: Call, device: Device, invocation: Invocation, error: RpcError) -> None:
        if error.flood_wait_seconds is not None:
            self._violations.start_wait(
                tl.method_name(invocation.request),
                error.flood_wait_seconds,
                whom=_waiters(device, invocation.request),
            )

    def _fail(self, call: Call, error: RpcError) -> None:
        call.answer(bytes(tl.types.RpcError(error_code=error.code, error_message=error.message)))


def _phone_in(request: Any) -> str | None:
    """Return the digits of the phone number that a request is about, if it is about one."""
    number = getattr(request, "phone_number", None)
    return normalize_phone(str(number)) or None if number is not None else None


def _waiters(device: Device, request: Any) -> list[Waiter]:
    """Return whom a flood wait for this call holds for.

    Telegram counts codes by phone number, and passwords and the rest by account, whichever key asks; login tokens, which
    are nobody's yet, by key. Source: the maintainers of several clients; the documentation does not say.
    """
    if phone := _phone_in(request):
        return [("phone", phone)]
    by_key: list[Waiter] = [("key", device.auth_key.key_id)]
    if device.authorization is None or isinstance(request, _LOGIN_TOKEN_REQUESTS):
        return by_key
    return [*by_key, ("user", device.authorization.user_id)]


def _access_to_unknown(request: Any) -> Access:
    """Tell who may ask for a method that is not here; a client that may must not take itself for logged out."""
    namespace = tl.method_name(request).partition(".")[0]
    return Access.ANYBODY if namespace in _OPEN_NAMESPACES else Access.LOGGED_IN
