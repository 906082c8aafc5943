# shellcheck shell=bash
# Runs commands where the service runs: in its container or on this machine. For the scripts that source native.sh first.

# in_service COMMAND...: runs it as the service's user, with the settings that the service was started with; stdin and
# stdout are the caller's. CONTAINER names another container than the one of run.sh.
in_service() {
  local pid container=${CONTAINER:-${EXPERIMENT_ETL_NAME:-experiment-etl}}
  if [[ -z ${CONTAINER:-} ]] && pid=$(native_pid); then
    (
      local environment
      mapfile -d '' environment <"/proc/$pid/environ"
      export "${environment[@]}" PGHOST=$native_base/run PGUSER=etl PGDATABASE=experiment_etl
      cd "$native_base/app"
      "${as_service[@]}" "$@"
    )
  else
    docker exec --interactive "$container" "$@"
  fi
}

# Tells who has been asked for what and is not there, and how to mend it; silent where the service runs.
refuse_absent_service() {
  local answer container=${CONTAINER:-${EXPERIMENT_ETL_NAME:-experiment-etl}}
  if [[ -z ${CONTAINER:-} ]] && native_pid >/dev/null; then
    return
  fi
  command -v docker >/dev/null || die "the service does not run on this machine, and there is no docker command: scripts/run.sh starts it"
  if ! answer=$(timeout 20 docker container inspect --format '{{.State.Running}}' "$container" 2>&1); then
    case $answer in
      *'permission denied'*) die "you may not use the Docker Engine: run this as root or as a member of the group docker" ;;
      *'o such container'*) die "there is no container $container: scripts/run.sh starts the service" ;;
      *) die "no Docker Engine answers, and the service does not run on this machine itself: ${answer##*$'\n'}" ;;
    esac
  fi
  [[ $answer == true ]] || die "the container $container is stopped: docker start $container"
}
