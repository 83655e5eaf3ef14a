"""sessions: the proxy that each was made through, sealed. Those from before go on by the present settings.

Revision: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("proxy_sealed", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "proxy_sealed")
