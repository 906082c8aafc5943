#!/usr/bin/env bash
# The whole way once: starts the service, runs a job on the sample data, shows what came out.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: demo.sh [--data DIR] [--port N] [--native]

scripts/run.sh, scripts/trigger_etl.sh and scripts/show_results.sh in a row; the options are run.sh's.
The service keeps running: scripts/stop.sh stops it.
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=8000
arguments=("$@")
while (($#)); do
  case $1 in
    -h | --help) usage; exit ;;
    --port) port=${2:-}; shift 2 || shift ;;
    --data) shift 2 || shift ;; # run.sh says what is wrong with it
    --native) shift ;;
    *) echo "demo.sh: there is no option $1" >&2; usage >&2; exit 64 ;;
  esac
done

"$here/run.sh" "${arguments[@]}"
BASE_URL=http://127.0.0.1:$port "$here/trigger_etl.sh"
"$here/show_results.sh"
