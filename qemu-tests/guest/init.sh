#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The guest's init: file systems, the NIC's driver, then the agent, which runs the commands
# of the host. bash reaps orphans, the remaining duty of PID 1.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/repo/qemu-tests/guest/bin:/scratch/bin
export HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount --make-rshared /
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/hugepages
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
ln -sf /proc/self/fd /dev/fd
hostname adit-guest
echo 127.0.0.1 localhost adit-guest >/etc/hosts
ip link set lo up
mkdir -p /run/modprobe.d /run/lock
# Containers: their storage cannot be overlays on the root, which is one, and nothing manages groups
# of processes. The user `guest` may start them, too.
mkdir -p /etc/containers
cat >/etc/containers/storage.conf <<'STORAGE'
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
STORAGE
cat >/etc/containers/containers.conf <<'CONTAINERS'
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
CONTAINERS
useradd --create-home --shell /bin/bash guest
# Distinguishes a panic from a reset for the host.
modprobe -q pvpanic-mmio
# Drivers are loaded only explicitly: there is no udev, and the command line selects the driver of
# the NIC.
for word in $(</proc/cmdline); do
    case $word in
    adit.pace=*) export SELFTEST_PACE=${word#*=} ;;
    adit.driver=none) ;;
    adit.driver=adit) adit-load || echo "adit-init: no NIC is bound to adit" ;;
    adit.driver=*) modprobe "${word#adit.driver=}" || echo "adit-init: cannot load ${word#*=}" ;;
    esac
done
# Handles the requests of busybox's reboot(8) and poweroff(8): ends all other processes first. The
# agent is ended before the others: it would report the commands killed here as exited.
end() {
    kill -KILL "$agent"
    kill -TERM -1
    sleep 0.5
    kill -KILL -1
    sync
    busybox "$1" -f
}
trap 'end reboot' TERM
trap 'end poweroff' USR2
cd /root
/usr/local/bin/adit-agent serve </dev/null &
agent=$!
wait "$agent"
echo b >/proc/sysrq-trigger
