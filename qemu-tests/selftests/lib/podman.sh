# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests that run containers: podman with a storage of the test's own. The containers share
# a root, each with an overlay: an image would take podman half a minute to import under TCG.

# containers_begin NAME: makes the storage, and the folder $containers/root of the containers' root.
containers_begin() {
    containers=/tmp/$1-containers
    export CONTAINERS_STORAGE_CONF=$containers/storage.conf
    mkdir -p $containers/root/{bin,tmp}
    cat >$CONTAINERS_STORAGE_CONF <<EOC
[storage]
driver = "vfs"
runroot = "$containers/run"
graphroot = "$containers/storage"
EOC
}

podman() { command podman --cgroup-manager=cgroupfs "$@"; }

# containers_root PROGRAM…: puts a shell into the root, these programs, and the libraries that they are
# linked with, all in the search path.
containers_root() {
    local root=$containers/root programs=() program applet
    for program in busybox "$@"; do programs+=("$(command -v "$program")") || return; done
    cp "${programs[@]}" $root/bin || return
    ldd "${programs[@]}" | grep -o '[[:space:]]/[^ ]*' | sort -u | xargs cp -L --parents -t $root || return
    for applet in sh ls cat sleep mknod dd env stat; do ln -sf busybox $root/bin/$applet; done
}

# container_run NAME [OPTION…] -- COMMAND…: a container without a network.
container_run() {
    local name=$1 options=()
    shift
    while [[ $1 != -- ]]; do options+=("$1") && shift; done
    podman run --rm --name "$name" --network none "${options[@]}" --rootfs $containers/root:O "${@:2}"
}

# containers_end: removes the containers and the storage.
containers_end() {
    [[ -n $containers ]] || return 0
    podman rm --all --force >/dev/null 2>&1
    rm -rf $containers
}
