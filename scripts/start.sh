#!/usr/bin/env bash
# Start what this container is for: scripts/start.sh [command ...]
# A command is run. PORT, or an endpoint without a queue: REST for RunPod's load balancer. A queue
# (RUNPOD_WEBHOOK_GET_JOB): the handler. Else, a pod or a machine of one's own: REST on port 8189, with a key.
set -euo pipefail
app=/app
volume=/runpod-volume
workspace=/workspace
user=worker
home=/home/worker

say() { printf 'start: %s\n' "$*" >&2; }
as_user=(setpriv --reuid "$user" --regid "$user" --init-groups env HOME="$home" USER="$user")

# What needs root: the path that the documents name, and folders on a volume that belongs to root. Only these two
# folders change hands, never what is in them: it is the owner's volume.
prepare() {
  local place=$home folder
  if [ -d "$volume" ] && [ ! -e "$workspace" ]; then
    ln -sfn "$volume" "$workspace" || say "$workspace cannot be linked to $volume."
  fi
  if [ -d "$workspace" ]; then place=$workspace; fi
  if [ -d "$volume" ]; then place=$volume; fi
  for folder in "${WAN_OUT_DIR:-$place/outputs}" "$place/models"; do
    if ! { mkdir -p "$folder" && "${as_user[@]}" test -w "$folder"; } 2>/dev/null; then
      chown "$user:$user" "$folder" || say "$user cannot write in $folder."
    fi
  done
}

# RunPod's balancer authenticates, and names the port (80 unless PORT is set). Anywhere else callers need a key.
serve_rest() {
  if [ -n "${PORT-}${RUNPOD_ENDPOINT_ID-}" ]; then
    export PORT=${PORT:-80}
  else
    export REST_HOST=${REST_HOST:-0.0.0.0}
    if [ -z "${WAN_API_KEY-}${REST_ALLOW_OPEN-}" ]; then
      WAN_API_KEY=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
      export WAN_API_KEY
      say "WAN_API_KEY=$WAN_API_KEY (made for this start; set your own to keep it)"
    fi
  fi
  PYTHONPATH="$app/src${PYTHONPATH:+:$PYTHONPATH}" exec python -m wanworker.rest
}

if [ "$(id -u)" = 0 ]; then
  prepare
  exec "${as_user[@]}" "${BASH_SOURCE[0]}" "$@"
fi
[ $# = 0 ] || exec "$@"
# Serving never downloads: what is not on the volume is an error at once, not a gigabyte in the middle of a job.
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1}
if [ -z "${PORT-}" ] && [ -n "${RUNPOD_WEBHOOK_GET_JOB-}" ]; then
  exec python -u "$app/handler.py"
fi
serve_rest
