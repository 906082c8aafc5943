#!/usr/bin/env bash
# Runs SQL in the service's database, as the role that owns the data, and prints tables.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: show_results.sh [SQL-FILE]

Runs scripts/results.sql, or another file, in the database of the service that scripts/run.sh started,
in a container or on this machine. CONTAINER names another container to ask (docker-compose: the one of
the service `postgres`).
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=service/native.sh
source "$here/service/native.sh"

main() {
  case ${1:-} in
    -h | --help) usage; exit ;;
    -*) usage >&2; exit 64 ;;
  esac
  (($# <= 1)) || { usage >&2; exit 64; }
  local sql=${1:-$here/results.sql} container=${CONTAINER:-${EXPERIMENT_ETL_NAME:-experiment-etl}}
  [[ -r $sql ]] || die "cannot read $sql"

  local psql=(psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --pset pager=off)
  if native_pid >/dev/null && [[ -z ${CONTAINER:-} ]]; then
    local socket
    socket=$("${as_service[@]}" find "$native_base/run" -name '.s.PGSQL.*' -type s -print -quit)
    [[ -n $socket ]] || die "the service on this machine has no database of its own"
    "${as_service[@]}" "${psql[@]}" --host="$native_base/run" --port="${socket##*.}" --username=etl experiment_etl <"$sql"
  elif docker container inspect "$container" >/dev/null 2>&1; then
    docker exec --interactive "$container" "${psql[@]}" <"$sql"
  else
    die "the service is not running: scripts/run.sh starts it"
  fi
}

die() {
  printf 'show_results.sh: %s\n' "$*" >&2
  exit 1
}

main "$@"
