#!/usr/bin/env bash
# Format, lint and types, the shell scripts too, and README.md's tables. Changes nothing unless told to; ends non-zero
# at the first finding.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  echo "usage: scripts/check.sh [--fix]"
  echo "Runs ruff format, ruff, mypy --strict and shellcheck, and compares README.md with the contract."
  echo "--fix lets ruff mend what it can first, and writes README.md's tables."
  exit 0
fi

bin=$(scripts/venv.sh)/bin
if [[ "${1:-}" == --fix ]]; then
  "$bin/ruff" check --fix --quiet .
  "$bin/ruff" format --quiet .
  "$bin/python" -m scripts.readme
fi
"$bin/ruff" format --check .
"$bin/ruff" check .
"$bin/mypy"
"$bin/python" -m scripts.readme --check
MYPYPATH=scripts/service "$bin/mypy" scripts/service/*.py
"$bin/shellcheck" --external-sources scripts/*.sh .ci/run
