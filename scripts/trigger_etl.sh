#!/usr/bin/env bash
# Starts a job, follows it to its end, and says how it went.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: trigger_etl.sh [DATASET] [--force] [--dry-run]

  DATASET    the dataset to process (default: default)
  --force    also when its files have not changed
  --dry-run  do everything but publish

Environment: BASE_URL (default http://127.0.0.1:8000), API_TOKEN.
Ends with status 0 only if the job succeeded.
USAGE
}

readonly base=${BASE_URL:-http://127.0.0.1:8000}
readonly patience_seconds=60

main() {
  local dataset='' force=false mode=publish
  while (($#)); do
    case $1 in
      --force) force=true ;;
      --dry-run) mode=dry_run ;;
      -h | --help) usage; exit ;;
      -*) misused "there is no option $1" ;;
      *)
        [[ -z $dataset ]] || misused "one dataset at a time"
        dataset=$1
        ;;
    esac
    shift
  done
  dataset=${dataset:-default}
  [[ $dataset =~ ^[a-z0-9][a-z0-9_-]{0,62}$ ]] || die "'$dataset' is not the name of a dataset"

  command -v curl >/dev/null || die "curl is needed and not installed (apt-get install curl)"
  request --request POST --header 'Content-Type: application/json' \
    --data "{\"dataset\":\"$dataset\",\"mode\":\"$mode\",\"force\":$force}" "$base/api/v1/jobs" \
    || die "no answer from $base (is the service running? scripts/run.sh starts it)"
  ((status == 202)) || refused
  local id
  id=$(text id)
  say "Job $id: dataset $dataset"

  local silent_since=$SECONDS
  until [[ $(text state) =~ ^(succeeded|failed|cancelled)$ ]]; do
    show_progress
    if request "$base/api/v1/jobs/$id?wait=1"; then
      ((status == 200)) || refused
      silent_since=$SECONDS
    else
      # A restart of the service does not end the job.
      ((SECONDS - silent_since < patience_seconds)) || die "no answer from $base any more; the job is kept"
      sleep 1
    fi
  done
  clear_progress
  report
  [[ $(text state) == succeeded ]]
}

# --- the API ---------------------------------------------------------------------------------------

# request CURL-ARGUMENT...: sets `status` and `body`, and leaves them when there is no answer.
request() {
  local answer
  # The token by a file descriptor: command lines are for everybody to see.
  answer=$(curl --silent --show-error --max-time 60 --write-out '\n%{http_code}' \
    --config <([[ -z ${API_TOKEN:-} ]] || printf 'header = "Authorization: Bearer %s"\n' "$API_TOKEN") "$@") \
    || return 1
  status=${answer##*$'\n'}
  body=${answer%$'\n'*}
}

refused() {
  local detail
  detail=$(text detail)
  ((status != 401)) || detail+=${API_TOKEN:+, and API_TOKEN is another one}
  die "the service answered $status: ${detail:-$body}"
}

# text NAME [JSON]: the first string of that name; empty for null.
text() {
  grep -oE "[{,]\"$1\": ?\"([^\"\\\\]|\\\\.)*\"" <<<"${2:-$body}" | head -n 1 \
    | sed -E "s/^[{,]\"$1\": ?\"(.*)\"\$/\\1/; s/\\\\([\"\\\\/])/\\1/g" || true
}

# number NAME [JSON]: the first number (or true, false) of that name; empty for null.
number() {
  grep -oE "[{,]\"$1\": ?(-?[0-9.]+|true|false)" <<<"${2:-$body}" | head -n 1 | sed -E 's/.*: ?//' || true
}

# part NAME: the first object of that name, which holds numbers and plain words only.
part() {
  grep -oE "\"$1\": ?\\{[^{}]*\\}" <<<"$body" | head -n 1 || true
}

# --- what a person sees ----------------------------------------------------------------------------

shown=''

show_progress() {
  local progress line total
  progress=$(part progress)
  total=$(number total "$progress")
  line="$(text state), $(text stage)"
  line=${line%, }
  [[ -z $total ]] || line+=": $(number 'done' "$progress") of $total $(text unit "$progress")"
  [[ $line != "$shown" ]] || return 0
  shown=$line
  if [[ -t 1 ]]; then
    printf '\r\033[K%s' "$line"
  else
    say "$line"
  fi
}

clear_progress() {
  if [[ -t 1 && -n $shown ]]; then
    printf '\r\033[K'
  fi
}

report() {
  local state outcome
  state=$(text state)
  outcome=$(text outcome)
  say "$state${outcome:+, $outcome}$(duration)"
  local input
  while read -r input; do
    [[ -n $input ]] || continue
    printf '  %-22s %9s read %9s accepted %7s duplicate %7s rejected\n' "$(text file "$input")" \
      "$(number read "$input")" "$(number accepted "$input")" "$(number duplicate "$input")" "$(number rejected "$input")"
  done < <(grep -oE '\{"file":[^{}]*' <<<"$body" || true)

  case $state/$outcome in
    succeeded/published) say "Now: scripts/show_results.sh" ;;
    succeeded/unchanged)
      say "Nothing to do: $(text outcome_detail). Now: scripts/show_results.sh"
      return
      ;;
    succeeded/dry_run) say "Nothing was published. What would change: curl $base/api/v1/jobs/$(text id)/diff" ;;
    succeeded/held)
      say "Not published: $(text outcome_detail). What would change: curl $base/api/v1/jobs/$(text id)/diff"
      say "To publish it all the same: curl -X PUT --json '{\"job_id\":\"$(text id)\"}'" \
        "$base/api/v1/datasets/$(text dataset)/publication"
      ;;
    failed/*)
      local error=${body#*\"error\":}
      say "$(text code "$error"): $(text detail "$error")"
      ;;
  esac
  local rejected
  rejected=$(grep -oE '"codes": ?\{"' <<<"$body" || true)
  [[ -z $rejected ]] || say "Which lines and why: curl $base/api/v1/jobs/$(text id)/rejections"
}

duration() {
  local timings milliseconds=0 each
  timings=$(part timings_ms)
  for each in $(grep -oE ': ?[0-9.]+' <<<"$timings" | tr -d ': '); do
    milliseconds=$((milliseconds + ${each%.*}))
  done
  printf ', after %d.%03d s' $((milliseconds / 1000)) $((milliseconds % 1000))
}

say() {
  printf '%s\n' "$*"
}

misused() {
  printf 'trigger_etl.sh: %s\n' "$*" >&2
  usage >&2
  exit 64
}

die() {
  clear_progress
  printf 'trigger_etl.sh: %s\n' "$*" >&2
  exit 1
}

main "$@"
