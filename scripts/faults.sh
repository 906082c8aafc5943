#!/usr/bin/env bash
# Kills, freezes and starves the real container, and checks what must hold all the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: scripts/faults.sh [--long] [--steady S] [--side-by-side N] [--results DIR] [CASE...]
       scripts/faults.sh --list
       scripts/faults.sh --table FILE...

Builds the image, injects one fault after the other into fresh containers of it, checks the invariants of
docs/faults.md after each, and prints a table. Ends non-zero when an invariant broke. It needs a Docker engine.

  CASE           words of a case's name, such as worker or "redis is killed"; without any, all cases
  --long         every case as often as docs/faults.md says: hours instead of minutes
  --steady S     how many seconds the steady load lasts; 60, and 3600 with --long
  --side-by-side N
                 so many cases at a time: sooner done, and the figures are worth less
  --results DIR  where results.jsonl and the logs of failed cases go; a new folder in /tmp by default
  --list         the cases
  --table        the table of these results.jsonl, and nothing else
USAGE
}

results='' side_by_side=0 cases=()
while (($#)); do
  case $1 in
    -h | --help) usage; exit ;;
    --long) export FAULTS_LONG=1 ;;
    --steady) export FAULTS_STEADY_S=${2:?"--steady needs seconds"}; shift ;;
    --side-by-side) side_by_side=${2:?"--side-by-side needs a number"}; shift ;;
    --results) results=${2:?"--results needs a folder"}; shift ;;
    --list) exec "$(scripts/venv.sh)/bin/python" -m pytest -m faults tests/faults --collect-only --quiet ;;
    --table) shift; exec "$(scripts/venv.sh)/bin/python" -m tests.faults.report "$@" ;;
    -*) usage >&2; exit 64 ;;
    *) cases+=("$1") ;;
  esac
  shift
done

if ! compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; then
  echo "scripts/faults.sh: installing libfaketime, for the clock that is wrong" >&2
  as_root=()
  ((EUID == 0)) || as_root=(sudo)
  "${as_root[@]}" apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install --quiet=2 --yes --no-install-recommends libfaketime >&2
fi

results=${results:-$(mktemp --directory --tmpdir experiment-etl-faults.XXXXXX)}
mkdir -p "$results"
export FAULTS_RESULTS=$results

selection=''
for each in ${cases[@]+"${cases[@]}"}; do
  selection+=${selection:+ or }${each// /_}
done
python=$(scripts/venv.sh)/bin/python
status=0
"$python" -m pytest -m faults tests/faults --numprocesses "$side_by_side" ${selection:+-k "$selection"} || status=$?
echo
"$python" -m tests.faults.report "$results/results.jsonl" || status=$?
echo "Results and logs: $results"
exit "$status"
