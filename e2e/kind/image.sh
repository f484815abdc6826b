#!/bin/bash
# image.sh: builds the Dockerfile as it stands, without any image registry, and writes the image as an OCI archive,
# $W/kubenet.oci.tar, and as a docker archive, $W/kubenet.tar, which docker and kind load.
# The build runs on a base made of Debian's packages; toolchain and crates are this machine's, mounted read-only.
# W: work folder (default target/image), IMAGE: name and tag in the archives.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
W=${W:-$source/target/image} IMAGE=${IMAGE:-kubenet.test/kubenet:$(sed -n 's/^version = "\(.*\)"/\1/p' "$source/Cargo.toml" | head -1)}
mkdir -p "$W/tmp"; W=$(cd "$W" && pwd)
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# Storage, caches and temporary files stay in the work folder.
export TMPDIR=$W/tmp BUILDAH_ISOLATION=chroot
buildah() { command buildah --root "$W/storage" --runroot "$W/run" "$@"; }

missing=
for program in buildah mmdebstrap; do command -v $program >/dev/null || missing+=" $program"; done
[ -z "$missing" ] || { echo "  installing$missing"; apt-get -q -y install --no-install-recommends $missing >/dev/null; }

base=kubenet.test/rust:$suite-1
if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
  echo "  a base of Debian $suite with a C compiler and nft"
  rm -f "$W/base.tar"
  mmdebstrap --quiet --variant=minbase --mode=root --aptopt='APT::Install-Recommends "false"' \
    --include=gcc,libc6-dev,nftables "$suite" "$W/base.tar" </dev/null
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$W/base.tar" / >/dev/null
  buildah config --env PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin --env CARGO_HOME=/opt/cargo \
    --env CARGO_NET_OFFLINE=true --cmd /bin/sh "$container"
  buildah commit --quiet --rm "$container" "$base" >/dev/null
  rm -f "$W/base.tar"
fi

(cd "$source" && cargo fetch --quiet --locked)
commit=$(git -C "$source" rev-parse --short=12 HEAD) date=$(git -C "$source" log -1 --format=%cs)
[ -z "$(git -C "$source" status --porcelain -- Cargo.toml Cargo.lock common controller agent e2e/check e2e/probe)" ] || commit+=-dirty
# One time for all files and for the image itself: the commit's.
buildah build --quiet --pull-never --timestamp "$(git -C "$source" log -1 --format=%ct)" \
  --volume "$(rustc --print sysroot):/opt/rust:ro" --volume "${CARGO_HOME:-$HOME/.cargo}/registry:/opt/cargo/registry:ro" \
  --build-arg BUILD_IMAGE="$base" --build-arg COMMIT="$commit" --build-arg DATE="$date" \
  --tag "$IMAGE" "$source" >/dev/null
rm -f "$W/kubenet.oci.tar" "$W/kubenet.tar"
buildah push --quiet "$IMAGE" "oci-archive:$W/kubenet.oci.tar:$IMAGE"
buildah push --quiet "$IMAGE" "docker-archive:$W/kubenet.tar:$IMAGE"
digest=$(tar -xOf "$W/kubenet.oci.tar" index.json | grep -o 'sha256:[0-9a-f]*' | head -1)
echo "  $IMAGE of $commit: $(($(stat -c %s "$W/kubenet.oci.tar") / 1000)) kB compressed, $digest"
