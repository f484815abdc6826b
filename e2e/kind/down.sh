#!/bin/bash
# down.sh: removes the cluster, ends dockerd and takes back what it left on the machine. PURGE=1 also empties the work folder.
set -uo pipefail
. "$(dirname "$0")/settings.sh"
. "$here/docker.sh"
if [ -n "${USE_DOCKER:-}" ]; then kind delete cluster --name "$NAME"; exit; fi

if docker version >/dev/null 2>&1; then
  kind delete cluster --quiet --name "$NAME"
  docker rm -f kubenet-outside >/dev/null 2>&1
  docker network rm kind >/dev/null 2>&1
fi
docker_daemon_ends
find /sys/fs/cgroup/*/docker -depth -type d -exec rmdir {} \; 2>/dev/null
[ ! -e "$W/sysctl.saved" ] || { sysctl -q -p "$W/sysctl.saved"; rm -f "$W/sysctl.saved"; }
if [ -e "$W/made-folders" ]; then
  while read -r folder; do find "$folder" -depth \( -type d -empty -o -type s \) -delete 2>/dev/null; done <"$W/made-folders"
  rm -f "$W/made-folders"
fi
if [ "${PURGE:-}" = 1 ]; then
  grep -o " $W/[^ ]*" /proc/mounts | sort -r | while read -r mount; do umount "$mount"; done
  rm -rf --one-file-system -- "$W"
fi
stage "removed"
