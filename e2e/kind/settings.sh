# Sourced by the other scripts: where things are. Each may be set from outside.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$source/target}
# The work folder: all of docker's state, and what is built; 5 GB.
W=${W:-$target/kind}
mkdir -p "$W"; W=$(cd "$W" && pwd)
NAME=${NAME:-kubenet}
export KUBECONFIG=$W/kubeconfig
# USE_DOCKER=1: this machine's docker, kind, kubectl and helm, and node images from a registry. Otherwise a docker of our
# own, in a network and mount namespace of its own, that knows no registry.
if [ -z "${USE_DOCKER:-}" ]; then
  export DOCKER_HOST=unix://$W/docker.sock PATH="$W/bin:$W/tools/usr/bin:$W/tools/usr/sbin:$PATH"
  KUBE=${KUBE:-$(ls -td "${XDG_CACHE_HOME:-$HOME/.cache}"/kubenet/kube-*/kube 2>/dev/null | head -1)}
  [ -x "$KUBE" ] || { echo "no binary of Kubernetes: make demo builds it, or name it in KUBE" >&2; exit 1; }
fi
begun=$SECONDS
stage() { echo "  $1 ($((SECONDS - begun)) s)"; begun=$SECONDS; }
