"""The ledger, the datasets, the versions of their features, and the rejections."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE datasets (
            name text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
            published_job_id uuid
        );
        COMMENT ON COLUMN datasets.published_job_id IS 'The pointer: which version the views show';

        CREATE TABLE jobs (
            id uuid PRIMARY KEY,
            dataset text NOT NULL REFERENCES datasets (name),
            mode text NOT NULL CONSTRAINT jobs_mode CHECK (mode IN ('publish', 'dry_run')),
            engine text NOT NULL,
            force boolean NOT NULL,
            max_rejected_ratio double precision NOT NULL CHECK (max_rejected_ratio BETWEEN 0 AND 1),
            idempotency_key text CONSTRAINT jobs_idempotency_key UNIQUE,
            parent_id uuid REFERENCES jobs (id),
            state text NOT NULL DEFAULT 'queued'
                CONSTRAINT jobs_state CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
            outcome text CONSTRAINT jobs_outcome CHECK (outcome IN ('published', 'unchanged', 'held', 'dry_run')),
            attempt integer NOT NULL DEFAULT 0 CONSTRAINT jobs_attempt CHECK (attempt BETWEEN 0 AND 3),
            worker text,
            lease_expires_at timestamptz,
            stage text,
            progress_done bigint,
            progress_total bigint,
            progress_unit text,
            timings_ms jsonb NOT NULL DEFAULT '{}',
            inputs json NOT NULL DEFAULT '[]',
            reconciled boolean,
            error_code text,
            error_detail text,
            created_at timestamptz NOT NULL DEFAULT now(),
            due_at timestamptz NOT NULL DEFAULT now(),
            rung_at timestamptz,
            started_at timestamptz,
            finished_at timestamptz,
            CONSTRAINT jobs_lease CHECK ((state = 'running') = (lease_expires_at IS NOT NULL)),
            CONSTRAINT jobs_finished
                CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
            CONSTRAINT jobs_succeeded CHECK ((state = 'succeeded') = (outcome IS NOT NULL)),
            CONSTRAINT jobs_failed CHECK ((state = 'failed') = (error_code IS NOT NULL))
        );
        COMMENT ON COLUMN jobs.state IS
            'queued -> running (claim); running -> succeeded, failed (by the attempt that holds the lease);
             running -> queued (lease expired, worker stopping, or something outside was away; three attempts at most);
             queued, running -> cancelled. The last three never change again.';
        COMMENT ON COLUMN jobs.attempt IS 'The fence: only the attempt that claimed the row may finish it';
        COMMENT ON COLUMN jobs.due_at IS 'A queued job is not claimed before this';
        COMMENT ON COLUMN jobs.rung_at IS 'When the queue was last told of this job';

        CREATE UNIQUE INDEX jobs_one_running_per_dataset ON jobs (dataset) WHERE state = 'running';
        CREATE INDEX jobs_queued ON jobs (created_at, id) WHERE state = 'queued';
        CREATE INDEX jobs_newest ON jobs (created_at DESC, id DESC);
        CREATE INDEX jobs_of_dataset ON jobs (dataset, created_at DESC, id DESC);

        CREATE TABLE dataset_versions (
            job_id uuid PRIMARY KEY REFERENCES jobs (id),
            dataset text NOT NULL REFERENCES datasets (name),
            fingerprint text NOT NULL,
            computed_at timestamptz NOT NULL DEFAULT now()
        );
        COMMENT ON TABLE dataset_versions IS
            'One row for each version that is kept: the summary features (columns made from the catalogue) and what
             the version was derived from';
        ALTER TABLE datasets ADD FOREIGN KEY (published_job_id) REFERENCES dataset_versions (job_id);

        CREATE TABLE user_feature_versions (
            job_id uuid NOT NULL,
            user_id bigint NOT NULL,
            name text NOT NULL,
            email text NOT NULL,
            signup_date date NOT NULL,
            PRIMARY KEY (job_id, user_id)
        ) PARTITION BY LIST (job_id);
        COMMENT ON TABLE user_feature_versions IS
            'One partition for each version that is kept; the feature columns are made from the catalogue';

        -- No foreign key: a COPY of millions of rows would queue a trigger for each.
        CREATE TABLE rejections (
            id bigint GENERATED ALWAYS AS IDENTITY,
            job_id uuid NOT NULL,
            file text NOT NULL,
            line bigint NOT NULL,
            "column" text,
            code text NOT NULL,
            message text NOT NULL,
            value text,
            PRIMARY KEY (job_id, id)
        );

        CREATE TABLE worker_heartbeats (
            worker text PRIMARY KEY,
            seen_at timestamptz NOT NULL
        );
    """)
