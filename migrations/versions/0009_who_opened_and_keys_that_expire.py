"""trust: API keys may expire and be bound to networks; a login and a lease say which key began them.

Revision: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "api_keys",
        sa.Column("networks", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("logins", sa.Column("api_key_id", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("lease_api_key_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_audit_events_openings",
        "audit_events",
        ["tenant_id", "actor", "at"],
        postgresql_where=sa.text("action = 'session.opened'"),
    )


def downgrade() -> None:
    op.drop_index("ix_audit_events_openings", table_name="audit_events")
    op.drop_column("sessions", "lease_api_key_id")
    op.drop_column("logins", "api_key_id")
    op.drop_column("api_keys", "networks")
    op.drop_column("api_keys", "expires_at")
