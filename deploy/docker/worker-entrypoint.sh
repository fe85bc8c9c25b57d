#!/bin/sh
# Makes /srv/comfyui what the lock says before the agent starts: again, it changes nothing; killed, it goes on.
set -eu
if [ -n "${COMFYUI_LOCK:-}" ]; then
  comfyfleet provision --lock "$COMFYUI_LOCK" --to /srv/comfyui
fi
exec "$@"
