"""What charts show of a version."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE version_statistics (
            job_id uuid PRIMARY KEY REFERENCES dataset_versions (job_id) ON DELETE CASCADE,
            content json NOT NULL
        );
        COMMENT ON TABLE version_statistics IS
            'Made when somebody asks for the first time: a version never changes. Goes with its version';
    """)
