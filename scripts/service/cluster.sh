#!/usr/bin/env bash
# Writes a tar of a cluster with this version's schema, which start.sh unpacks where it would otherwise run initdb. For
# the Dockerfile, as the service's user. There is no password in it: start.sh sets those at each start.
set -euo pipefail

home=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
place=$(mktemp --directory)
export STATE_DIR=$place/state RUN_DIR=$place/run
cd "$home"

scripts/start.sh --supervised postgres >&2 &
until pg_isready --quiet --host "$RUN_DIR"; do
  kill -0 $!
  sleep 0.1
done
python -c '
from worker import database, migrations
from worker.settings import Settings
migrations.upgrade(database.engine(Settings.from_env()))'
kill -INT $!
wait $!
# All that it leaves is one empty segment of the log.
cluster=$(echo "$STATE_DIR"/postgres/[0-9]*)
pg_resetwal "$cluster" >&2
tar --create --directory "$cluster" . | zstd -19
rm -r "$place"
