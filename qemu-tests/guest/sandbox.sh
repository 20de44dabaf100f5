#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Sets up the sandbox on the host: started as PID 1 of fresh network, mount and PID
# namespaces. The Debian tree becomes the root (read-only), with the repository, the scratch folder
# and the run folder in it. Everything that runs for a guest runs in here, so that all of it ends when this
# process does.
#
#   sandbox.sh TREE REPO RUN SCRATCH IMAGE
set -eu
tree=$1 repo=$2 run=$3 scratch=$4 image=$5
# Still the host's /proc: our process id in the host's namespace.
read -r outer_pid _ </proc/self/stat
mount --make-rprivate /
mount --bind "$tree" "$tree"
mount -o remount,bind,ro "$tree"
mount --rbind /dev "$tree/dev"
mount --rbind /sys "$tree/sys"
mount -t tmpfs tmpfs "$tree/run"
mount -t tmpfs tmpfs "$tree/tmp"
in=$tree/run
mkdir -p "$in/root" "$in/share/repo" "$in/share/scratch" "$in/adit" "$in/image" "$in/netns"
mount --bind "$tree" "$in/root"
mount -o remount,bind,ro "$in/root"
mount --bind "$repo" "$in/share/repo"
mount -o remount,bind,ro "$in/share/repo"
mount --bind "$scratch" "$in/share/scratch"
if [ -d "$image/modules" ]; then
    mkdir "$in/share/modules"
    mount --bind "$image/modules" "$in/share/modules"
fi
mount --bind "$in/share/repo" "$tree/repo"
mount --bind "$in/share/scratch" "$tree/scratch"
mount --bind "$run" "$in/adit"
mount --bind "$image" "$in/image"
mount -t proc proc "$tree/proc"
chroot "$tree" /usr/sbin/ip link set lo up
# Reported as ready once the tree is the root, which commands that enter here see.
exec chroot "$tree" /bin/bash -c 'echo "ready $1"; exec >/dev/null 2>&1; sleep infinity & wait' \
    bash "$outer_pid" </dev/null
