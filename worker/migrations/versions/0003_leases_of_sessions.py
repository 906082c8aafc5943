"""Which session renews a lease: when that is gone, so is the worker."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE jobs ADD COLUMN lease_session text;
        COMMENT ON COLUMN jobs.lease_session IS
            'The session that renewed the lease last, one of the worker process that runs the job';
        COMMENT ON COLUMN jobs.state IS
            'queued -> running (claim); running -> succeeded, failed (by the attempt that holds the lease);
             running -> failed (by the sweeper, at the time limit);
             running -> queued (worker gone, hanging or stopping, or something was not there; three attempts at most);
             queued, running -> cancelled. The last three never change again.';
    """)
