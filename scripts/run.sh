#!/usr/bin/env bash
# Builds and starts the service, in a container or on this machine, and waits until it is ready.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: run.sh [--data DIR] [--port N] [--postgres-port N] [--native]

  --data DIR         where the CSV files are (default: the sample data)
  --port N           port of the API on 127.0.0.1 (default 8000)
  --postgres-port N  port of Postgres on 127.0.0.1, with READER_PASSWORD (default 5432)
  --native           on this machine itself, also where there is a Docker Engine

Starts the container `experiment-etl` with the volume `experiment-etl`, and replaces an earlier one.
Without a Docker Engine it runs the same programs on the machine, and installs with apt what is
missing if it may, all of it in /var/lib/experiment-etl and as a user of that name. Settings in the
environment (README) are passed on, but for the folders: STATE_DIR, RUN_DIR and DATA_DIR are chosen
here. scripts/stop.sh stops it.
EXPERIMENT_ETL_NAME is another name for all of it, for a second service beside the first.
USAGE
}

readonly name=${EXPERIMENT_ETL_NAME:-experiment-etl}
readonly settings=(API_TOKEN TRUSTED_HOSTS DATABASE_URL REDIS_URL READER_PASSWORD ETL_ENGINE SPARK_REMOTE
  ETL_MEMORY_LIMIT ETL_THREADS MAX_REJECTED_RATIO MAX_FILE_BYTES MAX_UPLOAD_BYTES MAX_QUEUED_JOBS MAX_REQUESTS_PER_MINUTE
  KEEP_VERSIONS JOB_TIME_LIMIT ETL_SCHEDULE LOG_FORMAT)
readonly ready_seconds=120
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=service/refuse.sh
source "$checkout/scripts/service/refuse.sh"
# shellcheck source=service/native.sh
source "$checkout/scripts/service/native.sh"

main() {
  local data='' port=8000 postgres_port=5432 native=false
  while (($#)); do
    case $1 in
      --data | --port | --postgres-port)
        [[ -n ${2:-} && $2 != --* ]] || die "$1 needs a value (run.sh --help)"
        case $1 in
          --data) data=$2 ;;
          --port) port=$2 ;;
          --postgres-port) postgres_port=$2 ;;
        esac
        shift 2
        ;;
      --native) native=true; shift ;;
      -h | --help) usage; exit ;;
      *) misused "there is no option $1" ;;
    esac
  done
  check_port --port "$port"
  check_port --postgres-port "$postgres_port"
  if [[ -n $data ]]; then
    [[ -d $data ]] || die "there is no folder $data"
    data=$(cd "$data" && pwd)
  fi

  if ! $native && engine_answers; then
    run_container
  else
    run_natively
  fi
}

check_port() {
  if ! [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || (($2 > 65535)); then
    die "$1 $2: a port is a number from 1 to 65535"
  fi
}

engine_answers() {
  if ! command -v docker >/dev/null; then
    say "There is no docker command."
    return 1
  fi
  local answer
  if answer=$(timeout 20 docker version --format '{{.Server.Version}}' 2>&1); then
    return 0
  fi
  if [[ $answer == *'permission denied'* ]]; then
    die "there is a Docker Engine, but you may not use it: ${answer##*$'\n'}." \
      "Run this as root or as a member of the group docker, or without it: run.sh --native"
  fi
  say "docker is installed, but no engine answers: ${answer##*$'\n'}"
  return 1
}

# --- in a container --------------------------------------------------------------------------------

run_container() {
  command -v curl >/dev/null || die "curl is needed and not installed (apt-get install curl)"
  say "Building the image $name (the first time takes a few minutes)."
  docker build ${SPARK_REMOTE:+--build-arg SPARK=true} --tag "$name" "$checkout" >&2 || die "the image could not be built"

  remove_old_container
  port_is_free "$port" || die "port $port of this machine is in use: choose another one with --port"
  local options=(--detach --name "$name" --label started-by=scripts/run.sh
    --volume "$name:/var/lib/experiment-etl" --publish "127.0.0.1:$port:8000"
    --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges)
  local variable
  for variable in "${settings[@]}"; do
    [[ -z ${!variable:-} ]] || options+=(--env "$variable") # its value stays off the command line
  done
  if [[ -n ${READER_PASSWORD:-} ]]; then
    port_is_free "$postgres_port" || die "port $postgres_port is in use: choose another one with --postgres-port"
    options+=(--publish "127.0.0.1:$postgres_port:5432")
  fi
  [[ -z $data ]] || options+=(--volume "$data:/data:ro")

  docker run "${options[@]}" "$name" >/dev/null || die "the container did not start"
  await_ready container_runs container_log
  if ! docker exec "$name" test -r /data -a -x /data; then
    say "Mind: the service runs as user 10001, and that user may not read $data (chmod o+rx)."
  fi
  say_what_next "in the container $name (logs: docker logs --follow $name)"
}

remove_old_container() {
  docker container inspect "$name" >/dev/null 2>&1 || return 0
  [[ $(docker inspect --format '{{index .Config.Labels "org.opencontainers.image.title"}}' "$name") == "Experiment ETL" ]] \
    || die "there is a container $name that is something else: rename or remove it"
  say "Replacing the container $name that is there; its volume stays."
  docker stop "$name" >/dev/null
  docker rm "$name" >/dev/null
}

container_runs() {
  [[ $(docker inspect --format '{{.State.Running}}' "$name") == true ]]
}

container_log() {
  docker logs "$name" 2>&1
}

# --- on this machine -------------------------------------------------------------------------------

run_natively() {
  say "Running on this machine itself."
  install_packages
  local python
  python=$(usable_python) || die "a python3 from 3.11 on is needed, with its venv module"
  native_stop && say "Stopped the service that ran before."
  port_is_free "$port" || die "port $port of this machine is in use: choose another one with --port"
  if [[ -n ${READER_PASSWORD:-} ]]; then
    port_is_free "$postgres_port" || die "port $postgres_port is in use: choose another one with --postgres-port"
  fi
  make_folders
  copy_code
  make_venv "$python"
  if [[ -n $data ]]; then
    "${as_service[@]}" test -r "$data" -a -x "$data" || die "the service runs as user $native_user, who may not read $data"
  fi

  export STATE_DIR=$native_base/state RUN_DIR=$native_base/run LOG_FILE=$native_base/log/service.log
  export DATA_DIR=${data:-$native_base/app/data} API_BIND=127.0.0.1:$port
  export POSTGRES_LISTEN=localhost PGPORT=$postgres_port
  export HOME=$native_base LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
  export PATH=$native_base/venv/bin:/usr/local/bin:/usr/bin:/bin
  # shellcheck disable=SC2016  # LOG_FILE is opened by the user who writes it
  "${as_service[@]}" setsid bash -c 'exec "$0" all </dev/null >>"$LOG_FILE" 2>&1' "$native_base/app/scripts/start.sh" &
  native_shell=$!
  await_ready native_runs native_log
  say_what_next "on this machine, without Docker (log: $LOG_FILE)"
}

install_packages() {
  local missing=()
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
  command -v redis-server >/dev/null || missing+=(redis-server)
  [[ -x /usr/bin/supervisord ]] || missing+=(supervisor)
  command -v curl >/dev/null || missing+=(curl)
  usable_python >/dev/null || missing+=(python3 python3-venv)
  ((${#missing[@]})) || return 0

  local sudo=()
  if ((EUID != 0)); then
    sudo=(sudo -n)
    "${sudo[@]}" true 2>/dev/null || die "missing: ${missing[*]}. Install them, or run this as root"
  fi
  command -v apt-get >/dev/null || die "missing: ${missing[*]}. Install them (only apt is known here)"
  say "Installing with apt: ${missing[*]}"
  # The programs are wanted, not the servers that their packages would start on the usual ports.
  local config=/etc/postgresql-common/createcluster.d policy=/usr/sbin/policy-rc.d policy_made=''
  "${sudo[@]}" mkdir -p "$config"
  echo 'create_main_cluster = false' | "${sudo[@]}" tee "$config/$name.conf" >/dev/null
  [[ -e $policy ]] || policy_made=$policy
  [[ -z $policy_made ]] || printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" install -m 755 /dev/stdin "$policy"
  local log status=0
  log=$(mktemp)
  { "${sudo[@]}" apt-get update && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null || status=$?
  "${sudo[@]}" rm -f "$config/$name.conf" ${policy_made:+"$policy_made"}
  ((status == 0)) || { tail -n 20 "$log" >&2; rm "$log"; die "apt could not install: ${missing[*]}"; }
  rm "$log"
}

# The first python3 that is new enough, can make a venv, and can be run by the user of the service.
usable_python() {
  local candidate
  for candidate in python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do
    candidate=$(command -v "$candidate") || continue
    candidate=$("$candidate" -c 'import ensurepip, os, sys; sys.version_info >= (3, 11) and print(os.path.realpath(sys.executable))' 2>/dev/null) || continue
    [[ -n $candidate ]] && readable_for_all "$candidate" && echo "$candidate" && return
  done
  return 1
}

# Below a folder that only root may enter, as /root is, nothing can be run by the user of the service.
readable_for_all() {
  local path=$1
  ((EUID == 0)) || return 0
  while [[ $path != / ]]; do
    path=$(dirname "$path")
    [[ $(stat -c %A "$path") == *[xt] ]] || return 1
  done
}

make_folders() {
  ((${#native_base} <= 70)) || die "the path $native_base is too long for Unix sockets"
  if ((EUID == 0)) && ! getent passwd "$native_user" >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir "$native_base" --shell /usr/sbin/nologin "$native_user"
  fi
  mkdir -p "$native_base"
  chmod 755 "$native_base"
  local folder
  for folder in state run log; do
    if ((EUID == 0)); then
      install --directory --owner "$native_user" --group "$native_user" --mode 700 "$native_base/$folder"
    else
      install --directory --mode 700 "$native_base/$folder"
    fi
  done
}

# A copy, as an image is one: the checkout may lie where the user of the service cannot read, and may change.
copy_code() {
  local new=$native_base/app.new
  rm -rf "$new"
  mkdir "$new"
  cp -r "$checkout"/{api,worker,etl,scripts,data,supervisord.conf,requirements.txt,pyproject.toml} "$new"
  find "$new" -name __pycache__ -prune -exec rm -r {} +
  chmod -R u=rwX,go=rX "$new"
  rm -rf "$native_base/app"
  mv "$new" "$native_base/app"
}

make_venv() {
  local python=$1 venv=$native_base/venv stamp
  local requirements=("$checkout/requirements.txt")
  [[ -z ${SPARK_REMOTE:-} ]] || requirements+=("$checkout/requirements-spark.txt")
  stamp="$python $("$python" -V) $(cat "${requirements[@]}" | sha256sum)"
  if [[ $(cat "$venv/stamp" 2>/dev/null) != "$stamp" ]]; then
    say "Installing the Python packages of requirements.txt (the first time takes a few minutes)."
    rm -rf "$venv"
    (
      umask 022
      "$python" -m venv "$venv"
      "$venv/bin/pip" install --quiet --quiet --disable-pip-version-check --require-hashes --no-deps \
        "${requirements[@]/#/--requirement=}" >&2
    ) || die "pip could not install requirements.txt"
    echo "$stamp" >"$venv/stamp"
  fi
  "$venv/bin/python" -m compileall -q "$native_base"/app/{api,worker,etl,scripts/service}
  chmod -R go=rX "$native_base/app"
}

native_runs() {
  kill -0 "$native_shell" 2>/dev/null
}

native_log() {
  tail -n 1000 "$LOG_FILE"
}

# --- both ------------------------------------------------------------------------------------------

port_is_free() {
  ! (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# await_ready RUNS LOG: RUNS tells whether the service is still there, LOG prints what it has logged.
await_ready() {
  local runs=$1 log=$2 host=${TRUSTED_HOSTS:-localhost} answer=''
  host=${host%%,*}
  local deadline=$((SECONDS + ready_seconds))
  until answer=$(curl --silent --fail-with-body --max-time 5 --header "Host: ${host#.}" "http://127.0.0.1:$port/readyz"); do
    if ! "$runs" || ((SECONDS >= deadline)); then
      echo "What its log says is wrong:" >&2
      "$log" | grep -E 'WARNING|ERROR|CRITICAL|FATAL|PANIC' | tail -n 10 >&2 || "$log" | tail -n 20 >&2
      die "the service did not become ready${answer:+: $answer}"
    fi
    sleep 0.1
  done
}

say_what_next() {
  local base='' as=''
  [[ $port == 8000 ]] || base="BASE_URL=http://127.0.0.1:$port "
  [[ -z ${EXPERIMENT_ETL_NAME:-} ]] || as="EXPERIMENT_ETL_NAME=$EXPERIMENT_ETL_NAME "
  local version
  version=$(sed -nE 's/^version = "(.*)"/\1/p' "$checkout/pyproject.toml")
  say "Experiment ETL $version is ready at http://127.0.0.1:$port, $1."
  say "Next: ${base}scripts/trigger_etl.sh, then ${as}scripts/show_results.sh; ${as}scripts/stop.sh ends it."
}

say() {
  printf '%s\n' "$*" >&2
}

main "$@"
