"""Latchkey's calls by subject, in both forms."""

from __future__ import annotations

from . import leases, logins, sessions
from .methods import AsyncGroup, Group, awaited, awaited_many, blocking, blocking_many


class Logins(Group):
    """Logins; each call is described in ``latchkey_client.logins``."""

    start = blocking(logins.start)
    read = blocking(logins.read)
    next_version = blocking(logins.next_version)
    follow = blocking_many(logins.follow)
    wait = blocking(logins.wait)
    connect = blocking(logins.connect)
    qr_svg = blocking(logins.qr_svg)
    qr_png = blocking(logins.qr_png)
    submit_password = blocking(logins.submit_password)
    submit_code = blocking(logins.submit_code)
    resend_code = blocking(logins.resend_code)
    switch_method = blocking(logins.switch_method)
    again = blocking(logins.again)
    cancel = blocking(logins.cancel)


class AsyncLogins(AsyncGroup):
    """As ``Logins``, awaited."""

    start = awaited(logins.start)
    read = awaited(logins.read)
    next_version = awaited(logins.next_version)
    follow = awaited_many(logins.follow)
    wait = awaited(logins.wait)
    connect = awaited(logins.connect)
    qr_svg = awaited(logins.qr_svg)
    qr_png = awaited(logins.qr_png)
    submit_password = awaited(logins.submit_password)
    submit_code = awaited(logins.submit_code)
    resend_code = awaited(logins.resend_code)
    switch_method = awaited(logins.switch_method)
    again = awaited(logins.again)
    cancel = awaited(logins.cancel)


class Sessions(Group):
    """Sessions; each call is described in ``latchkey_client.sessions``."""

    list_page = blocking(sessions.list_page)
    list_all = blocking_many(sessions.list_all)
    read = blocking(sessions.read)
    import_session = blocking(sessions.import_session)
    validate = blocking(sessions.validate)
    revoke = blocking(sessions.revoke)
    revoke_opened = blocking(sessions.revoke_opened)


class AsyncSessions(AsyncGroup):
    """As ``Sessions``, awaited."""

    list_page = awaited(sessions.list_page)
    list_all = awaited_many(sessions.list_all)
    read = awaited(sessions.read)
    import_session = awaited(sessions.import_session)
    validate = awaited(sessions.validate)
    revoke = awaited(sessions.revoke)
    revoke_opened = awaited(sessions.revoke_opened)


class Leases(Group):
    """Leases, call by call; each is described in ``latchkey_client.leases``."""

    acquire = blocking(leases.acquire)
    renew = blocking(leases.renew)
    release = blocking(leases.release)


class AsyncLeases(AsyncGroup):
    """As ``Leases``, awaited."""

    acquire = awaited(leases.acquire)
    renew = awaited(leases.renew)
    release = awaited(leases.release)
