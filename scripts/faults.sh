#!/usr/bin/env bash
# Kills, freezes and starves the real container, and checks what must hold all the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: scripts/faults.sh [--long | --quick] [--steady S] [--results DIR] [CASE...]
       scripts/faults.sh --list
       scripts/faults.sh --table FILE...

Builds the image, injects one fault after the other into fresh containers of it, checks the invariants of
docs/faults.md after each, and prints a table. Ends non-zero when an invariant broke. It needs a Docker engine.

  CASE           words of a case's name, such as worker or "redis is killed"; without any, all cases
  --long         every case as often as docs/faults.md says: hours instead of minutes
  --quick        what CI injects: a case of each kind, in under ten minutes
  --steady S     how many seconds the steady load lasts; 60, and 3600 with --long
  --results DIR  where results.jsonl and the logs of failed cases go; a new folder in /tmp by default
  --list         the cases
  --table        the table of these results.jsonl, and nothing else
USAGE
}

# A case of each kind; none of those that wait for long or need much data.
quick=(
  "worker child" "postmaster" "backend of a copy" "api is killed" "redis is frozen" "container is killed at random"
  "first boot" "volume is full" "not a byte" "more memory" "cannot start[api]" "cancelled that waits"
  "queue is full" "have the same key and" "read[replaced]"
)
results='' cases=()
while (($#)); do
  case $1 in
    -h | --help) usage; exit ;;
    --long) export FAULTS_LONG=1 ;;
    --steady) export FAULTS_STEADY_S=${2:?"--steady needs seconds"}; shift ;;
    --quick) cases+=("${quick[@]}") ;;
    --results) results=${2:?"--results needs a folder"}; shift ;;
    --list) exec "$(scripts/venv.sh)/bin/python" -m pytest -m faults tests/faults --collect-only --quiet ;;
    --table) shift; exec "$(scripts/venv.sh)/bin/python" -m tests.faults.report "$@" ;;
    -*) echo "scripts/faults.sh: there is no option $1" >&2; usage >&2; exit 64 ;;
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
"$python" -m pytest -m faults tests/faults ${selection:+-k "$selection"} || status=$?
echo
"$python" -m tests.faults.report "$results/results.jsonl" || status=$?
echo "Results and logs: $results"
exit "$status"
