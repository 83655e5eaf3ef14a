"""auth.*: logging in by QR code, phone code, password or another data centre's word; and logging out."""

import secrets
from typing import Any

from sandbox import tl
from sandbox.mtproto import arithmetic as maths
from sandbox.telegram import srp, views
from sandbox.telegram.errors import RpcError
from sandbox.telegram.methods import Access, Caller, method
from sandbox.telegram.model import Account, CodeWay
from sandbox.telegram.phone_codes import SentCode

auth = tl.functions.auth
types = tl.types


@method(auth.ExportLoginTokenRequest, Access.ANYBODY)
def export_login_token(caller: Caller, request: Any) -> Any:
    """Give the device a token to show, or tell it how its login goes on."""
    caller.check_api_credentials(request.api_id, request.api_hash)
    outcome = caller.services.login_tokens.export(caller.device, frozenset(request.except_ids))
    return views.login_token(outcome, layer=caller.device.layer)


@method(auth.ImportLoginTokenRequest, Access.ANYBODY)
def import_login_token(caller: Caller, request: Any) -> Any:
    """Go on with a login that was sent here from another data centre."""
    outcome = caller.services.login_tokens.import_token(caller.device, request.token)
    return views.login_token(outcome, layer=caller.device.layer)


@method(auth.AcceptLoginTokenRequest)
def accept_login_token(caller: Caller, request: Any) -> Any:
    """Let another device in: what a phone does that scanned a QR code."""
    authorization = caller.services.login_tokens.accept(caller.account, request.token)
    if authorization is not None:
        return views.authorization(authorization, is_current=False)
    now = views.date(caller.cloud.clock())
    return types.Authorization(0, "", "", "", 0, "", "", now, now, "127.0.0.1", "", "")


@method(auth.SendCodeRequest, Access.ANYBODY)
def send_code(caller: Caller, request: Any) -> Any:
    """Send a login code to the phone with that number."""
    caller.check_api_credentials(request.api_id, request.api_hash)
    return _show_sent(caller, caller.services.phone_codes.send(caller.device, request.phone_number))


@method(auth.ResendCodeRequest, Access.ANYBODY)
def resend_code(caller: Caller, request: Any) -> Any:
    """Send another code by another way."""
    codes = caller.services.phone_codes
    return _show_sent(caller, codes.resend(caller.device, request.phone_number, request.phone_code_hash))


@method(auth.CancelCodeRequest, Access.ANYBODY)
def cancel_code(caller: Caller, request: Any) -> Any:
    """Forget a code that was sent."""
    caller.services.phone_codes.cancel(request.phone_number, request.phone_code_hash)
    return True


@method(auth.SignInRequest, Access.ANYBODY)
def sign_in(caller: Caller, request: Any) -> Any:
    """Log in by the code from the phone, or from an e-mail."""
    mailed = getattr(request.email_verification, "code", None)
    account = caller.services.phone_codes.check(
        caller.device,
        request.phone_number,
        request.phone_code_hash,
        request.phone_code or mailed or "",
        by_email=mailed is not None,
    )
    caller.cloud.authorize(caller.device, account)
    return views.logged_in(caller.cloud.account_of(caller.device), layer=caller.device.layer)


@method(tl.functions.account.GetPasswordRequest, Access.PASSWORD_PENDING)
def get_password(caller: Caller, request: Any) -> Any:
    """Tell whether there is a 2FA password, and give fresh SRP parameters for one try at it."""
    del request
    offered = srp.algorithm(secrets.token_bytes(8), secrets.token_bytes(16))
    common = {
        "new_algo": offered,
        "new_secure_algo": types.SecurePasswordKdfAlgoPBKDF2HMACSHA512iter100000(secrets.token_bytes(8)),
        "secure_random": secrets.token_bytes(256),
    }
    password, device = caller.account.password, caller.device
    if password is None:
        return types.account.Password(**common)
    device.srp_id, device.srp_secret = secrets.randbits(62), maths.new_exponent()
    return types.account.Password(
        **common,
        has_password=True,
        current_algo=password.algorithm,
        srp_B=srp.public_value(password, device.srp_secret).to_bytes(256, "big"),
        srp_id=device.srp_id,
        hint=password.hint,
    )


@method(auth.CheckPasswordRequest, Access.PASSWORD_PENDING)
def check_password(caller: Caller, request: Any) -> Any:
    """Finish a login by its 2FA password. Each try needs parameters of its own."""
    account, device, offered = caller.account, caller.device, request.password
    if isinstance(offered, types.InputCheckPasswordEmpty):
        raise RpcError("PASSWORD_EMPTY")
    if account.password is None:
        raise RpcError("PASSWORD_HASH_INVALID")
    srp_id, device.srp_id = device.srp_id, None
    if srp_id is None or offered.srp_id != srp_id:
        raise RpcError("SRP_ID_INVALID")
    if len(offered.A) > 256 or not maths.is_safe_public_value(int.from_bytes(offered.A, "big")):
        raise RpcError("SRP_A_INVALID")
    if not srp.proves(account.password, device.srp_secret, offered.A, offered.M1):
        raise RpcError("PASSWORD_HASH_INVALID")
    caller.cloud.confirm_password(device)
    return views.logged_in(account, layer=caller.device.layer)


@method(auth.LogOutRequest, Access.ANYBODY)
def log_out(caller: Caller, request: Any) -> Any:
    """End this key's authorization, or the login that it has begun."""
    del request
    device = caller.device
    if device.authorization is None and device.accepted_by is None:
        raise RpcError(device.death or "AUTH_KEY_UNREGISTERED")
    caller.cloud.end_authorization(device, death="AUTH_KEY_UNREGISTERED")
    return types.auth.LoggedOut()


@method(auth.ResetAuthorizationsRequest)
def reset_authorizations(caller: Caller, request: Any) -> Any:
    """End every authorization of this account but the caller's."""
    del request
    refuse_fresh(caller)
    caller.cloud.terminate_all(caller.account, besides=caller.device.authorization)
    return True


@method(auth.ExportAuthorizationRequest)
def export_authorization(caller: Caller, request: Any) -> Any:
    """Give the device a word that logs it in at another data centre."""
    if request.dc_id not in caller.cloud.dc_ids or request.dc_id == caller.auth_key.dc_id:
        raise RpcError("DC_ID_INVALID")
    account = caller.account
    ticket = caller.services.tickets.issue(account, request.dc_id)
    return types.auth.ExportedAuthorization(id=account.user_id, bytes=ticket)


@method(auth.ImportAuthorizationRequest, Access.ANYBODY)
def import_authorization(caller: Caller, request: Any) -> Any:
    """Log in by the word of another data centre; it counts once."""
    account: Account = caller.services.tickets.redeem(request.id, request.bytes, caller.auth_key.dc_id)
    caller.cloud.authorize(caller.device, account, password_known=True)
    return views.logged_in(account, layer=caller.device.layer)


def _show_sent(caller: Caller, sent: SentCode) -> Any:
    """Show where a code went; one kind of answer is that none is needed."""
    if sent.way is CodeWay.SUCCESS and sent.account is not None:
        caller.cloud.authorize(caller.device, sent.account)
        caller.cloud.account_of(caller.device)
    return views.sent_code(sent, layer=caller.device.layer)


def refuse_fresh(caller: Caller) -> None:
    """Forbid a new login to end other ones.

    Raises:
        RpcError: FRESH_RESET_AUTHORISATION_FORBIDDEN in the first 24 h.
    """
    authorization = caller.device.authorization
    assert authorization is not None
    if caller.cloud.clock() - authorization.created_at < caller.cloud.rules.fresh_seconds:
        raise RpcError("FRESH_RESET_AUTHORISATION_FORBIDDEN")
