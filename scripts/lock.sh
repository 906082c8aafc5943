#!/usr/bin/env bash
# Compiles the requirements*.in to pinned, hashed files that serve every supported Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  echo "usage: scripts/lock.sh [--upgrade]"
  echo "Writes requirements*.txt from the .in files; --upgrade takes newer versions."
  exit 0
fi

if (($# > 1)) || [[ "${1:---upgrade}" != --upgrade ]]; then
  echo "scripts/lock.sh: there is no option $* (scripts/lock.sh --help)" >&2
  exit 64
fi

uv=$(scripts/venv.sh)/bin/uv
for name in requirements requirements-dev requirements-spark requirements-spark-cluster; do
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --custom-compile-command scripts/lock.sh "$@" "$name.in" --output-file "$name.txt"
done
