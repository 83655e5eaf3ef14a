"""Who is calling: an API key with the scope that the view names, or a login's own client secret.

The decorators also say so in the OpenAPI document (``web.openapi`` reads ``access``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial, wraps
from typing import Any, NamedTuple, TypeVar, cast

from flask import g, request
from sqlalchemy.orm import Session as DatabaseSession

from app.errors import Forbidden, Unauthenticated
from app.logins.service import Reader
from app.tenants.keys import Caller, Scope, authenticate_in
from web.idempotency import call_once
from web.limits import Limit, charge
from web.parsing import Request
from web.parts import parts

View = TypeVar("View", bound=Callable[..., Any])


class Access(NamedTuple):
    """What a view demands, and how often it may be called.

    Args:
        scope: None: any key will do.
        login_secret: the login's own secret serves as well.
        limit: which of the caller's limits a call counts against; see ``web.limits``.
        in_turn: calls are let in a few at a time (``web.turns``).
        says: which scopes the view asks for by itself, with ``demand``; a sentence for the OpenAPI document.
    """

    scope: Scope | None
    login_secret: bool = False
    limit: Limit = "by method"
    in_turn: bool = False
    says: str = "Any API key will do."


def needs(scope: Scope, *, limit: Limit = "by method", in_turn: bool = False) -> Callable[[View], View]:
    """Let a view be called with an API key that has a scope; ``current_caller`` says whose."""
    return _guarded(Access(scope, limit=limit, in_turn=in_turn), lambda: _authenticate(scope))


def needs_any_key(says: str = "Any API key will do.") -> Callable[[View], View]:
    """Let a view be called with any API key; see ``Access`` for what it ``says``."""
    return _guarded(Access(None, says=says), lambda: _authenticate(None))


def demand(scope: Scope) -> None:
    """Make sure that the current caller has a scope, where it depends on the request which one is needed.

    Raises:
        Forbidden: the key lacks it.
    """
    _admit(current_caller(), scope)


def needs_login_reader(*, limit: Limit = "by method") -> Callable[[View], View]:
    """Let a view of one login be called with an API key of scope ``logins`` or with ``Login-Secret``."""
    return _guarded(Access("logins", login_secret=True, limit=limit), _identify_reader)


def needs_login_answerer() -> Callable[[View], View]:
    """As ``needs_login_reader``, for what a user types: the key is looked at in the transaction that reads the login."""
    return _guarded(Access("logins", login_secret=True, limit="own"), _note_reader)


def current_caller() -> Caller:
    """The API key that the current request came with."""
    caller = g.caller
    assert isinstance(caller, Caller)
    return caller


def current_reader() -> Reader:
    """Who reads or drives the login that the current request is about."""
    reader = g.reader
    assert isinstance(reader, Reader)
    return reader


def _guarded(access: Access, check: Callable[[], None]) -> Callable[[View], View]:
    def decorate(view: View) -> View:
        @wraps(view)
        def checked(**kwargs: Any) -> Any:
            check()
            _charge(access.limit, kwargs)
            # A view that counts its calls itself is not asked when its answer is given again.
            on_replay = partial(_charge, "changes" if access.limit == "own" else "own", kwargs)
            with _turn() if access.in_turn else nullcontext():
                return call_once(view, kwargs, on_replay=on_replay)

        checked.access = access  # type: ignore[attr-defined]  # for web.openapi
        return checked  # type: ignore[return-value]  # the same signature, by wraps

    return decorate


def _turn() -> AbstractContextManager[None]:
    cast("Request", request).read_whole()  # whoever sends his body slowly keeps nobody waiting
    return parts().starts.turn()


def _charge(limit: Limit, arguments: dict[str, Any]) -> None:
    charge(limit, caller=g.get("caller"), reader=g.get("reader"), arguments=arguments)


def _identify_reader() -> None:
    secret = request.headers.get("Login-Secret")
    if secret is not None and "Authorization" not in request.headers:
        g.reader = Reader(client_secret=secret)
        return
    _authenticate("logins")
    g.reader = Reader(tenant_id=current_caller().tenant_id, actor=current_caller().actor)


def _note_reader() -> None:
    """Note who reads; an API key is authenticated when the login is read.

    Raises:
        Unauthenticated: there is neither a key nor a secret.
    """
    secret = request.headers.get("Login-Secret")
    if secret is not None and "Authorization" not in request.headers:
        g.reader = Reader(client_secret=secret)
        return
    key, address = _bearer(), request.remote_addr

    def identify(db: DatabaseSession) -> str:
        return _admit(authenticate_in(db, key=key, address=address), "logins").tenant_id

    g.reader = Reader(identify=identify)


def _authenticate(scope: Scope | None) -> None:
    key, address = _bearer(), request.remote_addr
    keys = parts().known_keys
    identify = keys.recognise if request.method in ("GET", "HEAD") else keys.look_up
    _admit(identify(key=key, address=address), scope)


def _bearer() -> str:
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer" or not authorization.token:
        raise Unauthenticated("Send an API key: Authorization: Bearer lk_…")
    return authorization.token


def _admit(caller: Caller, scope: Scope | None) -> Caller:
    g.caller = caller
    g.log_fields = {"tenant_id": caller.tenant_id, "api_key_id": caller.key_id}
    if scope is not None and scope not in caller.scopes:
        raise Forbidden(f"This API key lacks the scope {scope}.")
    return caller
