#!/bin/bash
# run.sh: what `make kind` does: a kind cluster without a network, kubenet by its chart, the checks, the checks again after
# restarts of a node, of the control plane and of docker, and all of it gone again.
# KEEP=1 leaves it running. ARCHIVE and TAG: an image that is there already. RESTARTS= (empty): without them.
# USE_DOCKER=1: on this machine's docker, which is not restarted, with kind's own node image (NODE_IMAGE: which).
set -euo pipefail
. "$(dirname "$0")/settings.sh"
. "$here/docker.sh"
chart=$source/charts/kubenet
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$source/Cargo.toml" | head -1)
TAG=${TAG:-$version} RESTARTS=${RESTARTS-1}
image=kubenet.test/kubenet:$TAG
# Seconds within which the checks must pass again, without a hand.
GREEN=60

end() {
  local code=$?
  [ $code = 0 ] || trouble || true
  if [ -n "${KEEP:-}" ]; then
    echo "  it stays: export KUBECONFIG=$KUBECONFIG DOCKER_HOST=${DOCKER_HOST:-} PATH=$W/bin:\$PATH; $here/down.sh ends it"
  else
    "$here/down.sh"
  fi
  exit $code
}
trouble() {
  kubectl get nodes,pods -A -o wide || true
  for what in deployment/kubenet-controller daemonset/kubenet-agent; do kubectl -n kube-system logs --tail=15 --prefix "$what" --all-pods || true; done
}
trap end EXIT; trap 'exit 130' INT TERM

if [ -n "${USE_DOCKER:-}" ]; then
  kind create cluster --quiet --name "$NAME" --config "$here/cluster.yaml" ${NODE_IMAGE:+--image "$NODE_IMAGE"}
  docker build --quiet --tag "$image" "$source"
  kind load docker-image --name "$NAME" "$image"
else
  "$here/up.sh"
  IMAGES=${IMAGES:-$target/image}
  [ -n "${ARCHIVE:-}" ] || W=$IMAGES "$here/image.sh"
  docker load --quiet --input "${ARCHIVE:-$IMAGES/kubenet.tar}" >/dev/null
  kind load image-archive --name "$NAME" "${ARCHIVE:-$IMAGES/kubenet.tar}"
fi
stage "the image is on all nodes"

# A machine beside the nodes, which knows no route to any pod: kubenet's own image serves there.
docker rm -f kubenet-outside >/dev/null 2>&1 || true
docker run --detach --name kubenet-outside --network kind "$image" kubenet-check serve >/dev/null
outside=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}:8080,[{{.GlobalIPv6Address}}]:8080{{end}}' kubenet-outside)
put() { # install|upgrade FLAGS
  helm "$1" kubenet "$chart" --namespace kube-system "${@:2}" --wait --timeout 3m >"$W/helm.log" 2>&1 || { cat "$W/helm.log"; false; }
}
put install --values "$here/values.yaml" --set "image.tag=$TAG" --set "check.outside={$outside}"
kubectl wait --for=condition=Ready nodes --all --timeout=60s >/dev/null
stage "helm install --wait: all Nodes are Ready"
kubectl get nodes -o custom-columns='NODE:.metadata.name,POD CIDRS:.spec.podCIDRs,NETWORK:.status.conditions[?(@.type=="NetworkUnavailable")].message'

# All pods of the checks on all machines, and all that they ask each other.
checks() { helm test kubenet --namespace kube-system --logs --timeout "$1" >"$W/test.log" 2>&1; }
verdict() { grep reached "$W/test.log" | tail -1; }
checks 3m || { cat "$W/test.log"; false; }
cat "$W/test.log"
stage "helm test: $(verdict)"
kubectl -n kube-system rollout status deployment/coredns --timeout=60s >/dev/null
stage "CoreDNS is ready"

# WHAT COMMAND...: how long after the command it takes until the checks pass.
green_after() {
  local what=$1 start; shift
  "$@" >/dev/null
  start=$SECONDS
  until checks 1m; do
    [ $((SECONDS - start)) -lt $GREEN ] || { cat "$W/test.log"; echo "  $what: not green within $GREEN s"; return 1; }
    sleep 0.5
  done
  echo "  $what: green after $((SECONDS - start)) s: $(verdict)"
  [ $((SECONDS - start)) -le $GREEN ]
}
if [ -n "$RESTARTS" ]; then
  # Its address may be another one after that of docker.
  docker rm -f kubenet-outside >/dev/null
  put upgrade --reset-then-reuse-values --set check.outside=null
  kubectl -n kube-system rollout status deployment/kubenet-controller --timeout=60s >/dev/null
  green_after "a node restarted" docker restart "$NAME-worker"
  green_after "the control plane restarted" docker restart "$NAME-control-plane"
  docker_again() { docker_daemon_ends && docker_daemon; }
  [ -n "${USE_DOCKER:-}" ] || green_after "docker restarted" docker_again
  stage "restarts"
fi
helm uninstall kubenet --namespace kube-system --wait --timeout 2m
stage "helm uninstall"
