#!/usr/bin/env bash
# Format, lint and types, the shell scripts too, and the tables in docs/input.md; before a release, what the image is made of.
# Changes nothing unless told to; ends non-zero at the first finding.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  cat <<'USAGE'
usage: scripts/check.sh [--fix | --release [--offline]]

Runs ruff format, ruff, mypy --strict and shellcheck, and compares docs/input.md with the contract.

  --fix      lets ruff mend what it can first, and writes the tables in docs/input.md
  --release  only this: builds the image, writes what it holds to build/sbom/image.json (CycloneDX), and asks the package
             index, PyPI's advisories and Debian's archive whether anything of it is withdrawn or vulnerable. Ends 1 when
             something is, and 2 when one of them could not be asked: who releases must not take silence for an answer
  --offline  lets a release pass when one could not be asked, and still says so
USAGE
  exit 0
fi

if [[ "${1:-}" != @(|--fix|--release) || ( $# -gt 1 && "$*" != "--release --offline" ) ]]; then
  echo "scripts/check.sh: there is no option $* (scripts/check.sh --help)" >&2
  exit 64
fi

bin=$(scripts/venv.sh)/bin
if [[ "${1:-}" == --release ]]; then
  image=$(docker build --quiet .)
  "$bin/python" -m scripts.sbom "$image" build/sbom/image.json
  exec "$bin/python" -m scripts.advisories "${@:2}" --image "$image" requirements.txt
fi
if [[ "${1:-}" == --fix ]]; then
  "$bin/ruff" check --fix --quiet .
  "$bin/ruff" format --quiet .
  "$bin/python" -m scripts.tables
fi
"$bin/ruff" format --check .
"$bin/ruff" check .
"$bin/mypy"
"$bin/python" -m scripts.tables --check
MYPYPATH=scripts/service "$bin/mypy" scripts/service/*.py
"$bin/shellcheck" --external-sources scripts/*.sh scripts/service/{cluster,dump_datasets}.sh .ci/run
