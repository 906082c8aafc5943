#!/usr/bin/env bash
# Makes .venv with what checking and testing need, exactly as requirements-dev.txt pins it, and prints its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  cat <<'USAGE'
usage: scripts/venv.sh [spark-cluster]
Makes or updates .venv from requirements-dev.txt (PYTHON names the interpreter; 3.11 or newer) and prints its path; with
`spark-cluster`, .venv-spark-cluster from requirements-spark-cluster.txt: 0.9 GB, for the tests' Spark cluster only.
USAGE
  exit 0
fi

if (($# > 1)) || [[ "${1:-spark-cluster}" != spark-cluster ]]; then
  echo "scripts/venv.sh: there is no option $* (scripts/venv.sh --help)" >&2
  exit 64
fi

venv=.venv${1:+-$1}
requirements=requirements-${1:-dev}.txt
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "scripts/venv.sh: Python 3.11 or newer is needed; set PYTHON to one" >&2
  exit 1
fi

# One at a time: two that make it destroy it for each other.
if command -v flock >/dev/null; then
  exec {lock}<.
  flock "$lock"
fi

wanted=$("$python" --version; cat "$requirements")
if [[ ! -f $venv/made-from || "$(cat "$venv/made-from")" != "$wanted" ]]; then
  {
    "$python" -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --require-hashes --no-deps --requirement "$requirements"
  } >&2
  printf '%s\n' "$wanted" >"$venv/made-from"
fi
echo "$PWD/$venv"
