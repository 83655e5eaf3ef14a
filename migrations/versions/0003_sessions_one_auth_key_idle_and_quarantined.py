"""sessions: one auth key is one session, quarantined ones are validated too, and the idle are found by an index.

Revision: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("auth_key_hash", sa.LargeBinary(), nullable=True))
    op.create_unique_constraint(op.f("uq_sessions_auth_key_hash"), "sessions", ["auth_key_hash"])
    op.drop_index("ix_sessions_next_validation_at", table_name="sessions")
    op.create_index(
        "ix_sessions_next_validation_at",
        "sessions",
        ["next_validation_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('active', 'quarantined')"),
    )
    op.create_index(
        "ix_sessions_tenant_id_last_used_at",
        "sessions",
        ["tenant_id", "last_used_at"],
        unique=False,
        postgresql_where=sa.text("status = 'active'"),
    )


def downgrade() -> None:
    op.drop_index("ix_sessions_tenant_id_last_used_at", table_name="sessions")
    op.drop_index("ix_sessions_next_validation_at", table_name="sessions")
    op.create_index(
        "ix_sessions_next_validation_at",
        "sessions",
        ["next_validation_at"],
        unique=False,
        postgresql_where=sa.text("status = 'active'"),
    )
    op.drop_constraint(op.f("uq_sessions_auth_key_hash"), "sessions", type_="unique")
    op.drop_column("sessions", "auth_key_hash")
