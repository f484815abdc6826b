#!/bin/bash
# run.sh: what `make kind` does: a kind cluster without a network, kubenet by its chart, the checks, and all of it gone again.
# KEEP=1 leaves it running. USE_DOCKER=1: on this machine's docker, with kind's own node image (NODE_IMAGE: which).
set -euo pipefail
. "$(dirname "$0")/settings.sh"
chart=$source/charts/kubenet
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
  probe_target=$(rustc -vV | sed -n 's/^host: //p')
  (cd "$source"; CARGO_TARGET_DIR=$target RUSTFLAGS='-C target-feature=+crt-static' cargo build --quiet --release --locked -p probe --target "$probe_target")
  mkdir -p "$W/bin"; cp "$target/$probe_target/release/probe" "$W/bin/probe"
  kind create cluster --quiet --name "$NAME" --config "$here/cluster.yaml" ${NODE_IMAGE:+--image "$NODE_IMAGE"}
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$source/Cargo.toml" | head -1)
  docker build --quiet --tag "kubenet.test/kubenet:$version" "$source"
  kind load docker-image --name "$NAME" "kubenet.test/kubenet:$version"
else
  "$here/up.sh"
  IMAGES=${IMAGES:-$target/image}
  W=$IMAGES "$here/image.sh"
  kind load image-archive --name "$NAME" "$IMAGES/kubenet.tar"
fi
stage "the image is on all nodes"
helm install kubenet "$chart" --namespace kube-system --values "$here/values.yaml" --wait --timeout 3m >"$W/helm.log" 2>&1 || { cat "$W/helm.log"; false; }
kubectl wait --for=condition=Ready nodes --all --timeout=60s >/dev/null
stage "helm install --wait: all Nodes are Ready"
kubectl get nodes -o custom-columns='NODE:.metadata.name,POD CIDRS:.spec.podCIDRs,NETWORK:.status.conditions[?(@.type=="NetworkUnavailable")].message'
"$here/check.sh"
begun=$SECONDS
kubectl -n kube-system rollout status deployment/coredns --timeout=60s >/dev/null
stage "CoreDNS is ready"
helm uninstall kubenet --namespace kube-system --wait --timeout 1m >/dev/null
stage "helm uninstall"
