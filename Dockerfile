# kubenet's image: controller, agent, the plugin that the agent installs, and the checks; beside them nft, which the agent starts.
# No shell, no package manager. The result holds what is copied into /image below and nothing else.

# A Debian with Rust. Any later release does: programs and libraries come from the same one. The linker's packed relocations want glibc 2.36.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
RUN command -v nft >/dev/null || { apt-get update && apt-get install --yes --no-install-recommends nftables; }
WORKDIR /src
COPY . .
# What --version tells beside the version; the folder that is built holds no .git.
ARG COMMIT=unknown
ARG DATE=unknown
# Of cargo; `quick` is for who tests something else than how fast the programs are.
ARG PROFILE=release
# Cargo goes by times, which tell nothing across builds: a file whose content is that of the last build keeps the time that it had there.
# Paths of the build leave no trace in the programs, which are static: a runtime starts the plugin on the machine, and an agent without libraries of its own holds less memory.
# Their list of relocations is packed, as all of it is read at each start and stays in memory.
RUN --mount=type=cache,id=kubenet-build,target=/cache \
    set -eu; \
    mkdir -p /cache/src; cd /cache/src; \
    find . -type f | while read -r file; do [ -e "/src/$file" ] || rm "$file"; done; \
    (cd /src; find . -type f) | while read -r file; do \
      cmp -s "/src/$file" "$file" || { mkdir -p "${file%/*}"; cp "/src/$file" "$file"; }; \
    done; \
    export KUBENET_COMMIT="$COMMIT" KUBENET_DATE="$DATE" CARGO_TARGET_DIR=/cache/target; \
    export RUSTFLAGS="--remap-path-prefix=/cache/src=. --remap-path-prefix=${CARGO_HOME:-/root/.cargo}=/cargo -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs"; \
    host=$(rustc -vV | sed -n 's/^host: //p'); \
    cargo build --profile "$PROFILE" --locked --target "$host" -p agent -p check -p cni -p controller; \
    mkdir -p /image/usr/local/bin; cd "/cache/target/$host/$PROFILE"; \
    cp kubenet kubenet-agent kubenet-check kubenet-controller /image/usr/local/bin
# Libraries of nft, and the licenses of all that is Debian's.
RUN set -eu; cd /image; \
    cp --parents --dereference /usr/sbin/nft .; \
    for file in $(ldd usr/sbin/nft | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do \
      cp --parents --dereference "$file" .; \
      dpkg --search "*/${file##*/}" | cut -d: -f1; \
    done | sort -u | xargs -I{} cp --parents --dereference /usr/share/doc/{}/copyright /usr/share/doc/nftables/copyright .; \
    cp --parents /src/LICENSE . && mkdir -p usr/share/doc/kubenet && mv src/LICENSE usr/share/doc/kubenet/copyright && rmdir src; \
    mkdir -p etc; \
    echo 'root:x:0:0:root:/:/sbin/nologin' >etc/passwd; \
    echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' >>etc/passwd; \
    echo 'hosts: files dns' >etc/nsswitch.conf

FROM ${RUNTIME_IMAGE}
ARG COMMIT=unknown
LABEL org.opencontainers.image.title=kubenet \
      org.opencontainers.image.description="The simplest pod network of Kubernetes" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.revision=${COMMIT}
COPY --from=build /image/ /
ENV PATH=/usr/local/bin:/usr/sbin
# The agent alone needs root, and says so in its manifest.
USER 65532:65532
CMD ["kubenet-controller", "--help"]
