#!/usr/bin/env bash
# The image's HEALTHCHECK: ends 0 when this container does its part, and prints what is wrong otherwise.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: healthcheck.sh

Asks, inside a container, whether the role that it plays is fulfilled:
  all, api          GET /readyz: the API, the database, Redis and a worker's heartbeat
  postgres, redis   the server answers
  worker, sweeper   the program runs, and no longer waits for the database
USAGE
}

main() {
  case ${1:-} in
    '') ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 64 ;;
  esac
  local role
  role=$(<"$RUN_DIR/role") 2>/dev/null || { echo "not started yet"; exit 1; }
  case $role in
    all | api) ready ;;
    postgres) pg_isready --host="$RUN_DIR" ;;
    redis) redis_answers ;;
    worker | sweeper) runs ;;
  esac
}

# bash alone is the HTTP client: it is there, and starting other programs four times a minute is not free.
ready() {
  local port=${API_BIND##*:} host=${TRUSTED_HOSTS:-localhost} answer
  host=${host%%,*}
  exec {api}<>"/dev/tcp/127.0.0.1/$port" || { echo "the API does not listen on port $port"; exit 1; }
  printf 'GET /readyz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "${host#.}" >&"$api"
  # To the end of the answer, which is status 1; a higher one is the end of the time.
  read -rt 4 -d '' -u "$api" answer || (($? == 1)) || { echo "the API did not answer within 4 s"; exit 1; }
  echo "${answer#*$'\r\n\r\n'}"
  [[ $answer == 'HTTP/1.1 200 '* ]]
}

redis_answers() {
  REDISCLI_AUTH=${REDIS_PASSWORD:-} timeout 4 redis-cli -s "$RUN_DIR/redis.sock" PING | tee /dev/stderr | grep -q PONG
}

# Process 1 ends when its program does; what is left to see is whether the program has replaced start.sh.
runs() {
  local child
  for child in $(</proc/1/task/1/children); do
    [[ $(<"/proc/$child/comm") != start.sh ]] || { echo "waiting for the database"; exit 1; }
    # It waits by itself, before it makes the process that runs jobs.
    [[ $role != worker || -n $(<"/proc/$child/task/$child/children") ]] || { echo "no process runs jobs"; exit 1; }
  done
}

main "$@"
