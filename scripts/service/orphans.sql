-- The files of no table: a server that was killed while it filled a new one never comes back to them. Only where no
-- other process of the cluster lives is every such file an orphan; scripts/start.sh asks there.
SELECT 'base/' || database.oid || '/' || file
FROM pg_database AS database
CROSS JOIN pg_ls_dir('base/' || database.oid) AS file
CROSS JOIN substring(file, '^[0-9]+') AS number
WHERE database.datname = current_database()
    -- A relation, its free space or visibility map, or what resets an unlogged one; all in segments.
    AND file ~ '^[0-9]{5,10}(_(fsm|vm|init))?([.][0-9]+)?$'
    -- Below are those that initdb made.
    AND number::bigint >= 16384
    AND NOT EXISTS (
        SELECT FROM pg_class
        -- The catalogue's own are mapped elsewhere. Read from the row where it is there: no index has a say in it.
        WHERE coalesce(nullif(relfilenode, 0), pg_relation_filenode(oid))::bigint = number::bigint
    )
    -- The rows of a prepared transaction cannot be seen, and may yet be committed.
    AND NOT EXISTS (SELECT FROM pg_prepared_xacts)
