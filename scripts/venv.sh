#!/usr/bin/env bash
# Makes .venv with what checking and testing need, exactly as requirements-dev.txt pins it, and prints its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  echo "usage: scripts/venv.sh"
  echo "Makes or updates .venv from requirements-dev.txt (PYTHON names the interpreter; 3.11 or newer) and prints its path."
  exit 0
fi

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

wanted=$("$python" --version; cat requirements-dev.txt)
if [[ ! -f .venv/made-from || "$(cat .venv/made-from)" != "$wanted" ]]; then
  {
    "$python" -m venv --clear .venv
    .venv/bin/pip install --quiet --require-hashes --no-deps --requirement requirements-dev.txt
  } >&2
  printf '%s\n' "$wanted" >.venv/made-from
fi
echo "$PWD/.venv"
