# shellcheck shell=bash
# How a script ends that cannot do what it was asked for, under its own name. For scripts that have usage().

# misused WHAT: the command is wrong.
misused() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  usage >&2
  exit 64
}

# die WHY: anything else is.
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}
