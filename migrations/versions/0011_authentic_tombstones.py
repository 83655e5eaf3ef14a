"""backups: what was erased before tombstones were authenticated gets one that is.

Revision: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "UPDATE sessions SET backed_up_version = NULL WHERE session_sealed IS NULL AND backed_up_version IS NOT NULL"
    )


def downgrade() -> None:
    pass
