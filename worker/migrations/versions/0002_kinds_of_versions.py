"""What came of each version that is kept, and why a job's outcome is not the one that was asked for."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE jobs ADD COLUMN outcome_detail text;

        -- The default is what every version came to before, also those of a worker that still runs the old program.
        ALTER TABLE dataset_versions
            ADD COLUMN outcome text NOT NULL DEFAULT 'published'
                CONSTRAINT dataset_versions_outcome CHECK (outcome IN ('published', 'held', 'dry_run')),
            ADD COLUMN dropping_at timestamptz;
        COMMENT ON COLUMN dataset_versions.outcome IS
            'That of its job. It never changes: whether the version is published now, datasets.published_job_id says';
        COMMENT ON COLUMN dataset_versions.dropping_at IS
            'null -> when the sweeper gave the version up (while it held the dataset''s row, as all do who move its
             pointer): the version can never be published again, its rows are going, and this row goes last';

        -- What a sweeper of the old program was dropping when it was stopped.
        UPDATE dataset_versions SET dropping_at = now()
        WHERE NOT EXISTS (
            SELECT FROM pg_inherits
            WHERE inhrelid = to_regclass('user_feature_versions_' || replace(job_id::text, '-', ''))
                AND NOT inhdetachpending
        );
    """)
