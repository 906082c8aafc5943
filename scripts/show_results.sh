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
# shellcheck source=service/refuse.sh
source "$here/service/refuse.sh"
# shellcheck source=service/native.sh
source "$here/service/native.sh"
# shellcheck source=service/inside.sh
source "$here/service/inside.sh"

main() {
  case ${1:-} in
    -h | --help) usage; exit ;;
    -*) misused "there is no option $1" ;;
  esac
  (($# <= 1)) || misused "one file at most"
  local sql=${1:-$here/results.sql}
  [[ -r $sql && ! -d $sql ]] || die "cannot read $sql: it is to be a file with SQL"
  refuse_absent_service

  in_service psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --pset pager=off <"$sql" \
    || die "the database did not take $sql: see above"
}

main "$@"
