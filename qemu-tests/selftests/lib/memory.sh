# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests that look for leaks in the kernel.

# memory: the kernel memory in use, in kB, after deferred frees.
memory() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    sleep 1
    awk '/^(Slab|PageTables|VmallocUsed|Percpu|SecPageTables|KernelStack):/ { sum += $2 } END { print sum }' /proc/meminfo
}

# pinned: the number of pages pinned for devices. Per-CPU differences are folded in by stat_refresh.
pinned() {
    cat /proc/sys/vm/stat_refresh
    awk '/^nr_foll_pin_acquired / { n += $2 } /^nr_foll_pin_released / { n -= $2 } END { print n }' /proc/vmstat
}

# grown BEFORE AFTER KB: succeeds if memory has grown by more than KB. KASAN quarantines freed
# objects (1/32 of memory at most), and kmemleak keeps metadata of each object.
grown() {
    local slack=$3
    [[ ! -e /sys/kernel/debug/kmemleak ]] || slack=$((slack + $(awk '/^MemTotal:/ { print int($2 / 24) }' /proc/meminfo)))
    echo "# $1 kB in use before, $2 kB after"
    (($2 > $1 + slack))
}
