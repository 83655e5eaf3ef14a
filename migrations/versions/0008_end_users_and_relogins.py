"""end users: a login and its session carry the tenant's own name for the person; re-logins, repeats and where to go afterwards.

Revision: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_LIVE = "status IN ('queued', 'waiting_for_scan', 'code_required', 'password_required')"


def upgrade() -> None:
    for column in ("end_user_id", "relogin_session_id", "repeats_login_id", "redirect_url", "origin"):
        op.add_column("logins", sa.Column(column, sa.Text(), nullable=True))
    op.create_foreign_key(
        "fk_logins_relogin_session_id_sessions",
        "logins",
        "sessions",
        ["relogin_session_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index(
        "uq_logins_one_live_per_end_user",
        "logins",
        ["tenant_id", "end_user_id"],
        unique=True,
        postgresql_where=sa.text(_LIVE),
    )
    op.create_index(
        "ix_logins_repeats_login_id",
        "logins",
        ["repeats_login_id"],
        postgresql_where=sa.text("repeats_login_id IS NOT NULL"),
    )
    op.create_index(
        "ix_logins_relogin_session_id",
        "logins",
        ["relogin_session_id"],
        postgresql_where=sa.text("relogin_session_id IS NOT NULL"),
    )
    op.add_column("sessions", sa.Column("end_user_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_sessions_tenant_id_end_user_id",
        "sessions",
        ["tenant_id", "end_user_id"],
        postgresql_where=sa.text("end_user_id IS NOT NULL"),
    )
    op.add_column("tenants", sa.Column("brand", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False))
    for column in ("redirect_urls", "origins"):
        op.add_column(
            "tenants", sa.Column(column, postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
        )


def downgrade() -> None:
    for column in ("origins", "redirect_urls", "brand"):
        op.drop_column("tenants", column)
    op.drop_index("ix_sessions_tenant_id_end_user_id", table_name="sessions")
    op.drop_column("sessions", "end_user_id")
    op.drop_index("ix_logins_relogin_session_id", table_name="logins")
    op.drop_index("ix_logins_repeats_login_id", table_name="logins")
    op.drop_index("uq_logins_one_live_per_end_user", table_name="logins")
    op.drop_constraint("fk_logins_relogin_session_id_sessions", "logins", type_="foreignkey")
    for column in ("origin", "redirect_url", "repeats_login_id", "relogin_session_id", "end_user_id"):
        op.drop_column("logins", column)
