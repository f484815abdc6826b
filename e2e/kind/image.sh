#!/bin/bash
# image.sh: builds the Dockerfile as it stands, without any image registry, and writes the image as a docker archive, which
# containerd, docker and kind load: $OUT. Nothing is built where that holds the same image already.
# The build runs on a base made of Debian's packages; toolchain and crates are this machine's, mounted read-only.
# W: work folder (default target/image), IMAGE: name and tag in the archive, OUT (default $W/kubenet.tar).
# TREE: of which commit the programs are; the working tree's where empty. QUICK=1: little optimized, for a test.
# OCI=FILE: writes an OCI archive too, and says its size and digest.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
W=${W:-$source/target/image} TREE=${TREE:-} QUICK=${QUICK:-} OCI=${OCI:-}
mkdir -p "$W/tmp"; W=$(cd "$W" && pwd)
OUT=${OUT:-$W/kubenet.tar}
IMAGE=${IMAGE:-kubenet.test/kubenet:$(sed -n 's/^version = "\(.*\)"/\1/p' "$source/Cargo.toml" | head -1)}
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# Storage, caches and temporary files stay in the work folder.
export TMPDIR=$W/tmp BUILDAH_ISOLATION=chroot
buildah() { command buildah --root "$W/storage" --runroot "$W/run" "$@"; }
# One build at a time in a work folder.
exec 8>"$W/lock"; flock 8

# What the programs are made of. The image is that of the last commit that changed it, whatever came after.
parts="Cargo.toml Cargo.lock LICENSE common controller agent e2e/check e2e/probe"
history() { git -C "$source" log -1 --abbrev=12 --format="$1" "${TREE:-HEAD}" -- $parts Dockerfile; }
commit=$(history %h) date=$(history %cs) time=$(history %ct)
if [ -n "$TREE" ]; then
  context=$W/tree-$commit
  [ -e "$context" ] || { mkdir -p "$context.new"; git -C "$source" archive "$TREE" | tar -x -C "$context.new"; mv "$context.new" "$context"; }
else
  context=$source
  [ -z "$(git -C "$source" status --porcelain -- $parts Dockerfile)" ] || commit+=-dirty
fi
arguments=(--build-arg COMMIT="$commit" --build-arg DATE="$date")
[ -z "$QUICK" ] || arguments+=(--build-arg PROFILE=quick)
# An earlier commit may not know that profile.
grep -q '^\[profile.quick\]' "$context/Cargo.toml" || sed -n '/^\[profile.quick\]/,/^$/p' "$source/Cargo.toml" >>"$context/Cargo.toml"
made=$({ echo "$IMAGE $time ${arguments[*]} $OCI"; rustc -V; cat "$source/Dockerfile"
  cd "$context"; find $parts -type f -print0 | sort -z | xargs -0 sha256sum; } | sha256sum)
if [ -e "$OUT" ] && [ "$(cat "$OUT.made" 2>/dev/null)" = "$made" ]; then echo "  $IMAGE of $commit is there"; exit; fi

missing=
for program in buildah mmdebstrap; do type -P $program >/dev/null || missing+=" $program"; done
install() { DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $missing >/dev/null; }
[ -z "$missing" ] || { echo "  installing$missing"; install 2>/dev/null || { apt-get -q update >/dev/null; install; }; }

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

(cd "$context" && cargo fetch --quiet --locked)
# One time for all files and for the image itself: the commit's.
buildah build --quiet --pull-never --timestamp "$time" --file "$source/Dockerfile" \
  --volume "$(rustc --print sysroot):/opt/rust:ro" --volume "${CARGO_HOME:-$HOME/.cargo}/registry:/opt/cargo/registry:ro" \
  --build-arg BUILD_IMAGE="$base" "${arguments[@]}" --tag "$IMAGE" "$context" >/dev/null
rm -f "$OUT" "$OUT.made"
buildah push --quiet "$IMAGE" "docker-archive:$OUT:$IMAGE"
if [ -n "$OCI" ]; then
  rm -f "$OCI"
  buildah push --quiet "$IMAGE" "oci-archive:$OCI:$IMAGE"
  digest=$(tar -xOf "$OCI" index.json | grep -o 'sha256:[0-9a-f]*' | head -1)
  echo "  $(($(stat -c %s "$OCI") / 1000)) kB compressed, $digest"
fi
echo "$made" >"$OUT.made"
echo "  $IMAGE of $commit"
