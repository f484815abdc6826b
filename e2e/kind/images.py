#!/usr/bin/env python3
"""images.py OUT VERSION KUBE PROBE ROOTFS KIND COREDNS

Writes what `kind build node-image --type file` takes for a release of Kubernetes: OUT/server.tar.gz, with every image
that kubeadm and kind ask for in it, so that nothing is left to pull. KUBE is the one binary of Kubernetes, PROBE the
program of the checks, ROOTFS the root of the nodes, KIND kind's source folder.

The images of Kubernetes share one layer, which holds KUBE; kube-proxy has iptables and nft of ROOTFS as a second one.
Images that nothing here uses (kindnetd, local-path-provisioner) are `probe pause` under their names.
"""

import glob
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile

OUT, VERSION, KUBE, PROBE, ROOTFS, KIND, COREDNS = sys.argv[1:8]
NAMES = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd"]
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USERS = {"etc/passwd": b"root:x:0:0:root:/root:/sbin/nologin\n", "etc/group": b"root:x:0:\n"}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def layer(programs, links=(), texts=()):
    """A layer of programs {path: source}, links {path: target} and texts {path: content}: its digest, and it, compressed."""
    buffer = io.BytesIO()
    tar = tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT)
    made = set()

    def entry(path, kind, mode, content=b"", target=""):
        parent = os.path.dirname(path)
        if parent and parent not in made:
            entry(parent, tarfile.DIRTYPE, 0o755)
        made.add(path)
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.size, info.linkname = kind, mode, len(content), target
        tar.addfile(info, io.BytesIO(content))

    entry("tmp", tarfile.DIRTYPE, 0o1777)
    for path, source in dict(programs).items():
        entry(path, tarfile.REGTYPE, 0o755, read(source))
    for path, target in dict(links).items():
        entry(path, tarfile.SYMTYPE, 0o777, target=target)
    for path, content in dict(texts).items():
        entry(path, tarfile.REGTYPE, 0o644, content)
    tar.close()
    raw = buffer.getvalue()
    return sha256(raw), gzip.compress(raw, 1, mtime=0)


def with_libraries(programs):
    """Programs of ROOTFS and all libraries that they load."""
    text = subprocess.check_output(["chroot", ROOTFS, "ldd", *programs], text=True)
    paths = set(re.findall(r"(/\S+\.so\S*)", text)) | set(programs)
    return {path.lstrip("/"): os.path.realpath(ROOTFS + path) for path in sorted(paths) if os.path.exists(ROOTFS + path)}


def firewall():
    """What kube-proxy starts. iptables loads its extensions by name, and they have libraries of their own."""
    extensions = glob.glob(ROOTFS + "/usr/lib/*/xtables/*.so")
    links = {path[len(ROOTFS) + 1 :]: os.readlink(path) for path in extensions if os.path.islink(path)}
    for family in ("ip", "ip6"):
        links |= {f"usr/sbin/{family}tables{end}": "xtables-nft-multi" for end in ("", "-save", "-restore")}
    programs = [f"/usr/sbin/{name}" for name in ("xtables-nft-multi", "xtables-legacy-multi", "nft", "conntrack")]
    programs += [path[len(ROOTFS) :] for path in extensions if not os.path.islink(path)]
    return layer(with_libraries(programs), links)


def wanted():
    """The names of all images that kubeadm and kind ask for."""
    command = [KUBE, "kubeadm", "config", "images", "list", "--kubernetes-version", VERSION]
    names = subprocess.check_output(command, text=True).split()
    config = read(KIND + "/images/base/files/etc/containerd/config.toml").decode()
    names.append(re.search(r'sandbox_image = "(.*?)"', config)[1])
    for file in ("const_cni.go", "const_storage.go"):
        names += re.findall(r'^const \w+Image = "(.*?)"', read(f"{KIND}/pkg/build/nodeimage/{file}").decode(), re.M)
    return list(dict.fromkeys(names))


def images():
    kube = layer({"usr/local/bin/kube": KUBE}, {"usr/local/bin/" + name: "kube" for name in NAMES}, USERS)
    coredns = layer({"coredns": COREDNS}, texts=USERS)
    proxy, pause = firewall(), layer({"probe": PROBE}, texts=USERS)
    for name in wanted():
        short = name.rsplit("/", 1)[-1].split(":")[0]
        if short in NAMES:
            yield name, [kube, proxy] if short == "kube-proxy" else [kube], ["/usr/local/bin/" + short]
        elif short == "coredns":
            yield name, [coredns], ["/coredns"]
        else:
            yield name, [pause], ["/probe", "pause"]


def archive(path, contents):
    """A docker archive; kind reads its tags from `repositories`."""
    repositories, manifest, blobs = {}, [], {}
    for name, layers, entrypoint in contents:
        config = json.dumps({
            "architecture": ARCHITECTURE,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": entrypoint, "Env": [PATH]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest for digest, _ in layers]},
        }).encode()
        blobs[sha256(config) + ".json"] = config
        blobs |= {digest + ".tar.gz": content for digest, content in layers}
        repository, tag = name.rsplit(":", 1)
        repositories.setdefault(repository, {})[tag] = sha256(config)
        paths = [digest + ".tar.gz" for digest, _ in layers]
        manifest.append({"Config": sha256(config) + ".json", "RepoTags": [name], "Layers": paths})
    texts = {"repositories": json.dumps(repositories).encode(), "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as tar:
        for name, content in (texts | blobs).items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))


def main():
    folder = OUT + "/bin"
    os.makedirs(folder, exist_ok=True)
    made = list(images())
    # kind loads four archives and does not mind which of them holds what.
    archive(f"{folder}/{NAMES[0]}.tar", made)
    for name in NAMES[1:4]:
        archive(f"{folder}/{name}.tar", [image for image in made if image[2] == ["/probe", "pause"]][:1])
    for name in ("kubeadm", "kubelet"):
        with open(f"{folder}/{name}", "w") as file:
            file.write(f'#!/bin/bash\nexec -a {name} /usr/bin/kube "$@"\n')
    with open(f"{folder}/kubectl", "w") as file:
        file.write('#!/bin/bash\nexec -a kubectl /usr/bin/kube "$@"\n')
    with tarfile.open(OUT + "/server.tar.gz", "w:gz", compresslevel=1) as tar:
        for name in sorted(os.listdir(folder)):
            tar.add(f"{folder}/{name}", "kubernetes/server/bin/" + name)
        version = (VERSION + "\n").encode()
        info = tarfile.TarInfo("kubernetes/version")
        info.size = len(version)
        tar.addfile(info, io.BytesIO(version))


main()
