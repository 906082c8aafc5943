"""The time that the schedule has fired for last."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE schedule (
            only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
            expression text NOT NULL,
            fired_for timestamptz NOT NULL
        );
        COMMENT ON TABLE schedule IS 'ETL_SCHEDULE, and the time up to which its jobs have been submitted';
    """)
