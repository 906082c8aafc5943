#!/usr/bin/env bash
# Stops what run.sh started, in a container or on this machine.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: stop.sh [--purge]

Stops the service that scripts/run.sh started and removes its container. The data stay, unless
  --purge  deletes them too: all jobs, all versions of the features, and what was installed for it
           (the image and packages of the system stay)
USAGE
}

readonly name=${EXPERIMENT_ETL_NAME:-experiment-etl}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=service/refuse.sh
source "$here/service/refuse.sh"
# shellcheck source=service/native.sh
source "$here/service/native.sh"

main() {
  local purge=false
  case ${1:-} in
    '') ;;
    --purge) purge=true ;;
    -h | --help) usage; exit ;;
    *) misused "there is no option $1" ;;
  esac
  (($# <= 1)) || misused "there is no option $2"

  local found=false answer
  if command -v docker >/dev/null; then
    if answer=$(timeout 20 docker version 2>&1); then
      stop_container
    elif [[ $answer == *'permission denied'* ]]; then
      native_pid >/dev/null || die "there is a Docker Engine, but you may not use it: run this as root or as a member of the group docker"
    fi
  fi
  if native_stop; then
    found=true
    echo "Stopped the service on this machine."
    $purge || echo "Its data stay in $native_base: scripts/run.sh --native goes on with them."
  fi
  if $purge && [[ -e $native_base/app/supervisord.conf ]]; then
    found=true
    rm -rf "$native_base"
    echo "Deleted $native_base."
  fi
  $found || echo "Nothing of scripts/run.sh is running${EXPERIMENT_ETL_NAME:+ under the name $name}."
}

stop_container() {
  if [[ $(docker inspect --type container --format '{{index .Config.Labels "started-by"}}' "$name" 2>/dev/null) == scripts/run.sh ]]; then
    found=true
    docker stop "$name" >/dev/null
    docker rm "$name" >/dev/null
    echo "Stopped and removed the container $name."
    $purge || echo "Its data stay in the volume $name: scripts/run.sh goes on with them."
  fi
  if $purge && docker volume inspect "$name" >/dev/null 2>&1; then
    found=true
    docker volume rm "$name" >/dev/null
    echo "Deleted the volume $name."
  fi
}

main "$@"
