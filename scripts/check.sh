#!/usr/bin/env bash
# Format, lint and types; the shell scripts too. Changes nothing; ends non-zero at the first finding.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  echo "usage: scripts/check.sh [--fix]"
  echo "Runs ruff format, ruff, mypy --strict and shellcheck; --fix lets ruff mend what it can first."
  exit 0
fi

bin=$(scripts/venv.sh)/bin
if [[ "${1:-}" == --fix ]]; then
  "$bin/ruff" check --fix --quiet .
  "$bin/ruff" format --quiet .
fi
"$bin/ruff" format --check .
"$bin/ruff" check .
"$bin/mypy"
MYPYPATH=scripts/service "$bin/mypy" scripts/service/*.py
"$bin/shellcheck" --external-sources scripts/*.sh .ci/run
