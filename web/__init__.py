"""The web process: authenticates, validates, makes one call into ``app`` and answers. Knows nothing of ``tasks``.

Started as ``gunicorn 'web:create_app()'`` with ``deploy/gunicorn.py``, which makes it cooperative (``web.greenlets``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apiflask import APIFlask

    from app.settings import Settings


def create_app(settings: Settings | None = None) -> APIFlask:
    """Build the web application. Opens no connection yet.

    Args:
        settings: None reads the environment, and sets up the process's logs by it.

    Raises:
        SettingsError: a setting is missing or senseless.
    """
    # Not at the top: web.greenlets must be importable, and patch, before sockets and locks are imported elsewhere.
    from web import factory

    return factory.create_app(settings)
