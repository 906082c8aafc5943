#!/usr/bin/env bash
# Saves the database and the uploaded datasets of the running service as one file.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: backup.sh [FILE]

Writes the job history, every kept version with its rejections, and the uploaded datasets to FILE (default:
experiment-etl-TIME.backup in the current folder). The service goes on meanwhile. Of files in DATA_DIR there is no copy
in it, and of settings neither. scripts/restore.sh puts it into a service with a new volume.

It asks the service that scripts/run.sh started, in a container or on this machine; CONTAINER names another container
(docker-compose: that of the service `api`).
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=service/refuse.sh
source "$here/service/refuse.sh"
# shellcheck source=service/native.sh
source "$here/service/native.sh"
# shellcheck source=service/inside.sh
source "$here/service/inside.sh"

main() {
  case ${1:-} in
    -h | --help) usage; exit ;;
    -*) misused "there is no option $1" ;;
  esac
  (($# <= 1)) || misused "one file at most"
  local file=${1:-experiment-etl-$(date -u +%Y-%m-%dT%H-%M-%SZ).backup}
  [[ ! -e $file ]] || die "$file is there already: give another name, or move it away"
  [[ -d $(dirname "$file") && -w $(dirname "$file") ]] || die "there is no folder $(dirname "$file") that you may write to"
  refuse_absent_service

  # It holds names and addresses of people.
  umask 077
  folder=$(mktemp --directory "$file.XXXXXX")
  trap 'rm -rf "$folder"' EXIT
  # The database first: a job that is in it must find its dataset, and uploaded datasets are replaced, never removed.
  dump 'pg_dump --format custom --no-owner --no-privileges --exclude-table-data worker_heartbeats' >"$folder/database" \
    || die "the database could not be saved"
  dump "$(<"$here/service/dump_datasets.sh")" >"$folder/datasets.tar" || die "the uploaded datasets could not be saved"
  # shellcheck disable=SC2016  # the service is to expand it
  dump 'echo 1 "$(sed -nE "s/^version = \"(.*)\"/\1/p" pyproject.toml)" \
    "$(psql -Atc "SELECT version_num FROM alembic_version")" "$(($(psql -Atc "SHOW server_version_num") / 10000))"' \
    >"$folder/manifest" || die "the service did not say which version it is"
  (
    cd "$folder"
    sha256sum database datasets.tar manifest >SHA256SUMS
    tar --create --file whole manifest SHA256SUMS database datasets.tar
  )
  sync "$folder/whole"
  mv --no-clobber --no-target-directory "$folder/whole" "$file"
  [[ ! -e $folder/whole ]] || die "$file has been made by somebody else meanwhile"
  echo "Saved $(du --human-readable --apparent-size "$file" | cut -f 1) in $file."
  echo "To bring it back: start a service with a new volume, then scripts/restore.sh $file"
}

# dump SCRIPT: runs it inside of the service.
dump() {
  in_service bash -c "$(<"$here/service/connect.sh")"$'\n'"$1" </dev/null
}

main "$@"
