"""webhooks: a row for each event and endpoint, filters, rotated secrets, disabled endpoints; links that begin a login.

No endpoint could be made before, so the outbox is empty and loses columns that moved to the deliveries.

Revision: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    for name, kind in (
        ("events", postgresql.ARRAY(sa.Text())),
        ("old_secret_sealed", sa.LargeBinary()),
        ("old_secret_until", _MOMENT),
        ("failing_since", _MOMENT),
        ("disabled_at", _MOMENT),
        ("disabled_reason", sa.Text()),
    ):
        op.add_column("webhook_endpoints", sa.Column(name, kind, nullable=True))
    op.drop_index("ix_webhook_outbox_next_try_at", table_name="webhook_outbox")
    for name in ("tries", "next_try_at", "delivered_at"):
        op.drop_column("webhook_outbox", name)
    op.add_column("webhook_outbox", sa.Column("seq", sa.BigInteger(), sa.Identity(), nullable=False))
    op.add_column("webhook_outbox", sa.Column("subject", sa.Text(), nullable=True))
    op.create_index("ix_webhook_outbox_tenant_id_created_at", "webhook_outbox", ["tenant_id", "created_at"])
    _create_deliveries()
    _create_links()


def downgrade() -> None:
    op.drop_table("login_links")
    op.drop_table("webhook_deliveries")
    op.drop_index("ix_webhook_outbox_tenant_id_created_at", table_name="webhook_outbox")
    op.drop_column("webhook_outbox", "subject")
    op.drop_column("webhook_outbox", "seq")
    op.add_column("webhook_outbox", sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("webhook_outbox", sa.Column("next_try_at", _MOMENT, server_default=sa.func.now(), nullable=True))
    op.add_column("webhook_outbox", sa.Column("delivered_at", _MOMENT, nullable=True))
    op.create_index(
        "ix_webhook_outbox_next_try_at",
        "webhook_outbox",
        ["next_try_at"],
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    for name in ("disabled_reason", "disabled_at", "failing_since", "old_secret_until", "old_secret_sealed", "events"):
        op.drop_column("webhook_endpoints", name)


def _create_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_try_at", _MOMENT, server_default=sa.func.now(), nullable=True),
        sa.Column("claimed_until", _MOMENT, nullable=True),
        sa.Column("last_try_at", _MOMENT, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state")),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_webhook_deliveries_endpoint_id_webhook_endpoints"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["webhook_outbox.id"],
            name=op.f("fk_webhook_deliveries_message_id_webhook_outbox"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("endpoint_id", "message_id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index("ix_webhook_deliveries_message_id", "webhook_deliveries", ["message_id"])
    op.create_index("ix_webhook_deliveries_endpoint_id_seq", "webhook_deliveries", ["endpoint_id", "seq"])
    op.create_index("ix_webhook_deliveries_due", "webhook_deliveries", ["next_try_at"], postgresql_where=_PENDING)
    op.create_index(
        "ix_webhook_deliveries_order",
        "webhook_deliveries",
        ["endpoint_id", "subject", "seq"],
        postgresql_where=_PENDING,
    )
    op.create_index("ix_webhook_deliveries_in_flight", "webhook_deliveries", ["tenant_id"], postgresql_where=_PENDING)


def _create_links() -> None:
    op.create_table(
        "login_links",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("telegram_user_id", sa.BigInteger(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("client_secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("client_secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _MOMENT, server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["encryption_keys.openable_id"], name=op.f("fk_login_links_key_id_encryption_keys")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_login_links_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_login_links_session_id_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_links")),
    )
    op.create_index("ix_login_links_tenant_id", "login_links", ["tenant_id"])
    op.create_index("ix_login_links_session_id", "login_links", ["session_id"])
    op.create_index("ix_login_links_created_at", "login_links", ["created_at"])
    op.create_index("ix_login_links_key_id_id", "login_links", ["key_id", "id"])
