#!/bin/bash
# up.sh: from Debian's packages and the Go proxy to a kind cluster of three nodes, without any image registry.
# Nothing is installed but iptables: docker, containerd, runc and mmdebstrap are unpacked in the work folder.
# README.md says what changes outside of it; down.sh takes that back.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
. "$here/docker.sh"
KIND_VERSION=${KIND_VERSION:-v0.33.0} SUITE=${SUITE:-trixie}
mirror=$(grep -rhoE "https?://[^ ]+/debian$" /etc/apt/ --include=\*sources\* 2>/dev/null | grep -v snapshot | head -1 || true)
MIRROR=${MIRROR:-${mirror:-http://deb.debian.org/debian}}
version=$("$KUBE" kubelet --version | awk '{print $2}')
image=kindest/node:$version
cd "$W"; mkdir -p bin debs

tools() {
  if [ ! -x tools/usr/sbin/dockerd ]; then
    local packages="docker.io containerd runc mmdebstrap"
    (cd debs; apt-get -q download $packages >/dev/null 2>&1 || { apt-get -q update >/dev/null; apt-get -q download $packages >/dev/null; })
    for deb in debs/*.deb; do dpkg -x "$deb" tools; done
  fi
  command -v iptables >/dev/null || apt-get -q -y install iptables >/dev/null
  [ -x bin/kind ] || GOFLAGS= GOBIN=$W/bin go install "sigs.k8s.io/kind@$KIND_VERSION"
  kind_source=$(GOFLAGS= go mod download -json "sigs.k8s.io/kind@$KIND_VERSION" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
}

# The nodes' containerd is newer than the stable releases': the reference of CNI 1.1 and of STATUS.
newer_containerd() {
  [ ! -x sid/x/usr/bin/containerd ] || return 0
  mkdir -p sid/lists/partial sid/archives/partial
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $MIRROR sid main" >sid/sources.list
  cat >sid/apt.conf <<CONF
Dir::Etc::sourcelist "$W/sid/sources.list"; Dir::Etc::sourceparts "-"; Dir::State::lists "$W/sid/lists"; Dir::State::status "/dev/null";
Dir::Cache "$W/sid"; APT::Sandbox::User "root"; Acquire::Languages "none";
CONF
  APT_CONFIG=$W/sid/apt.conf apt-get -q update >/dev/null
  (cd sid; APT_CONFIG=$W/sid/apt.conf apt-get -q download containerd >/dev/null)
  for deb in sid/*.deb; do dpkg -x "$deb" sid/x; done
}

coredns() {
  [ ! -x bin/coredns ] || return 0
  local minor=${version#v*.}
  local dns; dns=$("$KUBE" kubeadm config images list --kubernetes-version "$version" | sed -n 's/.*coredns://p')
  mkdir -p coredns; cp "$here/coredns/main.go" coredns/
  (cd coredns; printf 'module coredns\ngo 1.26.0\n' >go.mod; export GOFLAGS= CGO_ENABLED=0
    go get "github.com/coredns/coredns@$dns" "k8s.io/client-go@v0.$minor" "k8s.io/api@v0.$minor" "k8s.io/apimachinery@v0.$minor" 2>/dev/null
    go mod tidy -e >/dev/null 2>&1; go build -trimpath -ldflags '-s -w' -o ../bin/coredns .)
}

probe() {
  local host; host=$(rustc -vV | sed -n 's/^host: //p')
  (cd "$source"; CARGO_TARGET_DIR=$target RUSTFLAGS='-C target-feature=+crt-static' cargo build --quiet --release --locked -p probe --target "$host")
  cp "$target/$host/release/probe" bin/probe
}

# Debian with kind's own files, laid out as kind's images/base/Dockerfile says. No CNI plugin is in it: kubenet needs none.
base() {
  [ ! -e base.done ] || return 0
  rm -rf base
  local packages=systemd,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod,libseccomp2,pigz,fuse-overlayfs,nfs-common,open-iscsi,e2fsprogs,bash,ca-certificates,curl,jq,procps,socat,runc
  local files=$kind_source/images/base/files excludes=()
  for folder in doc man locale info; do excludes+=("--dpkgopt=path-exclude=/usr/share/$folder/*"); done
  perl tools/usr/bin/mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
    --aptopt='APT::Install-Recommends "false"' "${excludes[@]}" --include=$packages "$SUITE" base "$MIRROR" </dev/null
  (cd "$files"; find . -type f) | while read -r path; do
    mode=0644; case $path in ./usr/local/bin/*|./kind/bin/*) mode=0755 ;; esac
    install -D -m $mode "$files/$path" "base/$path"
  done
  cp sid/x/usr/bin/{containerd,ctr,containerd-shim-runc-v2} base/usr/local/bin/
  cp -a base/usr/sbin/runc base/usr/local/sbin/runc
  mkdir -p base/opt/cni/bin base/etc/kubernetes/manifests
  echo ReadKMsg=no >>base/etc/systemd/journald.conf
  chroot base bash -euc '
    cd /usr/lib/systemd/system
    rm -f sysinit.target.wants/systemd-tmpfiles-setup.service multi-user.target.wants/* local-fs.target.wants/* basic.target.wants/* sockets.target.wants/*udev* sockets.target.wants/*initctl* /etc/systemd/system/*.wants/*
    ln -sf /usr/lib/systemd/systemd /sbin/init
    { systemctl enable kubelet.service containerd.service undo-mount-hacks.service; systemctl mask systemd-binfmt.service; } 2>/dev/null
    ctr oci spec | jq ".hooks.createContainer += [{path: \"/kind/bin/mount-product-files.sh\"}] | del(.process.rlimits)" >/etc/containerd/cri-base.json'
  touch base.done
}

# Published ports, the API server's among them, are in dockerd's namespace.
clients() {
  for name in kubectl helm curl; do
    local program="$KUBE $name"; [ $name != curl ] || program=/usr/bin/curl
    printf '#!/bin/sh\nexec nsenter --net=/proc/$(cat %s)/ns/net -- %s "$@"\n' "$W/docker.pid" "$program" >bin/$name
    chmod +x bin/$name
  done
}

# kind's own `build node-image`, given a release of Kubernetes that images.py makes.
node_image() {
  local id; id=$( (sha256sum <"$KUBE"; sha256sum <"$here/images.py"; sha256sum <bin/probe; stat -c %Y base.done) | sha256sum | cut -c1-12)
  if [ "$(cat image.id 2>/dev/null)" = "$id" ] && docker image inspect "$image" >/dev/null 2>&1; then return 0; fi
  mkdir -p bits; cp -f "$KUBE" base/usr/bin/kube
  python3 "$here/images.py" "$W/bits" "$version" "$KUBE" "$W/bin/probe" "$W/base" "$kind_source" "$W/bin/coredns"
  docker rmi -f "$image" kindest/base:local kindest/base:raw >/dev/null 2>&1 || true
  tar -C base -c . | docker import - kindest/base:raw >/dev/null
  # `docker import` can't set STOPSIGNAL.
  printf 'FROM kindest/base:raw\nENV container=docker\nSTOPSIGNAL SIGRTMIN+3\nENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]\n' |
    DOCKER_BUILDKIT=0 docker build -q -t kindest/base:local - >/dev/null
  TMPDIR=$W kind build node-image --type file --base-image kindest/base:local --image "$image" bits/server.tar.gz >build.log 2>&1 ||
    { tail -20 build.log >&2; return 1; }
  echo "$id" >image.id
}

tools; newer_containerd; stage "docker, containerd and kind"
coredns; stage "CoreDNS"
probe; stage "the program of the checks"
base; stage "root of the nodes, $(du -sm base | cut -f1) MB"
docker_daemon; clients; stage "dockerd"
node_image; stage "node image, $(docker image inspect -f '{{.Size}}' "$image" | awk '{print int($1 / 1e6)}') MB"
kind get clusters 2>/dev/null | grep -qx "$NAME" ||
  kind create cluster --quiet --name "$NAME" --image "$image" --config "$here/cluster.yaml"
# Its image is not there, and nothing here needs it.
kubectl delete namespace local-path-storage --ignore-not-found --wait=false >/dev/null
stage "cluster $NAME"
