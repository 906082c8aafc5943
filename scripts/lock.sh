#!/usr/bin/env bash
# Compiles requirements.in and requirements-dev.in to pinned, hashed files that serve every supported Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  echo "usage: scripts/lock.sh [--upgrade]"
  echo "Writes requirements.txt and requirements-dev.txt from the .in files; --upgrade takes newer versions."
  exit 0
fi

uv=$(scripts/venv.sh)/bin/uv
for name in requirements requirements-dev; do
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --custom-compile-command scripts/lock.sh "$@" "$name.in" --output-file "$name.txt"
done
