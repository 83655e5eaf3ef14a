"""leaving auth keys: what a login leaves behind at Telegram has rows of its own, with tries and times.

Logins that ended with a log-out due hand their keys over; a final login keeps no auth key any more.

Revision: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LIVE = "status IN ('queued', 'waiting_for_scan', 'code_required', 'password_required')"


def upgrade() -> None:
    op.create_table(
        "leaving_auth_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("login_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("auth_key_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("dc_id", sa.Integer(), nullable=False),
        sa.Column("dc_host", sa.Text(), nullable=False),
        sa.Column("dc_port", sa.Integer(), nullable=False),
        sa.Column("final_ask_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["encryption_keys.openable_id"],
            name=op.f("fk_leaving_auth_keys_key_id_encryption_keys"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_leaving_auth_keys_tenant_id_tenants"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leaving_auth_keys")),
    )
    op.create_index("ix_leaving_auth_keys_next_try_at", "leaving_auth_keys", ["next_try_at"])
    op.create_index("ix_leaving_auth_keys_key_id_id", "leaving_auth_keys", ["key_id", "id"])
    op.create_index("ix_leaving_auth_keys_tenant_id", "leaving_auth_keys", ["tenant_id"])
    op.execute(
        """
        INSERT INTO leaving_auth_keys
            (id, login_id, tenant_id, key_id, auth_key_sealed, dc_id, dc_host, dc_port, final_ask_at, next_try_at)
        SELECT id, id, tenant_id, key_id, auth_key_sealed, dc_id, dc_host, dc_port, now() + interval '40 seconds', now()
        FROM logins
        WHERE logout_pending AND auth_key_sealed IS NOT NULL AND key_id IS NOT NULL AND dc_id IS NOT NULL
        """
    )
    op.execute(f"UPDATE logins SET auth_key_sealed = NULL WHERE auth_key_sealed IS NOT NULL AND NOT ({LIVE})")  # noqa: S608
    op.drop_index("ix_logins_next_dispatch_at", table_name="logins")
    op.create_index("ix_logins_next_dispatch_at", "logins", ["next_dispatch_at"], postgresql_where=sa.text(LIVE))
    op.drop_column("logins", "logout_pending")


def downgrade() -> None:
    op.add_column("logins", sa.Column("logout_pending", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.drop_index("ix_logins_next_dispatch_at", table_name="logins")
    op.create_index(
        "ix_logins_next_dispatch_at",
        "logins",
        ["next_dispatch_at"],
        postgresql_where=sa.text(f"{LIVE} OR logout_pending"),
    )
    op.execute(
        """
        UPDATE logins SET logout_pending = true, auth_key_sealed = leaving.auth_key_sealed, next_dispatch_at = now()
        FROM leaving_auth_keys AS leaving
        WHERE leaving.id = logins.id
        """
    )
    op.drop_table("leaving_auth_keys")
