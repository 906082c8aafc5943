-- The database that the program of revision 0003 left behind when its worker was killed in its fifth job: two published
-- versions of the sample, the second with a rejection, a job that failed, and a dry run. Written by pg_dump with
-- --no-owner --no-privileges --inserts --rows-per-insert=100, without its comments.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.dataset_versions (
    job_id uuid NOT NULL,
    dataset text NOT NULL,
    fingerprint text NOT NULL,
    computed_at timestamp with time zone DEFAULT now() NOT NULL,
    outcome text DEFAULT 'published'::text NOT NULL,
    dropping_at timestamp with time zone,
    total_users bigint,
    active_users bigint,
    total_experiments bigint,
    average_experiments_per_user double precision,
    average_experiments_per_active_user double precision,
    average_compounds_per_experiment double precision,
    CONSTRAINT dataset_versions_outcome CHECK ((outcome = ANY (ARRAY['published'::text, 'held'::text, 'dry_run'::text])))
);
COMMENT ON TABLE public.dataset_versions IS 'One row for each version that is kept: the summary features (columns made from the catalogue) and what
             the version was derived from';
COMMENT ON COLUMN public.dataset_versions.outcome IS 'That of its job. It never changes: whether the version is published now, datasets.published_job_id says';
COMMENT ON COLUMN public.dataset_versions.dropping_at IS 'null -> when the sweeper gave the version up (while it held the dataset''s row, as all do who move its
             pointer): the version can never be published again, its rows are going, and this row goes last';
CREATE TABLE public.datasets (
    name text NOT NULL,
    published_job_id uuid,
    CONSTRAINT datasets_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text))
);
COMMENT ON COLUMN public.datasets.published_job_id IS 'The pointer: which version the views show';
CREATE VIEW public.experiment_summary AS
 SELECT version.dataset,
    "row".total_users,
    "row".active_users,
    "row".total_experiments,
    "row".average_experiments_per_user,
    "row".average_experiments_per_active_user,
    "row".average_compounds_per_experiment,
    version.job_id,
    version.computed_at
   FROM ((public.datasets dataset
     JOIN public.dataset_versions version ON ((version.job_id = dataset.published_job_id)))
     CROSS JOIN LATERAL ( SELECT dataset_versions.total_users,
            dataset_versions.active_users,
            dataset_versions.total_experiments,
            dataset_versions.average_experiments_per_user,
            dataset_versions.average_experiments_per_active_user,
            dataset_versions.average_compounds_per_experiment
           FROM public.dataset_versions
          WHERE (dataset_versions.job_id = dataset.published_job_id)
          ORDER BY dataset_versions.job_id) "row");
COMMENT ON VIEW public.experiment_summary IS 'Each dataset''s published version. Made by etl/schema.py: 156c371e71cc72a43309d476cdda1f3ee5c8ea842b9c851eba572ef62cabe137';
CREATE TABLE public.jobs (
    id uuid NOT NULL,
    dataset text NOT NULL,
    mode text NOT NULL,
    engine text NOT NULL,
    force boolean NOT NULL,
    max_rejected_ratio double precision NOT NULL,
    idempotency_key text,
    parent_id uuid,
    state text DEFAULT 'queued'::text NOT NULL,
    outcome text,
    attempt integer DEFAULT 0 NOT NULL,
    worker text,
    lease_expires_at timestamp with time zone,
    stage text,
    progress_done bigint,
    progress_total bigint,
    progress_unit text,
    timings_ms jsonb DEFAULT '{}'::jsonb NOT NULL,
    inputs json DEFAULT '[]'::json NOT NULL,
    reconciled boolean,
    error_code text,
    error_detail text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    rung_at timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    outcome_detail text,
    lease_session text,
    CONSTRAINT jobs_attempt CHECK (((attempt >= 0) AND (attempt <= 3))),
    CONSTRAINT jobs_failed CHECK (((state = 'failed'::text) = (error_code IS NOT NULL))),
    CONSTRAINT jobs_finished CHECK (((state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'cancelled'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT jobs_lease CHECK (((state = 'running'::text) = (lease_expires_at IS NOT NULL))),
    CONSTRAINT jobs_max_rejected_ratio_check CHECK (((max_rejected_ratio >= (0)::double precision) AND (max_rejected_ratio <= (1)::double precision))),
    CONSTRAINT jobs_mode CHECK ((mode = ANY (ARRAY['publish'::text, 'dry_run'::text]))),
    CONSTRAINT jobs_outcome CHECK ((outcome = ANY (ARRAY['published'::text, 'unchanged'::text, 'held'::text, 'dry_run'::text]))),
    CONSTRAINT jobs_state CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT jobs_succeeded CHECK (((state = 'succeeded'::text) = (outcome IS NOT NULL)))
);
COMMENT ON COLUMN public.jobs.state IS 'queued -> running (claim); running -> succeeded, failed (by the attempt that holds the lease);
             running -> failed (by the sweeper, at the time limit);
             running -> queued (worker gone, hanging or stopping, or something was not there; three attempts at most);
             queued, running -> cancelled. The last three never change again.';
COMMENT ON COLUMN public.jobs.attempt IS 'The fence: only the attempt that claimed the row may finish it';
COMMENT ON COLUMN public.jobs.due_at IS 'A queued job is not claimed before this';
COMMENT ON COLUMN public.jobs.rung_at IS 'When the queue was last told of this job';
COMMENT ON COLUMN public.jobs.lease_session IS 'The session that renewed the lease last, one of the worker process that runs the job';
CREATE TABLE public.rejections (
    id bigint NOT NULL,
    job_id uuid NOT NULL,
    file text NOT NULL,
    line bigint NOT NULL,
    "column" text,
    code text NOT NULL,
    message text NOT NULL,
    value text
);
ALTER TABLE public.rejections ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.rejections_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.user_feature_versions (
    job_id uuid NOT NULL,
    user_id bigint NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    signup_date date NOT NULL,
    total_experiments bigint,
    average_run_time double precision,
    most_common_compound_id bigint,
    most_common_compound_name text,
    most_common_compound_uses bigint,
    most_common_compound_ids bigint[],
    experiment_share double precision
)
PARTITION BY LIST (job_id);
COMMENT ON TABLE public.user_feature_versions IS 'One partition for each version that is kept; the feature columns are made from the catalogue';
CREATE TABLE public.user_feature_versions_01a217d65e8e74a3b3c7d1e709f2ed7c (
    job_id uuid DEFAULT '01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c'::uuid NOT NULL,
    user_id bigint NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    signup_date date NOT NULL,
    total_experiments bigint,
    average_run_time double precision,
    most_common_compound_id bigint,
    most_common_compound_name text,
    most_common_compound_uses bigint,
    most_common_compound_ids bigint[],
    experiment_share double precision,
    CONSTRAINT user_feature_versions_01a217d65e8e74a3b3c7d1e709f2_job_id_check CHECK ((job_id = '01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c'::uuid))
);
CREATE TABLE public.user_feature_versions_01a217d66cea77139dd902d01a95785b (
    job_id uuid DEFAULT '01a217d6-6cea-7713-9dd9-02d01a95785b'::uuid NOT NULL,
    user_id bigint NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    signup_date date NOT NULL,
    total_experiments bigint,
    average_run_time double precision,
    most_common_compound_id bigint,
    most_common_compound_name text,
    most_common_compound_uses bigint,
    most_common_compound_ids bigint[],
    experiment_share double precision,
    CONSTRAINT user_feature_versions_01a217d66cea77139dd902d01a95_job_id_check CHECK ((job_id = '01a217d6-6cea-7713-9dd9-02d01a95785b'::uuid))
);
CREATE TABLE public.user_feature_versions_01a217d66ef57c129415d3fb0df25ad6 (
    job_id uuid DEFAULT '01a217d6-6ef5-7c12-9415-d3fb0df25ad6'::uuid NOT NULL,
    user_id bigint NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    signup_date date NOT NULL,
    total_experiments bigint,
    average_run_time double precision,
    most_common_compound_id bigint,
    most_common_compound_name text,
    most_common_compound_uses bigint,
    most_common_compound_ids bigint[],
    experiment_share double precision,
    CONSTRAINT user_feature_versions_01a217d66ef57c129415d3fb0df2_job_id_check CHECK ((job_id = '01a217d6-6ef5-7c12-9415-d3fb0df25ad6'::uuid))
);
CREATE VIEW public.user_features AS
 SELECT version.dataset,
    "row".user_id,
    "row".name,
    "row".email,
    "row".signup_date,
    "row".total_experiments,
    "row".average_run_time,
    "row".most_common_compound_id,
    "row".most_common_compound_name,
    "row".most_common_compound_uses,
    "row".most_common_compound_ids,
    "row".experiment_share,
    version.job_id,
    version.computed_at
   FROM ((public.datasets dataset
     JOIN public.dataset_versions version ON ((version.job_id = dataset.published_job_id)))
     CROSS JOIN LATERAL ( SELECT user_feature_versions.user_id,
            user_feature_versions.name,
            user_feature_versions.email,
            user_feature_versions.signup_date,
            user_feature_versions.total_experiments,
            user_feature_versions.average_run_time,
            user_feature_versions.most_common_compound_id,
            user_feature_versions.most_common_compound_name,
            user_feature_versions.most_common_compound_uses,
            user_feature_versions.most_common_compound_ids,
            user_feature_versions.experiment_share
           FROM public.user_feature_versions
          WHERE (user_feature_versions.job_id = dataset.published_job_id)
          ORDER BY user_feature_versions.job_id) "row");
COMMENT ON VIEW public.user_features IS 'Each dataset''s published version. Made by etl/schema.py: 53d433cdc7d31014177d6214d6564f531f5f896ef7ccba35e63da15832baa207';
CREATE TABLE public.worker_heartbeats (
    worker text NOT NULL,
    seen_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.user_feature_versions ATTACH PARTITION public.user_feature_versions_01a217d65e8e74a3b3c7d1e709f2ed7c FOR VALUES IN ('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c');
ALTER TABLE ONLY public.user_feature_versions ATTACH PARTITION public.user_feature_versions_01a217d66cea77139dd902d01a95785b FOR VALUES IN ('01a217d6-6cea-7713-9dd9-02d01a95785b');
ALTER TABLE ONLY public.user_feature_versions ATTACH PARTITION public.user_feature_versions_01a217d66ef57c129415d3fb0df25ad6 FOR VALUES IN ('01a217d6-6ef5-7c12-9415-d3fb0df25ad6');
INSERT INTO public.alembic_version VALUES
	('0003');
INSERT INTO public.dataset_versions VALUES
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 'default', '64ee5a11186d3ad3b0a22e250472171251f90469640d9bcc4d23bf6ed892dc8e', '2026-11-26 12:30:58.147653+00', 'published', NULL, 14, 12, 37, 2.642857142857143, 3.0833333333333335, 2.324324324324324),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 'default', 'ff4df03cf259dad0f7b4979ba72f16e578fe02f2fb4c2a0ae07683baba75201a', '2026-11-26 12:30:58.671325+00', 'published', NULL, 14, 12, 38, 2.7142857142857144, 3.1666666666666665, 2.3157894736842106),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 'default', 'ff4df03cf259dad0f7b4979ba72f16e578fe02f2fb4c2a0ae07683baba75201a', '2026-11-26 12:30:59.030024+00', 'dry_run', NULL, 14, 12, 38, 2.7142857142857144, 3.1666666666666665, 2.3157894736842106);
INSERT INTO public.datasets VALUES
	('default', '01a217d6-6cea-7713-9dd9-02d01a95785b');
INSERT INTO public.jobs VALUES
	('01a217d6-6ff8-766d-9f56-b3eb6a1134be', 'default', 'publish', 'duckdb', false, 0.1, NULL, NULL, 'running', NULL, 1, 'test', '2026-11-26 12:31:19.066032+00', NULL, NULL, NULL, NULL, '{"queued": 1.3}', '[]', NULL, NULL, NULL, '2026-11-26 12:30:59.064767+00', '2026-11-26 12:30:59.064767+00', '2026-11-26 12:30:59.064767+00', '2026-11-26 12:30:59.066032+00', NULL, NULL, '16930 since 1795696254.577242'),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 'default', 'publish', 'duckdb', false, 0.1, NULL, NULL, 'succeeded', 'published', 1, 'in-process', NULL, NULL, 0, 0, 'rows', '{"load": 146.9, "derive": 251.2, "queued": 18.9, "extract": 1125.2, "publish": 103.8, "validate": 1823.6}', '[{"file": "users.csv", "sha256": "e8580a136b7265301112f49186f520bd1ce5f24f89d56c99279c7f0f19dc9ed9", "bytes": 597, "read": 14, "accepted": 14, "duplicate": 0, "rejected": 0, "codes": {}, "dialect": {"separator": ",", "bom": false, "header_changes": {}, "ignored_columns": [], "encoding": "utf-8"}}, {"file": "compounds.csv", "sha256": "aa6bfd960e790d26209b9491c0a39489b694c0f13302a9976349ef73f7352206", "bytes": 456, "read": 12, "accepted": 12, "duplicate": 0, "rejected": 0, "codes": {}, "dialect": {"separator": ",", "bom": false, "header_changes": {}, "ignored_columns": [], "encoding": "utf-8"}}, {"file": "user_experiments.csv", "sha256": "03eb1d35f3e330cf8a68ae87af6673efe8eb0fe3e2a8ba647e87e21247ca0e4d", "bytes": 691, "read": 37, "accepted": 37, "duplicate": 0, "rejected": 0, "codes": {}, "dialect": {"separator": ",", "bom": false, "header_changes": {}, "ignored_columns": [], "encoding": "utf-8"}}]', true, NULL, NULL, '2026-11-26 12:30:54.607916+00', '2026-11-26 12:30:54.607916+00', '2026-11-26 12:30:54.607916+00', '2026-11-26 12:30:54.626837+00', '2026-11-26 12:30:58.258648+00', NULL, '17134 since 1795696258.210512'),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 'default', 'publish', 'duckdb', false, 0.1, NULL, NULL, 'succeeded', 'published', 1, 'in-process', NULL, NULL, 27, 65, 'lines', '{"load": 38.7, "derive": 93.3, "queued": 5.6, "compare": 0.9, "extract": 47.5, "publish": 68.3, "validate": 145.6}', '[{"file": "users.csv", "sha256": "e8580a136b7265301112f49186f520bd1ce5f24f89d56c99279c7f0f19dc9ed9", "bytes": 597, "read": 14, "accepted": 14, "duplicate": 0, "rejected": 0, "codes": {}, "dialect": {"separator": ",", "bom": false, "header_changes": {}, "ignored_columns": [], "encoding": "utf-8"}}, {"file": "compounds.csv", "sha256": "aa6bfd960e790d26209b9491c0a39489b694c0f13302a9976349ef73f7352206", "bytes": 456, "read": 12, "accepted": 12, "duplicate": 0, "rejected": 0, "codes": {}, "dialect": {"separator": ",", "bom": false, "header_changes": {}, "ignored_columns": [], "encoding": "utf-8"}}, {"file": "user_experiments.csv", "sha256": "9f0fe37d0edbc1e698fd276ef1b5e9262ffc0a5d488ed0e7df1b85fe7e771394", "bytes": 724, "read": 39, "accepted": 38, "duplicate": 0, "rejected": 1, "codes": {"unknown_user": 1}, "dialect": {"separator": ",", "bom": false, "header_changes": {}, "ignored_columns": [], "encoding": "utf-8"}}]', true, NULL, NULL, '2026-11-26 12:30:58.289705+00', '2026-11-26 12:30:58.289705+00', '2026-11-26 12:30:58.289705+00', '2026-11-26 12:30:58.295342+00', '2026-11-26 12:30:58.741174+00', NULL, '17134 since 1795696258.210512'),
	('01a217d6-6ec7-7293-bb65-fd4b923393d1', 'default', 'publish', 'duckdb', false, 0.1, NULL, NULL, 'failed', NULL, 1, 'in-process', NULL, NULL, NULL, NULL, NULL, '{"queued": 1.6, "compare": 0.5, "extract": 4.6}', '[]', NULL, 'missing_column', 'users.csv line 1, column email: is missing; the columns of the contract are user_id, name, email, signup_date', '2026-11-26 12:30:58.759335+00', '2026-11-26 12:30:58.759335+00', '2026-11-26 12:30:58.759335+00', '2026-11-26 12:30:58.760923+00', '2026-11-26 12:30:58.802508+00', NULL, '16930 since 1795696254.577242'),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 'default', 'dry_run', 'duckdb', false, 0.1, NULL, NULL, 'succeeded', 'dry_run', 1, 'in-process', NULL, NULL, NULL, NULL, NULL, '{"load": 17.8, "derive": 31.3, "queued": 1.4, "extract": 19.4, "publish": 8.0, "validate": 69.4}', '[{"file": "users.csv", "sha256": "e8580a136b7265301112f49186f520bd1ce5f24f89d56c99279c7f0f19dc9ed9", "bytes": 597, "read": 14, "accepted": 14, "duplicate": 0, "rejected": 0, "codes": {}, "dialect": {"separator": ",", "bom": false, "header_changes": {}, "ignored_columns": [], "encoding": "utf-8"}}, {"file": "compounds.csv", "sha256": "aa6bfd960e790d26209b9491c0a39489b694c0f13302a9976349ef73f7352206", "bytes": 456, "read": 12, "accepted": 12, "duplicate": 0, "rejected": 0, "codes": {}, "dialect": {"separator": ",", "bom": false, "header_changes": {}, "ignored_columns": [], "encoding": "utf-8"}}, {"file": "user_experiments.csv", "sha256": "9f0fe37d0edbc1e698fd276ef1b5e9262ffc0a5d488ed0e7df1b85fe7e771394", "bytes": 724, "read": 39, "accepted": 38, "duplicate": 0, "rejected": 1, "codes": {"unknown_user": 1}, "dialect": {"separator": ",", "bom": false, "header_changes": {}, "ignored_columns": [], "encoding": "utf-8"}}]', true, NULL, NULL, '2026-11-26 12:30:58.805758+00', '2026-11-26 12:30:58.805758+00', '2026-11-26 12:30:58.805758+00', '2026-11-26 12:30:58.80715+00', '2026-11-26 12:30:59.046751+00', NULL, '17134 since 1795696258.210512');
INSERT INTO public.rejections OVERRIDING SYSTEM VALUE VALUES
	(1, '01a217d6-6cea-7713-9dd9-02d01a95785b', 'user_experiments.csv', 41, 'user_id', 'unknown_user', 'no accepted line of users.csv has this id', '99'),
	(2, '01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 'user_experiments.csv', 41, 'user_id', 'unknown_user', 'no accepted line of users.csv has this id', '99');
INSERT INTO public.user_feature_versions_01a217d65e8e74a3b3c7d1e709f2ed7c VALUES
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 14, 'Nadia', 'nadia@example.com', '2023-11-19', 1, 60, 1, 'Ethanol', 1, '{1,2,3,4,5,6,7,8,9,10,11,12}', 0.02702702702702703),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 10, 'Jonas', 'jonas@example.com', '2023-07-22', 3, 11.166666666666666, 2, 'Acetone', 2, '{2,10,11}', 0.08108108108108109),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 8, 'Hiroshi', 'hiroshi@example.com', '2023-06-12', 3, 6, 3, 'Benzene', 3, '{3}', 0.08108108108108109),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 2, 'Bob', 'bob@example.com', '2023-02-15', 2, 9.25, 4, 'Aspirin', 2, '{4,9}', 0.05405405405405406),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 3, 'Carol', 'carol@example.com', '2023-03-10', 10, 10.2, 5, 'Caffeine', 7, '{5}', 0.2702702702702703),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 4, 'Dmitri', 'dmitri@example.com', '2023-03-28', 2, 19.5, 6, 'Paracetamol', 2, '{6}', 0.05405405405405406),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 5, 'Élodie', 'elodie@example.com', '2023-04-20', 2, 16.75, 7, 'Ibuprofen', 2, '{7}', 0.05405405405405406),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 6, 'Farid', 'farid@example.com', '2023-05-05', 3, 2.9166666666666665, 8, 'Glucose', 2, '{8,9}', 0.08108108108108109),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 9, 'Inés', 'ines@example.com', '2023-07-01', 3, 11.5, 10, 'Nicotine', 2, '{10,11}', 0.08108108108108109),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 12, 'Liam', 'liam@example.com', '2023-09-14', 3, 32.5, 12, 'Toluene', 3, '{12}', 0.08108108108108109),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 11, 'Kavya', 'kavya@example.com', '2023-08-09', 2, 12, 1, 'Ethanol', 2, '{1}', 0.05405405405405406),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 1, 'Alice', 'alice@example.com', '2023-01-01', 3, 9.333333333333334, 4, 'Aspirin', 3, '{4}', 0.08108108108108109),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 13, 'Mei', 'mei@example.com', '2023-10-02', 0, NULL, NULL, NULL, NULL, NULL, 0),
	('01a217d6-5e8e-74a3-b3c7-d1e709f2ed7c', 7, 'Grace', 'grace@example.com', '2023-05-30', 0, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO public.user_feature_versions_01a217d66cea77139dd902d01a95785b VALUES
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 11, 'Kavya', 'kavya@example.com', '2023-08-09', 2, 12, 1, 'Ethanol', 2, '{1}', 0.05263157894736842),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 14, 'Nadia', 'nadia@example.com', '2023-11-19', 2, 33.25, 2, 'Acetone', 2, '{2,7}', 0.05263157894736842),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 8, 'Hiroshi', 'hiroshi@example.com', '2023-06-12', 3, 6, 3, 'Benzene', 3, '{3}', 0.07894736842105263),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 2, 'Bob', 'bob@example.com', '2023-02-15', 2, 9.25, 4, 'Aspirin', 2, '{4,9}', 0.05263157894736842),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 3, 'Carol', 'carol@example.com', '2023-03-10', 10, 10.2, 5, 'Caffeine', 7, '{5}', 0.2631578947368421),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 4, 'Dmitri', 'dmitri@example.com', '2023-03-28', 2, 19.5, 6, 'Paracetamol', 2, '{6}', 0.05263157894736842),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 5, 'Élodie', 'elodie@example.com', '2023-04-20', 2, 16.75, 7, 'Ibuprofen', 2, '{7}', 0.05263157894736842),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 6, 'Farid', 'farid@example.com', '2023-05-05', 3, 2.9166666666666665, 8, 'Glucose', 2, '{8,9}', 0.07894736842105263),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 9, 'Inés', 'ines@example.com', '2023-07-01', 3, 11.5, 10, 'Nicotine', 2, '{10,11}', 0.07894736842105263),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 12, 'Liam', 'liam@example.com', '2023-09-14', 3, 32.5, 12, 'Toluene', 3, '{12}', 0.07894736842105263),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 10, 'Jonas', 'jonas@example.com', '2023-07-22', 3, 11.166666666666666, 2, 'Acetone', 2, '{2,10,11}', 0.07894736842105263),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 1, 'Alice', 'alice@example.com', '2023-01-01', 3, 9.333333333333334, 4, 'Aspirin', 3, '{4}', 0.07894736842105263),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 13, 'Mei', 'mei@example.com', '2023-10-02', 0, NULL, NULL, NULL, NULL, NULL, 0),
	('01a217d6-6cea-7713-9dd9-02d01a95785b', 7, 'Grace', 'grace@example.com', '2023-05-30', 0, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO public.user_feature_versions_01a217d66ef57c129415d3fb0df25ad6 VALUES
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 11, 'Kavya', 'kavya@example.com', '2023-08-09', 2, 12, 1, 'Ethanol', 2, '{1}', 0.05263157894736842),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 14, 'Nadia', 'nadia@example.com', '2023-11-19', 2, 33.25, 2, 'Acetone', 2, '{2,7}', 0.05263157894736842),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 8, 'Hiroshi', 'hiroshi@example.com', '2023-06-12', 3, 6, 3, 'Benzene', 3, '{3}', 0.07894736842105263),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 2, 'Bob', 'bob@example.com', '2023-02-15', 2, 9.25, 4, 'Aspirin', 2, '{4,9}', 0.05263157894736842),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 3, 'Carol', 'carol@example.com', '2023-03-10', 10, 10.2, 5, 'Caffeine', 7, '{5}', 0.2631578947368421),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 4, 'Dmitri', 'dmitri@example.com', '2023-03-28', 2, 19.5, 6, 'Paracetamol', 2, '{6}', 0.05263157894736842),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 5, 'Élodie', 'elodie@example.com', '2023-04-20', 2, 16.75, 7, 'Ibuprofen', 2, '{7}', 0.05263157894736842),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 6, 'Farid', 'farid@example.com', '2023-05-05', 3, 2.9166666666666665, 8, 'Glucose', 2, '{8,9}', 0.07894736842105263),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 9, 'Inés', 'ines@example.com', '2023-07-01', 3, 11.5, 10, 'Nicotine', 2, '{10,11}', 0.07894736842105263),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 12, 'Liam', 'liam@example.com', '2023-09-14', 3, 32.5, 12, 'Toluene', 3, '{12}', 0.07894736842105263),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 10, 'Jonas', 'jonas@example.com', '2023-07-22', 3, 11.166666666666666, 2, 'Acetone', 2, '{2,10,11}', 0.07894736842105263),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 1, 'Alice', 'alice@example.com', '2023-01-01', 3, 9.333333333333334, 4, 'Aspirin', 3, '{4}', 0.07894736842105263),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 13, 'Mei', 'mei@example.com', '2023-10-02', 0, NULL, NULL, NULL, NULL, NULL, 0),
	('01a217d6-6ef5-7c12-9415-d3fb0df25ad6', 7, 'Grace', 'grace@example.com', '2023-05-30', 0, NULL, NULL, NULL, NULL, NULL, 0);
SELECT pg_catalog.setval('public.rejections_id_seq', 2, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.dataset_versions
    ADD CONSTRAINT dataset_versions_pkey PRIMARY KEY (job_id);
ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT datasets_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_idempotency_key UNIQUE (idempotency_key);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.rejections
    ADD CONSTRAINT rejections_pkey PRIMARY KEY (job_id, id);
ALTER TABLE ONLY public.user_feature_versions
    ADD CONSTRAINT user_feature_versions_pkey PRIMARY KEY (job_id, user_id);
ALTER TABLE ONLY public.user_feature_versions_01a217d65e8e74a3b3c7d1e709f2ed7c
    ADD CONSTRAINT user_feature_versions_01a217d65e8e74a3b3c7d1e709f2ed7c_pkey PRIMARY KEY (job_id, user_id);
ALTER TABLE ONLY public.user_feature_versions_01a217d66cea77139dd902d01a95785b
    ADD CONSTRAINT user_feature_versions_01a217d66cea77139dd902d01a95785b_pkey PRIMARY KEY (job_id, user_id);
ALTER TABLE ONLY public.user_feature_versions_01a217d66ef57c129415d3fb0df25ad6
    ADD CONSTRAINT user_feature_versions_01a217d66ef57c129415d3fb0df25ad6_pkey PRIMARY KEY (job_id, user_id);
ALTER TABLE ONLY public.worker_heartbeats
    ADD CONSTRAINT worker_heartbeats_pkey PRIMARY KEY (worker);
CREATE INDEX jobs_newest ON public.jobs USING btree (created_at DESC, id DESC);
CREATE INDEX jobs_of_dataset ON public.jobs USING btree (dataset, created_at DESC, id DESC);
CREATE UNIQUE INDEX jobs_one_running_per_dataset ON public.jobs USING btree (dataset) WHERE (state = 'running'::text);
CREATE INDEX jobs_queued ON public.jobs USING btree (created_at, id) WHERE (state = 'queued'::text);
ALTER INDEX public.user_feature_versions_pkey ATTACH PARTITION public.user_feature_versions_01a217d65e8e74a3b3c7d1e709f2ed7c_pkey;
ALTER INDEX public.user_feature_versions_pkey ATTACH PARTITION public.user_feature_versions_01a217d66cea77139dd902d01a95785b_pkey;
ALTER INDEX public.user_feature_versions_pkey ATTACH PARTITION public.user_feature_versions_01a217d66ef57c129415d3fb0df25ad6_pkey;
ALTER TABLE ONLY public.dataset_versions
    ADD CONSTRAINT dataset_versions_dataset_fkey FOREIGN KEY (dataset) REFERENCES public.datasets(name);
ALTER TABLE ONLY public.dataset_versions
    ADD CONSTRAINT dataset_versions_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id);
ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT datasets_published_job_id_fkey FOREIGN KEY (published_job_id) REFERENCES public.dataset_versions(job_id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_dataset_fkey FOREIGN KEY (dataset) REFERENCES public.datasets(name);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES public.jobs(id);
