"""a tenant's api_hash and proxy are sealed; what stands in the open of them is sealed by the next rotation.

Revision: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, kind in (
        ("key_id", sa.Text()),
        ("api_hash_sealed", sa.LargeBinary()),
        ("proxy_sealed", sa.LargeBinary()),
    ):
        op.add_column("tenants", sa.Column(name, kind, nullable=True))
    op.create_foreign_key(
        op.f("fk_tenants_key_id_encryption_keys"), "tenants", "encryption_keys", ["key_id"], ["openable_id"]
    )
    op.create_index("ix_tenants_key_id_id", "tenants", ["key_id", "id"])
    op.create_check_constraint(
        op.f("ck_tenants_sealed_has_key_id"),
        "tenants",
        "(api_hash_sealed IS NULL AND proxy_sealed IS NULL) OR key_id IS NOT NULL",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_tenants_sealed_has_key_id"), "tenants")
    op.drop_index("ix_tenants_key_id_id", table_name="tenants")
    op.drop_constraint(op.f("fk_tenants_key_id_encryption_keys"), "tenants")
    for name in ("proxy_sealed", "api_hash_sealed", "key_id"):
        op.drop_column("tenants", name)
