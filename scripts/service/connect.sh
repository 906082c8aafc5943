# shellcheck shell=bash
# In front of what backup.sh runs inside of the service, whichever version of it that is: the database that its settings
# name, as libpq's variables. On a command line everybody could see the password.
set -euo pipefail
umask 077

libpq=$(python -c '
import shlex
from psycopg2.extensions import parse_dsn
from worker.settings import Settings
for name, value in parse_dsn(Settings.from_env().database_url).items():
    print("export", shlex.quote("PG" + name.replace("dbname", "database").upper() + "=" + value))')
eval "$libpq"
# The newest server of the machine is the one that scripts/start.sh runs.
newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
PATH=$newest:$PATH
