#!/usr/bin/env bash
# Puts what scripts/backup.sh saved into the running service.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: restore.sh [--force] FILE

Puts the job history, the versions and the uploaded datasets of FILE in place of those of the running service: all of
them or, where anything is wrong, none. The service must be of the same version as the one that was saved, or of a newer
one. Jobs that were waiting or running when they were saved run again.

  --force  also where the service has jobs already, which are then lost with all that they made

It asks the service that scripts/run.sh started, in a container or on this machine; CONTAINER names another container
(docker-compose: that of the service `api`).
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
  local force=false file=''
  while (($#)); do
    case $1 in
      --force) force=true ;;
      -h | --help) usage; exit ;;
      -*) misused "there is no option $1" ;;
      *)
        [[ -z $file ]] || misused "one file only"
        file=$1
        ;;
    esac
    shift
  done
  [[ -n $file ]] || misused "which FILE?"
  [[ -f $file && -r $file ]] || die "cannot read $file: it is to be a file that scripts/backup.sh wrote"
  refuse_absent_service

  local options=()
  ! $force || options=(--force)
  in_service python -c 'import sys; from importlib.util import find_spec; sys.exit(not find_spec("worker.load_backup"))' </dev/null \
    || die "the service is of an older version than this script: restore with the script of its own version"
  in_service python -m worker.load_backup "${options[@]}" <"$file" || {
    (($? == 1)) || die "it was killed; the service itself brings it to an end, or undoes it"
    exit 1
  }
  echo "What was running when it was saved runs again by itself, within half a minute. Next: scripts/show_results.sh"
}

main "$@"
