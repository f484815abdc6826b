# Sourced: a dockerd of our own, whose bridges, rules and sysctls of the network are in a namespace that ends with it.
docker_daemon() {
  ! docker version >/dev/null 2>&1 || return 0
  rm -f "$W/docker.pid"
  # What the kubelets and the nodes' systemd change outside of any namespace, for down.sh, as it was before the first start.
  if [ ! -e "$W/sysctl.saved" ]; then
    for folder in /lib/modules /opt/containerd /run/containerd /run/docker; do [ -e $folder ] || echo $folder; done >"$W/made-folders"
    for key in vm.overcommit_memory kernel.panic kernel.panic_on_oops fs.file-max fs.nr_open; do echo "$key = $(sysctl -n $key)"; done >"$W/sysctl.saved"
  fi
  setsid nohup unshare --net --mount --propagation private sh -c 'ip link set lo up; exec "$@"' - \
    dockerd --data-root "$W/docker" --exec-root "$W/exec" --pidfile "$W/docker.pid" -H "$DOCKER_HOST" --bridge none \
    --add-runtime "caps=$here/runc-caps" --default-runtime caps >>"$W/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 60); do docker version >/dev/null 2>&1 && return 0; sleep 0.5; done
  tail -5 "$W/dockerd.log" >&2; return 1
}

# Ends it as a service manager does; the cluster's containers end with it.
docker_daemon_ends() {
  local pid; pid=$(cat "$W/docker.pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 120); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.5; done
  echo "dockerd, $pid, does not end" >&2; return 1
}
