"""Which transaction has changed a job last, for those who listen; what was logged about a job; what all came to."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        -- A row that was there before is no news to anybody.
        ALTER TABLE jobs ADD COLUMN changed_in xid8 NOT NULL DEFAULT '0';
        COMMENT ON COLUMN jobs.changed_in IS
            'The transaction that has made or changed the job as it is shown. What a snapshot does not show yet has a
             number from pg_snapshot_xmin() on';
        CREATE INDEX jobs_changed ON jobs (changed_in);

        CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.changed_in := pg_current_xact_id();
            RETURN NEW;
        END $$;
        CREATE TRIGGER jobs_inserted BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION note_change();
        -- Not when a lease is renewed and nothing else: nobody is shown that.
        CREATE TRIGGER jobs_changed BEFORE UPDATE ON jobs FOR EACH ROW
            WHEN ((OLD.state, OLD.attempt, OLD.stage, OLD.progress_done, OLD.progress_total, OLD.progress_unit)
                IS DISTINCT FROM
                (NEW.state, NEW.attempt, NEW.stage, NEW.progress_done, NEW.progress_total, NEW.progress_unit))
            EXECUTE FUNCTION note_change();

        CREATE TABLE job_log (
            id bigint GENERATED ALWAYS AS IDENTITY,
            job_id uuid NOT NULL,
            at timestamptz NOT NULL,
            level text NOT NULL,
            message text NOT NULL,
            PRIMARY KEY (job_id, id)
        );

        ALTER TABLE jobs ADD COLUMN counted boolean NOT NULL DEFAULT false;
        COMMENT ON COLUMN jobs.counted IS 'false -> true when the sweeper has added the ended job to totals';
        CREATE INDEX jobs_uncounted ON jobs (id) WHERE finished_at IS NOT NULL AND NOT counted;
        CREATE TABLE totals (
            name text NOT NULL,
            labels jsonb NOT NULL,
            value numeric NOT NULL,
            PRIMARY KEY (name, labels)
        );
        COMMENT ON TABLE totals IS 'What all counted jobs came to. It only grows, whatever is dropped';
    """)
