# shellcheck shell=bash
# Where run.sh puts the service when it runs without Docker, for the scripts that look for it there.

if ((EUID == 0)); then
  # Postgres refuses to run as root.
  native_user=experiment-etl
  native_base=/var/lib/${EXPERIMENT_ETL_NAME:-experiment-etl}
  as_service=(setpriv --reuid "$native_user" --regid "$native_user" --init-groups)
else
  native_user=$(id -un)
  native_base=${XDG_STATE_HOME:-$HOME/.local/state}/${EXPERIMENT_ETL_NAME:-experiment-etl}
  as_service=()
fi
# shellcheck disable=SC2034  # the scripts that source this put it before a command
readonly native_user native_base as_service

# Prints the process id of the running service; ends non-zero when there is none.
native_pid() {
  local pid
  pid=$(cat "$native_base/run/supervisord.pid" 2>/dev/null) || return 1
  # The file outlives a crash, and its number may be somebody else's by now.
  { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF "$native_base/app/supervisord.conf" || return 1
  echo "$pid"
}

# Stops the service and waits until it has ended; ends non-zero when none was running.
native_stop() {
  local pid
  pid=$(native_pid) || return 1
  kill -TERM "$pid"
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.1
  done
}
