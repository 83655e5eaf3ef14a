"""turns: due work is looked up tenant by tenant.

Revision: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_LIVE = "status IN ('queued', 'waiting_for_scan', 'code_required', 'password_required')"


def upgrade() -> None:
    op.create_index(
        "ix_logins_tenant_id_next_dispatch_at",
        "logins",
        ["tenant_id", "next_dispatch_at"],
        postgresql_where=sa.text(_LIVE),
    )
    op.drop_index("ix_logins_next_dispatch_at", "logins")
    op.create_index(
        "ix_sessions_tenant_id_next_logout_at",
        "sessions",
        ["tenant_id", "next_logout_at"],
        postgresql_where=sa.text("logout_pending"),
    )
    op.drop_index("ix_sessions_next_logout_at", "sessions")
    op.create_index(
        "ix_sessions_tenant_id_next_validation_at",
        "sessions",
        ["tenant_id", "next_validation_at"],
        postgresql_where=sa.text("status IN ('active', 'quarantined')"),
    )
