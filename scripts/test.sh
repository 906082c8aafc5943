#!/usr/bin/env bash
# Sets up what the tests need and runs them all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
  cat <<'EOF'
usage: scripts/test.sh [pytest arguments]
Runs every test: `scripts/test.sh tests/etl -k tie` runs some. Real Postgres and Redis servers are started on Unix
sockets in a temporary folder; where their packages are missing and apt may be used, they are installed. The container
tests need a Docker engine, the Spark tests Java and those of the page Chromium: without one they are skipped, and with
CI=true they fail. Faults are injected by scripts/faults.sh.
EOF
  exit 0
fi

missing=()
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v redis-server >/dev/null || missing+=(redis-server)
[[ -x /usr/bin/supervisord ]] || missing+=(supervisor)
command -v curl >/dev/null || missing+=(curl) # the examples of the API are typed into a shell
if ((!$#)); then # without arguments: with the tests of the page and those on Spark
  command -v chromium >/dev/null || missing+=(chromium fonts-liberation)
  command -v java >/dev/null || missing+=(default-jre-headless)
fi
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
if ((${#missing[@]})); then
  echo "scripts/test.sh: installing ${missing[*]}" >&2
  as_root=()
  ((EUID == 0)) || as_root=(sudo)
  "${as_root[@]}" apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" >&2
fi

pytest=("$(scripts/venv.sh)/bin/python" -m pytest)
if (($#)); then
  exec "${pytest[@]}" "$@"
fi
"${pytest[@]}" --numprocesses auto --dist worksteal -m 'not browser and not container and not faults and not spark'
# In one process: each would start the whole service.
"${pytest[@]}" -m browser
# In one process: each would start a cluster.
"${pytest[@]}" -m spark
# One after the other: they share the engine, and the scripts' own names.
exec "${pytest[@]}" -m container
