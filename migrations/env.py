"""Alembic's entry point. Takes its connection from ``app.migrations``; never opens one of its own accord."""

from alembic import context

from app.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True, compare_server_default=True)
with context.begin_transaction():
    context.run_migrations()
