# kubenet's image: controller, agent, the plugin that the agent installs, and the checks; beside them nft, which the agent starts.
# No shell, no package manager. The result holds what is copied into /image below and nothing else.

# A Debian with Rust. Any other release does: programs and libraries come from the same one.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
RUN command -v nft >/dev/null || { apt-get update && apt-get install --yes --no-install-recommends nftables; }
WORKDIR /src
COPY . .
# What --version tells beside the version; the folder that is built holds no .git.
ARG COMMIT=unknown
ARG DATE=unknown
# How much cargo optimizes, where somebody is in a hurry; as Cargo.toml says unless they are given.
ARG CARGO_PROFILE_RELEASE_LTO
ARG CARGO_PROFILE_RELEASE_OPT_LEVEL
ARG CARGO_PROFILE_RELEASE_CODEGEN_UNITS
# Cargo goes by times, which tell nothing across builds: a file whose content is that of the last build keeps the time that it had there.
# Paths of the build leave no trace in the programs. The plugin is static, because a runtime starts it on the machine.
RUN --mount=type=cache,id=kubenet-build,target=/cache \
    set -eu; \
    mkdir -p /cache/src; cd /cache/src; \
    find . -type f | while read -r file; do [ -e "/src/$file" ] || rm "$file"; done; \
    (cd /src; find . -type f) | while read -r file; do \
      cmp -s "/src/$file" "$file" || { mkdir -p "${file%/*}"; cp "/src/$file" "$file"; }; \
    done; \
    export KUBENET_COMMIT="$COMMIT" KUBENET_DATE="$DATE" CARGO_TARGET_DIR=/cache/target; \
    paths="--remap-path-prefix=/cache/src=. --remap-path-prefix=${CARGO_HOME:-/root/.cargo}=/cargo"; \
    host=$(rustc -vV | sed -n 's/^host: //p'); \
    RUSTFLAGS="$paths" cargo build --release --locked -p agent -p check -p controller; \
    RUSTFLAGS="$paths -C target-feature=+crt-static" cargo build --release --locked -p cni --target "$host"; \
    mkdir -p /image/usr/local/bin; cd /cache/target; \
    cp release/kubenet-agent release/kubenet-check release/kubenet-controller "$host/release/kubenet" /image/usr/local/bin
# Each program's libraries, and the licenses of all that is Debian's.
RUN set -eu; cd /image; \
    cp --parents --dereference /usr/sbin/nft .; \
    for file in $(ldd usr/sbin/nft usr/local/bin/kubenet-agent usr/local/bin/kubenet-check usr/local/bin/kubenet-controller | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do \
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
