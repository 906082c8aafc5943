# shellcheck shell=bash
# Puts a backup, a tar on stdin, in place of what the service has. $1: true, also where there are jobs.

readonly force=$1
folder=$STATE_DIR/restore datasets=$STATE_DIR/datasets

refuse() {
  say "$*"
  exit 1
}

check() {
  local format version revision postgres
  tar --extract --directory "$folder" || refuse "this is no backup, or not a whole one; nothing was changed"
  [[ -e $folder/manifest ]] || refuse "this is no backup of scripts/backup.sh; nothing was changed"
  (cd "$folder" && sha256sum --quiet --check SHA256SUMS >&2) || refuse "the backup is damaged; nothing was changed"
  read -r format version revision postgres <"$folder/manifest"
  if [[ $format != 1 ]] || ! compgen -G "worker/migrations/versions/${revision}_*.py" >/dev/null; then
    refuse "the backup was made by version $version, which is newer than this one: restore it with that; nothing was changed"
  fi
  if ((postgres > $(psql -Atc 'SHOW server_version_num') / 10000)); then
    refuse "the backup is of Postgres $postgres, which is newer than the one here; nothing was changed"
  fi
}

# Uploads wait from here to the end, and so does the removal of those that have no link. What is replaced is kept for as long
# as the database may come out as it was (worker/restores.py).
exchange_datasets() {
  local link upload
  mkdir -p "$datasets" "$folder/new" "$folder/copies"
  tar --extract --file "$folder/datasets.tar" --directory "$folder/new"
  psql -Atc "SELECT to_regclass('public.jobs')::oid" >"$folder/jobs"
  exec {uploads}<"$datasets"
  flock "$uploads"
  trap settle EXIT
  find "$datasets" -mindepth 1 -maxdepth 1 -type l -exec cp --no-dereference --target-directory "$folder/copies" {} +
  sync "$folder/jobs" "$folder/copies"
  mv "$folder/copies" "$folder/replaced"
  sync "$folder"
  find "$datasets" -mindepth 1 -maxdepth 1 -type l -delete
  for link in "$folder"/new/*; do
    [[ -L $link ]] || continue
    # By another name: the upload may be there, and be what an old link names.
    upload=$(mktemp --directory "$datasets/.upload-XXXXXXXX")
    mv "$folder/new/$(readlink "$link")/files" "$upload"
    ln --symbolic "${upload##*/}" "$datasets/${link##*/}"
  done
  sync --file-system "$datasets"
}

# The links go by what became of the database, whatever has ended this.
settle() {
  local lock
  for lock in ${uploads:-} ${alone:-}; do # which it is to take itself
    exec {lock}<&-
  done
  python -c '
from worker import database, restores
from worker.settings import Settings
settings = Settings.from_env()
restores.settle(database.engine(settings), settings)'
}

restore_database() {
  psql --no-psqlrc --quiet --single-transaction --set ON_ERROR_STOP=1 --set VERBOSITY=terse --no-align --tuples-only \
    --output "$folder/output" --file <(empty_database) --file <(dumped_database) --file <(count)
}

# In the same transaction: a worker goes on as soon as that is over.
count() {
  cat <<'SQL'
SELECT format(
    'Restored %s jobs and %s versions of %s datasets.',
    (SELECT count(*) FROM public.jobs), (SELECT count(*) FROM public.dataset_versions), (SELECT count(*) FROM public.datasets)
);
SQL
}

# What breaks off, also in the middle of rows, ends with what is no SQL.
dumped_database() {
  pg_restore --no-owner --no-privileges --file - "$folder/database" || printf '\\.\nit broke off;\n'
}

# Not only what the backup holds: a newer version's table or function would be in its own migration's way. What belongs to
# an extension stays.
empty_database() {
  cat <<SQL
SET lock_timeout = '30s';
SET client_min_messages = warning;
LOCK TABLE jobs;
DO \$\$
DECLARE
    relation record;
    routine record;
BEGIN
    IF NOT $force AND EXISTS (SELECT FROM jobs) THEN
        RAISE 'this service has jobs; with --force they are lost, and all versions and uploaded datasets with them';
    END IF;
    FOR relation IN
        SELECT oid::regclass AS name, relkind FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm', 'r', 'p') AND NOT relispartition
            AND relowner = current_user::regrole
        ORDER BY relkind = 'v' DESC, relkind = 'm' DESC
    LOOP
        IF to_regclass(relation.name::text) IS NOT NULL THEN
            EXECUTE format(
                'DROP %s %s CASCADE',
                CASE relation.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, relation.name
            );
        END IF;
    END LOOP;
    FOR routine IN
        SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner = current_user::regrole
            AND NOT EXISTS (
                SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
            )
    LOOP
        EXECUTE format('DROP ROUTINE %s CASCADE', routine.name);
    END LOOP;
END \$\$;
SQL
}

settle
own_folder
check
exchange_datasets
restore_database || refuse "the backup was not restored; nothing was changed"
restored=$(tail -n 1 "$folder/output")
settle
trap - EXIT
python -c '
from worker import database, migrations
from worker.settings import Settings
migrations.upgrade(database.engine(Settings.from_env()))'
echo "$restored"
