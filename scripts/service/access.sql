-- Who may do what in the embedded database. scripts/start.sh runs this before each start of the server, so that it
-- also reaches a volume that an older image made. Each statement ends with ";" and an empty line.

-- The service's role makes tables. It need not be able to drop or to open the database.
ALTER DATABASE experiment_etl OWNER TO postgres;

REVOKE ALL ON DATABASE experiment_etl FROM PUBLIC;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;

GRANT CONNECT, TEMPORARY ON DATABASE experiment_etl TO etl;

GRANT USAGE, CREATE ON SCHEMA public TO etl;

GRANT CONNECT ON DATABASE experiment_etl TO reader;

-- Readers leave connections to the service, and space to the volume. The two timeouts keep a forgotten session from
-- holding up the dropping of a version; a reader may set them otherwise for a session, but not the other two.
ALTER ROLE reader RESET ALL;

ALTER ROLE reader CONNECTION LIMIT 20;

ALTER ROLE reader SET temp_file_limit = '4GB';

ALTER ROLE reader SET statement_timeout = '1h';

ALTER ROLE reader SET idle_in_transaction_session_timeout = '5min';

-- What everybody may do by default, although it writes (large objects, notifications, the log) or holds up a start (the
-- migrations' lock).
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^(lo_|loread|lowrite)|_advisory_|^pg_notify$|^pg_logical_emit_message$'
            AND has_function_privilege('reader', oid, 'EXECUTE')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO etl', function);
    END LOOP;
END $$;

