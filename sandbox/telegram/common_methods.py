"""help.*, users.*, updates.*, account.*: what a client asks for while it connects, and about itself."""

from typing import Any, Final

from sandbox import tl
from sandbox.telegram import layers, views
from sandbox.telegram.auth_methods import refuse_fresh
from sandbox.telegram.errors import RpcError
from sandbox.telegram.methods import Access, Caller, method

functions = tl.functions
types = tl.types

_CONFIG_SECONDS: Final = 3600
# What the schema wants in a config and no login depends on; Telegram's own values.
_LIMITS: Final = {
    "chat_size_max": 200,
    "megagroup_size_max": 200_000,
    "forwarded_count_max": 100,
    "online_update_period_ms": 210_000,
    "offline_blur_timeout_ms": 5_000,
    "offline_idle_timeout_ms": 30_000,
    "online_cloud_timeout_ms": 300_000,
    "notify_cloud_delay_ms": 30_000,
    "notify_default_delay_ms": 1_500,
    "push_chat_period_ms": 60_000,
    "push_chat_limit": 2,
    "edit_time_limit": 172_800,
    "revoke_time_limit": 2**31 - 1,
    "revoke_pm_time_limit": 2**31 - 1,
    "rating_e_decay": 2_419_200,
    "stickers_recent_limit": 200,
    "channels_read_media_period": 604_800,
    "call_receive_timeout_ms": 20_000,
    "call_ring_timeout_ms": 90_000,
    "call_connect_timeout_ms": 30_000,
    "call_packet_timeout_ms": 10_000,
    "caption_length_max": 1024,
    "message_length_max": 4096,
}


@method(functions.help.GetConfigRequest, Access.ANYBODY)
def get_config(caller: Caller, request: Any) -> Any:
    """Tell the server's time, this data centre, and where all of them are."""
    del request
    now = caller.cloud.clock()
    options = [
        types.DcOption(id=dc_id, ip_address=host, port=port, ipv6=True if ":" in host else None)
        for dc_id, (host, port) in caller.services.dc_addresses().items()
    ]
    return types.Config(
        date=views.date(now),
        expires=views.date(now + _CONFIG_SECONDS),
        test_mode=False,
        this_dc=caller.auth_key.dc_id,
        dc_options=options,
        dc_txt_domain_name="",
        me_url_prefix="https://t.me/",
        webfile_dc_id=caller.auth_key.dc_id,
        **_LIMITS,
    )


@method(functions.help.GetNearestDcRequest, Access.ANYBODY)
def get_nearest_dc(caller: Caller, request: Any) -> Any:
    """Claim that the data centre in use is the nearest."""
    del request
    here = caller.auth_key.dc_id
    return types.NearestDc(country="", this_dc=here, nearest_dc=here)


@method(functions.help.GetCdnConfigRequest, Access.ANYBODY)
def get_cdn_config(caller: Caller, request: Any) -> Any:
    """Have no CDN."""
    del caller, request
    return types.CdnConfig(public_keys=[])


@method(functions.help.GetAppConfigRequest, Access.ANYBODY)
def get_app_config(caller: Caller, request: Any) -> Any:
    """Have nothing to configure."""
    del caller, request
    return types.help.AppConfig(hash=1, config=types.JsonObject([]))


@method(functions.help.GetTermsOfServiceUpdateRequest)
def get_terms_update(caller: Caller, request: Any) -> Any:
    """Have no new terms."""
    del request
    return types.help.TermsOfServiceUpdateEmpty(views.date(caller.cloud.clock() + _CONFIG_SECONDS))


@method(functions.users.GetUsersRequest)
def get_users(caller: Caller, request: Any) -> Any:
    """Show the caller to itself; nobody else is known here."""
    return [_show_user(caller, wanted) for wanted in request.id]


def _show_user(caller: Caller, wanted: Any) -> Any:
    account = caller.account
    is_self = isinstance(wanted, types.InputUserSelf)
    if is_self or (isinstance(wanted, types.InputUser) and wanted.user_id == account.user_id):
        return views.user(account, layer=caller.device.layer)
    return types.UserEmpty(getattr(wanted, "user_id", 0))


@method(functions.users.GetFullUserRequest)
def get_full_user(caller: Caller, request: Any) -> Any:
    """Show the caller's own profile; the constructors of older layers are not known here."""
    account, wanted = caller.account, request.id
    if not layers.has_profiles(caller.device.layer):
        raise RpcError("METHOD_INVALID")
    if not isinstance(wanted, types.InputUserSelf) and getattr(wanted, "user_id", 0) != account.user_id:
        raise RpcError("USER_ID_INVALID")
    return views.full_user(account, layer=caller.device.layer)


@method(functions.updates.GetStateRequest)
def get_state(caller: Caller, request: Any) -> Any:
    """Have no updates that count."""
    del request
    return types.updates.State(pts=1, qts=0, date=views.date(caller.cloud.clock()), seq=0, unread_count=0)


@method(functions.updates.GetDifferenceRequest)
def get_difference(caller: Caller, request: Any) -> Any:
    """Have missed nothing."""
    del request
    return types.updates.DifferenceEmpty(date=views.date(caller.cloud.clock()), seq=0)


@method(functions.account.UpdateStatusRequest)
def update_status(caller: Caller, request: Any) -> Any:
    """Take notice of nobody's being online."""
    del caller, request
    return True


@method(functions.account.GetAuthorizationsRequest)
def get_authorizations(caller: Caller, request: Any) -> Any:
    """List this account's logins, the caller's first."""
    del request
    own = caller.device.authorization
    listed = sorted(caller.account.authorizations.values(), key=lambda a: (a is not own, -a.created_at))
    shown = [views.authorization(a, is_current=a is own) for a in listed]
    return types.account.Authorizations(authorization_ttl_days=180, authorizations=shown)


@method(functions.account.ResetAuthorizationRequest)
def reset_authorization(caller: Caller, request: Any) -> Any:
    """End another login of this account."""
    account, own = caller.account, caller.device.authorization
    doomed = account.authorizations.get(request.hash)
    if doomed is None or doomed is own:
        raise RpcError("HASH_INVALID")
    refuse_fresh(caller)
    caller.cloud.terminate(account, doomed.hash)
    return True
