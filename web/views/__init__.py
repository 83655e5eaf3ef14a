"""The views: one blueprint per subject, each a few lines that authenticate, validate and make one call into ``app``."""

from __future__ import annotations

from apiflask import APIBlueprint

from web.views.audit import audit
from web.views.docs import docs
from web.views.events import events
from web.views.leases import leases
from web.views.logins import logins
from web.views.mini_app import mini_app
from web.views.ops import ops
from web.views.own_tenant import own_tenant
from web.views.page import page
from web.views.sessions import sessions
from web.views.tenants import tenants
from web.views.webhooks import webhooks
from web.views.widget import widget

BLUEPRINTS: tuple[APIBlueprint, ...] = (
    logins,
    sessions,
    leases,
    events,
    audit,
    webhooks,
    own_tenant,
    tenants,
    mini_app,
    ops,
    page,
    widget,
    docs,
)
