#!/bin/bash
# check.sh: whether pods of the cluster reach what they should, by each family. A line for each question; fails if one fails.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
cd "$W"; mkdir -p bin
image=kubenet.test/probe:1
port=8080 host_port=18080 outside=kubenet-outside

program() {
  [ -x bin/probe ] || { echo "no program of the checks: up.sh makes it" >&2; exit 1; }
  printf 'FROM scratch\nCOPY probe /probe\nENTRYPOINT ["/probe"]\n' >bin/Dockerfile
  DOCKER_BUILDKIT=0 docker build -q -t $image bin >/dev/null
  kind load docker-image --name "$NAME" $image >/dev/null 2>&1
  # A machine beside the nodes: it knows no route to any pod.
  docker rm -f $outside >/dev/null 2>&1 || true
  docker run -d --name $outside --network kind $image serve >/dev/null
}

# On each node two pods, the first with a host port, and a Service for it.
objects() {
  local node=$1
  cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: a-$node, namespace: kubenet-check, labels: {pod: a-$node}}
spec:
  nodeName: $node
  terminationGracePeriodSeconds: 1
  containers:
    - {name: probe, image: "$image", imagePullPolicy: Never, args: [serve], ports: [{containerPort: $port, hostPort: $host_port}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b-$node, namespace: kubenet-check}
spec:
  nodeName: $node
  terminationGracePeriodSeconds: 1
  containers: [{name: probe, image: "$image", imagePullPolicy: Never, args: [serve]}]
---
apiVersion: v1
kind: Service
metadata: {name: a-$node, namespace: kubenet-check}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {pod: a-$node}
  ports: [{port: 80, targetPort: $port}]
---
YAML
}

of_family() { # FAMILY ADDRESS...
  local family=$1 address; shift
  for address; do case $family$address in 6*:*) echo "[$address]" ;; 4*:*) ;; 4*) echo "$address" ;; esac; done | head -1
}

pod() { of_family "$1" $(kubectl -n kubenet-check get pod "$2" -o 'jsonpath={.status.podIPs[*].ip}'); }
service() { of_family "$1" $(kubectl -n kubenet-check get service "$2" -o 'jsonpath={.spec.clusterIPs[*]}'); }
machine() { of_family "$1" $(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}' "$2"); }

passed=0 failed=0
# WHAT NODE POD-ADDRESS TARGET WANTED [SEEN]: the pod asks the target over TCP; WANTED answers, and saw SEEN if that is given.
ask() {
  local what=$1 node=$2 from=$3 to=$4 wanted=$5 seen=${6:-} answer
  for _ in $(seq 20); do
    answer=$(docker exec "$node" curl -gsS -m 8 "http://$from:$port/dial?by=tcp&to=$to&within=3000" 2>&1 || true)
    # What kube-proxy says for a new Service until it has heard of its endpoints.
    [[ $answer = *"Connection refused"* ]] || break
    sleep 0.5
  done
  set -- $answer
  if [ "${2:-}" = "$wanted" ] && { [ -z "$seen" ] || [ "$seen" = "${3:-}" ]; }; then
    passed=$((passed + 1)); printf '  ok    %-62s %7s us  seen as %s\n' "$what" "$1" "$3"
  else
    failed=$((failed + 1)); printf '  FAIL  %-62s %s to %s: %s\n' "$what" "$from" "$to" "$answer"
  fi
}

matrix() {
  local family node other a b plain
  for family in 4 6; do
    for node in $nodes; do
      a=$(pod $family "a-$node") b=$(pod $family "b-$node") plain=${b#[} plain=${plain%]}
      ask "IPv$family $node: pod on this node" "$node" "$b" "$a:$port" "a-$node" "$plain"
      ask "IPv$family $node: Service on this node" "$node" "$b" "$(service $family "a-$node"):80" "a-$node"
      ask "IPv$family $node: its own Service" "$node" "$a" "$(service $family "a-$node"):80" "a-$node"
      plain=$(machine $family "$node") plain=${plain#[} plain=${plain%]}
      ask "IPv$family $node: outside, masqueraded" "$node" "$b" "$(machine $family $outside):$port" "$outside_name" "$plain"
      plain=${b#[} plain=${plain%]}
      for other in $nodes; do
        ask "IPv$family $node: host port of $other" "$node" "$b" "$(machine $family "$other"):$host_port" "a-$other"
        [ "$other" != "$node" ] || continue
        ask "IPv$family $node: pod on $other" "$node" "$b" "$(pod $family "a-$other"):$port" "a-$other" "$plain"
        ask "IPv$family $node: Service on $other" "$node" "$b" "$(service $family "a-$other"):80" "a-$other"
      done
    done
  done
}

nodes=$(kind get nodes --name "$NAME" | sort)
program
outside_name=$(docker inspect -f '{{.Config.Hostname}}' $outside)
kubectl create namespace kubenet-check --dry-run=client -o yaml | kubectl apply -f - >/dev/null
# Pods may only be made once the namespace has its service account.
for _ in $(seq 50); do kubectl -n kubenet-check get serviceaccount default >/dev/null 2>&1 && break; sleep 0.2; done
for node in $nodes; do objects "$node"; done | kubectl apply -f - >/dev/null
kubectl -n kubenet-check wait --for=condition=Ready pods --all --timeout=60s >/dev/null
stage "pods of the checks are ready"
matrix
kubectl delete namespace kubenet-check --wait >/dev/null
docker rm -f $outside >/dev/null
echo "  $passed ok, $failed failed ($((SECONDS - begun)) s)"
[ $failed = 0 ]
