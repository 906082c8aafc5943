#!/usr/bin/env bash
# Starts the service or one program of it: the image's entry point, and what supervisord.conf calls.
set -euo pipefail
# First of all: a shell ignores SIGQUIT, and forgets a SIGINT that arrives while a command runs. Either may be
# the signal that stops a program which is still waiting in here.
trap 'exit 130' INT
trap 'exit 131' QUIT
umask 077

usage() {
  cat <<'USAGE'
usage: start.sh [all|api|worker|sweeper|postgres|redis]

  all       the whole service under supervisord (the default)
  api ...   one program of it in the foreground, for a container of its own (docker-compose.yml);
            api, worker and sweeper then take DATABASE_URL and REDIS_URL, postgres takes
            POSTGRES_PASSWORD, redis takes REDIS_PASSWORD

Settings are read from the environment; the README lists them. `all` runs its own Postgres unless
DATABASE_URL is set, and its own Redis unless REDIS_URL is set.
USAGE
}

readonly wait_seconds=60
readonly reserve_mib=64
readonly database=experiment_etl
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

main() {
  local supervised=false
  if [[ ${1:-} == --supervised ]]; then  # by supervisord or jsonlines.py, which take care of every line
    supervised=true
    shift
  fi
  local role=${1:-all}
  case $role in
    -h | --help) usage; exit ;;
    all | api | worker | sweeper | postgres | redis) ;;
    *) usage >&2; exit 64 ;;
  esac
  (($# <= 1)) || { usage >&2; exit 64; }
  [[ ${LOG_FORMAT:-json} == @(json|text) ]] || fail "LOG_FORMAT='$LOG_FORMAT': json or text"

  export STATE_DIR=${STATE_DIR:-/var/lib/experiment-etl} RUN_DIR=${RUN_DIR:-/tmp/experiment-etl}
  cd "$home"
  own_run_dir

  if [[ $role == all ]]; then
    start_all
  elif $supervised; then
    "start_$role"
  else
    start_alone "$role"
  fi
}

start_all() {
  # These two are for the roles that stand alone. In here Postgres and Redis listen on sockets only.
  unset POSTGRES_PASSWORD REDIS_PASSWORD
  START_POSTGRES=true START_REDIS=true
  [[ -z ${DATABASE_URL:-} ]] || START_POSTGRES=false
  [[ -z ${REDIS_URL:-} ]] || START_REDIS=false
  export START_POSTGRES START_REDIS

  own_state_dir
  check_settings
  # Held by supervisord as long as it lives, so that its socket can be known to be stale.
  local running
  exec {running}>"$RUN_DIR/running"
  flock --nonblock "$running" || fail "the service already runs with RUN_DIR $RUN_DIR"
  rm -f "$RUN_DIR/supervisord.sock"
  if $START_POSTGRES; then
    # What only a person can mend is said before anything starts, not once per attempt.
    find_postgres
    refuse_other_major
    lock_cluster
    exec {lock}>&-
  fi
  echo all >"$RUN_DIR/role"

  local arguments=(--nodaemon --configuration "$home/supervisord.conf")
  if [[ -n ${LOG_FILE:-} ]]; then
    arguments+=(--silent --logfile "$LOG_FILE" --logfile_maxbytes 20MB --logfile_backups 4)
  fi
  # For supervisord only: the programs are started with their own paths.
  PYTHONPATH=$home/scripts/service exec /usr/bin/supervisord "${arguments[@]}"
}

start_alone() {
  local role=$1 stop_signal=TERM
  case $role in
    postgres)
      [[ -n ${POSTGRES_PASSWORD:-} ]] || fail "set POSTGRES_PASSWORD: without it no other container can log in"
      stop_signal=INT
      ;;
    redis)
      [[ -n ${REDIS_PASSWORD:-} ]] || fail "set REDIS_PASSWORD: without it no other container can log in"
      ;;
    *)
      [[ -n ${DATABASE_URL:-} && -n ${REDIS_URL:-} ]] \
        || fail "set DATABASE_URL and REDIS_URL: the role $role has no database and no Redis of its own"
      own_state_dir
      check_settings
      ;;
  esac
  echo "$role" >"$RUN_DIR/role"
  exec /usr/bin/python3 "$home/scripts/service/jsonlines.py" "$role" "$stop_signal" \
    "${BASH_SOURCE[0]}" --supervised "$role"
}

# setpriv --pdeathsig: on a machine, unlike in a container, the programs would outlive a supervisord that is
# killed. They get the signal that stops them.

start_api() {
  unset PYTHONPATH
  raise_oom_score 200
  # Where its processes count requests together (api/metrics.py): what is there is of processes that are gone.
  export PROMETHEUS_MULTIPROC_DIR=$RUN_DIR/metrics
  rm -rf "$PROMETHEUS_MULTIPROC_DIR"
  mkdir "$PROMETHEUS_MULTIPROC_DIR"
  exec setpriv --pdeathsig TERM gunicorn --config api/gunicorn_config.py api.wsgi:app
}

start_worker() {
  unset PYTHONPATH
  raise_oom_score 300
  # The three that have no setting. Workers need not know each other, and asking takes a second.
  # nice: where both want the processor, a request is answered first. A job takes what is left, which is all of it mostly.
  exec nice -n 5 setpriv --pdeathsig TERM celery --quiet --app worker.main worker --without-mingle --without-gossip --heartbeat-interval 5
}

start_sweeper() {
  unset PYTHONPATH
  raise_oom_score 200
  await "the database" database_answers
  exec setpriv --pdeathsig TERM python -m worker.sweeper
}

start_redis() {
  raise_oom_score 200
  exec setpriv --pdeathsig TERM redis-server - <<<"$(redis_configuration)"
}

start_postgres() {
  own_state_dir
  find_postgres
  refuse_other_major
  lock_cluster
  keep_reserve
  [[ -e $cluster/PG_VERSION ]] || create_cluster
  prepare_cluster
  remove_orphans
  write_access_rules

  local addresses=''
  if [[ -n ${POSTGRES_PASSWORD:-}${READER_PASSWORD:-} ]]; then
    addresses=${POSTGRES_LISTEN:-*}
  fi
  # Its descriptor of the lock goes to every process of the cluster (lock_cluster).
  exec setpriv --pdeathsig INT postgres -D "$cluster" -c config_file="$home/scripts/service/postgresql.conf" \
    -c hba_file="$RUN_DIR/pg_hba.conf" -c ident_file="$RUN_DIR/pg_ident.conf" \
    -c unix_socket_directories="$RUN_DIR" -c unix_socket_permissions=0700 -c listen_addresses="$addresses"
}

# --- folders ---------------------------------------------------------------------------------------

own_run_dir() {
  mkdir -p "$(dirname "$RUN_DIR")"
  mkdir -m 700 "$RUN_DIR" 2>/dev/null || [[ -e $RUN_DIR || -L $RUN_DIR ]] \
    || fail "RUN_DIR $RUN_DIR cannot be made. Where the root file system is read-only, /tmp has to be one of its own:" \
      "docker run --read-only --tmpfs /tmp ..."
  # Under /tmp anybody may have made it first, to hand us sockets of their own.
  [[ -d $RUN_DIR && ! -L $RUN_DIR && -O $RUN_DIR ]] \
    || fail "RUN_DIR $RUN_DIR is not a folder of user $(id -un): remove it, or set RUN_DIR to another path"
  chmod 700 "$RUN_DIR"
}

own_state_dir() {
  mkdir -p "$STATE_DIR" 2>/dev/null || true
  [[ -d $STATE_DIR ]] || fail "the state folder $STATE_DIR does not exist and user $(id -un) cannot make it"
  [[ -w $STATE_DIR && -x $STATE_DIR ]] \
    || fail "the state folder $STATE_DIR belongs to $(stat -c 'uid %u, mode %a' "$STATE_DIR") and user $(id -un)" \
      "cannot write to it. Give it to that user: chown -R $(id -u):$(id -g) on the folder that is mounted there"
}

# Said once, before anything starts, instead of as a traceback of each program.
check_settings() {
  local problem
  problem=$(python -c '
import sys
from worker.settings import InvalidSetting, Settings
try:
    Settings.from_env()
except InvalidSetting as error:
    sys.exit(str(error))' 2>&1) || fail "$problem"
}

# --- Postgres --------------------------------------------------------------------------------------

find_postgres() {
  local newest
  newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
  [[ -x $newest ]] || fail "no Postgres server in /usr/lib/postgresql"
  PATH=${newest%/postgres}:$PATH
  major=${newest#/usr/lib/postgresql/}
  major=${major%%/*}
  clusters=$STATE_DIR/postgres
  cluster=$clusters/$major
}

refuse_other_major() {
  [[ ! -e $cluster/PG_VERSION ]] || return 0
  local found
  for found in "$clusters"/*/PG_VERSION; do
    [[ -e $found ]] || continue
    fail "$clusters holds a database of Postgres $(<"$found"), and this is Postgres $major, which cannot read it." \
      "Nothing was changed. Start the version of the service that made it and save it with scripts/backup.sh," \
      "start this version on a new volume and bring it back with scripts/restore.sh"
  done
}

# The kernel lets go of this lock when the last process that inherited it ends. So whoever holds it knows
# that no process of this cluster is alive, in this container or in another one on the same volume, and
# that a postmaster.pid is left over from a kill. Postgres itself cannot know: process ids repeat in every
# container, and it refuses to start when the id in that file is, by now, the worker's.
lock_cluster() {
  mkdir -p "$clusters"
  exec {lock}>"$clusters/lock"
  flock --wait 5 "$lock" || fail "another Postgres is running on $clusters: one volume serves one container"
  rm -f "$cluster/postmaster.pid" "$RUN_DIR"/.s.PGSQL.*
}

# A Postgres that cannot write its log stops, and on a volume without any room it could not start again. This file keeps
# room for that: it goes when the volume is full, and comes back at a start when there is plenty.
keep_reserve() {
  local reserve=$clusters/reserve free
  free=$(df --output=avail --block-size=1M "$clusters" | tail -n 1)
  if [[ -e $reserve ]] && ((free < reserve_mib)); then
    rm "$reserve"
    say WARNING "the volume is full: gave $reserve_mib MiB of reserve to the database, so that it can start. Make room"
  elif [[ ! -e $reserve ]] && ((free > 4 * reserve_mib)); then
    fallocate --length "${reserve_mib}MiB" "$reserve" || rm -f "$reserve"  # not every file system can
  fi
}

# A whole cluster or none: it becomes visible by one rename, with its roles and database, when all of it is on disk.
# The image holds one to be copied. All copies have one system identifier, by which replicas know each other; here are
# none (wal_level).
create_cluster() {
  local new=$clusters/.new
  rm -rf "$new"
  if [[ -e $home/cluster.tar.zst ]]; then
    mkdir "$new"
    tar --extract --file "$home/cluster.tar.zst" --directory "$new" --preserve-permissions
  else
    make_cluster "$new"
  fi
  initdb --pgdata="$new" --sync-only >/dev/null
  mv --no-target-directory "$new" "$cluster"
  sync "$clusters" "$STATE_DIR"
  say INFO "created a Postgres $major cluster in $cluster"
}

make_cluster() {
  local new=$1 log
  log=$(initdb --pgdata="$new" --username=postgres --auth-local=peer --auth-host=scram-sha-256 \
    --data-checksums --encoding=UTF8 --locale=C.UTF-8 --no-sync 2>&1) || fail "initdb failed: $log"
  # `reader` exists from the start, so that grants to it need no condition; logging in is another matter.
  single_user "$new" postgres -F <<SQL
CREATE ROLE etl LOGIN;

CREATE ROLE reader NOLOGIN;

CREATE DATABASE $database;

SQL
}

# What is set anew at every start, in one session before the server listens: access, and the passwords of the
# environment, which go when their variable goes. They come over a pipe: no command line and no log shows them.
prepare_cluster() {
  local etl_password reader_password reader_login=NOLOGIN
  sql_password etl_password POSTGRES_PASSWORD
  sql_password reader_password READER_PASSWORD
  [[ -z ${READER_PASSWORD:-} ]] || reader_login=LOGIN
  # The checkpoint at the session's end makes all of it durable.
  single_user "$cluster" "$database" -c synchronous_commit=off <<SQL
$(<"$home/scripts/service/access.sql")

ALTER ROLE etl PASSWORD $etl_password;

ALTER ROLE reader $reader_login PASSWORD $reader_password;

COPY (
$(<"$home/scripts/service/orphans.sql")
) TO '$RUN_DIR/orphans';

SQL
}

# After the session's checkpoint: no recovery will ask for one of the files again.
remove_orphans() {
  local file size
  while read -r file; do
    size=$(stat --format %s "$cluster/$file")
    rm "$cluster/$file"
    say INFO "removed $file ($size bytes): a server that was killed left it, and it is no table's"
  done <"$RUN_DIR/orphans"
  rm "$RUN_DIR/orphans"
}

# sql_password NAME VARIABLE: sets NAME to the SQL literal of what is in VARIABLE.
sql_password() {
  local value=${!2:-} quote="'" literal=NULL
  [[ $value != *$'\n'* ]] || fail "$2 has more than one line"
  [[ -z $value ]] || literal="'${value//$quote/$quote$quote}'"
  printf -v "$1" %s "$literal"
}

# single_user DIR DATABASE [OPTION...]: runs the statements on stdin, each ended by ";" and an empty line.
single_user() {
  local directory=$1 name=$2
  shift 2
  postgres --single -j -D "$directory" -c config_file="$home/scripts/service/postgresql.conf" \
    -c exit_on_error=on -c log_min_error_statement=panic -c log_checkpoints=off "$@" "$name" >/dev/null
}

write_access_rules() {
  local user
  user=$(id -un)
  {
    echo "local all etl,postgres peer map=service"
    [[ -z ${POSTGRES_PASSWORD:-} ]] || echo "host $database etl all scram-sha-256"
    [[ -z ${READER_PASSWORD:-} ]] || echo "host $database reader all scram-sha-256"
  } >"$RUN_DIR/pg_hba.conf"
  printf 'service "%s" %s\n' "$user" etl "$user" postgres >"$RUN_DIR/pg_ident.conf"
}

# --- Redis -----------------------------------------------------------------------------------------

# On stdin, not on the command line: it may hold a password. Nothing is stored, because nothing in Redis is
# needed: a lost ring is rung again.
redis_configuration() {
  cat <<REDIS
dir "$RUN_DIR"
unixsocket "$RUN_DIR/redis.sock"
unixsocketperm 700
save ""
appendonly no
maxmemory 64mb
maxmemory-policy noeviction
databases 1
hz 1
always-show-logo no
REDIS
  local password=${REDIS_PASSWORD:-}
  if [[ -n $password ]]; then
    password=${password//\\/\\\\}
    printf 'port 6379\nbind * -::*\nrequirepass "%s"\n' "${password//\"/\\\"}"
  else
    echo "port 0"
  fi
}

# --- memory ----------------------------------------------------------------------------------------

# When memory runs out the kernel kills what has the highest score. Nobody without privileges may lower one, so
# Postgres keeps the score that the service was started with, and all others stand before it: first the worker's child,
# which raises its own further. (PG_OOM_ADJUST_FILE is for a postmaster whose score root has lowered.)
raise_oom_score() {
  local score
  score=$(($(</proc/self/oom_score_adj) + $1))
  # It may be forbidden on a machine that is hardened; the service runs as well without.
  echo $((score < 1000 ? score : 1000)) 2>/dev/null >/proc/self/oom_score_adj || true
}

# --- waiting ---------------------------------------------------------------------------------------

await() {
  local what=$1 deadline=$((SECONDS + wait_seconds)) nothing
  shift
  exec {nothing}<> <(:)
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "$what did not answer for $wait_seconds s"
    # A sleep that is no process: three programs wait while initdb wants both cores.
    read -rt 0.05 -u "$nothing" || true
  done
  exec {nothing}>&-
}

database_answers() {
  if [[ -z ${DATABASE_URL:-} ]]; then
    [[ -S $RUN_DIR/.s.PGSQL.${PGPORT:-5432} ]] && pg_isready --quiet --host="$RUN_DIR" --dbname="$database"
  else
    # Whether it answers does not depend on a password, and one does not belong on a command line.
    pg_isready --quiet --timeout=3 --dbname="$(sed -E \
      's#^[^:]+://([^/?]*@)?#postgresql://#; s#(user|password)=[^&]*&?##g' <<<"$DATABASE_URL")"
  fi
}

# --- log -------------------------------------------------------------------------------------------

say() {
  local level=$1 message
  shift
  message=$(printf '%s' "$*" | tr '\n\t' '  ' | tr -d '\000-\037')
  if [[ ${LOG_FORMAT:-json} == text ]] && ! $supervised; then
    [[ $level == INFO ]] || message="$level $message"
    printf '%s start    %s\n' "$(date -u +%T)" "$message"
    return
  fi
  message=${message//\\/\\\\}
  message=${message//\"/\\\"}
  printf '{"time": "%s", "level": "%s", "program": "start", "message": "%s"}\n' \
    "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)" "$level" "$message"
}

fail() {
  say ERROR "$@"
  exit 1
}

main "$@"
