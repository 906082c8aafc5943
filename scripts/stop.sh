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
# shellcheck source=service/native.sh
source "$here/service/native.sh"

main() {
  local purge=false
  case ${1:-} in
    '') ;;
    --purge) purge=true ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 64 ;;
  esac
  (($# <= 1)) || { usage >&2; exit 64; }

  local found=false
  if command -v docker >/dev/null && timeout 20 docker version >/dev/null 2>&1; then
    stop_container
  fi
  if native_stop; then
    found=true
    echo "Stopped the service on this machine."
  fi
  if $purge && [[ -e $native_base/app/supervisord.conf ]]; then
    found=true
    rm -rf "$native_base"
    echo "Deleted $native_base."
  fi
  $found || echo "Nothing of scripts/run.sh is running."
}

stop_container() {
  if [[ $(docker inspect --type container --format '{{index .Config.Labels "started-by"}}' "$name" 2>/dev/null) == scripts/run.sh ]]; then
    found=true
    docker stop "$name" >/dev/null
    docker rm "$name" >/dev/null
    echo "Stopped and removed the container $name."
  fi
  if $purge && docker volume inspect "$name" >/dev/null 2>&1; then
    found=true
    docker volume rm "$name" >/dev/null
    echo "Deleted the volume $name."
  fi
}

main "$@"
