# shellcheck shell=bash
# The uploaded datasets as a tar on stdout: their links, and the uploads that these name (worker/uploads.py).

folder=$STATE_DIR/backup

# own_folder: makes $folder, for one at a time; what a killed one has left there is removed.
own_folder() {
  mkdir -p "$folder"
  exec {alone}<"$folder"
  flock --nonblock "$alone" || { echo "another one is at work on $folder" >&2; exit 1; }
  find "$folder" -mindepth 1 -delete
  trap remove_folder EXIT
}

remove_folder() {
  rm -r "$folder"
}

# Hard links, for files that never change and may be replaced by an upload meanwhile: nobody waits longer than a moment.
link_all() {
  local link
  for link in "$STATE_DIR"/datasets/*; do
    [[ -L $link ]] || continue
    cp --archive --link "$STATE_DIR/datasets/$(readlink "$link")" "$link" "$folder"
  done
}

own_folder
if [[ -d $STATE_DIR/datasets ]]; then
  exec {uploads}<"$STATE_DIR/datasets"
  flock "$uploads"
  link_all
  exec {uploads}<&-
fi
tar --create --directory "$folder" .
