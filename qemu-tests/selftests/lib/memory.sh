# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests that look whether the kernel keeps something.

# What the kernel has in use, in kB, once what waits to be freed is.
memory() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    sleep 1
    awk '/^(Slab|PageTables|VmallocUsed|Percpu|SecPageTables|KernelStack):/ { sum += $2 } END { print sum }' /proc/meminfo
}

# How many pages are pinned for devices. CPUs keep small differences to themselves until asked.
pinned() {
    cat /proc/sys/vm/stat_refresh
    awk '/^nr_foll_pin_acquired / { n += $2 } /^nr_foll_pin_released / { n -= $2 } END { print n }' /proc/vmstat
}

# grown BEFORE AFTER KB: whether it is more by this much. A kernel with KASAN keeps freed objects
# back for a while (1/32 of memory at most), and one with kmemleak notes about each.
grown() {
    local slack=$3
    [[ ! -e /sys/kernel/debug/kmemleak ]] || slack=$((slack + $(awk '/^MemTotal:/ { print int($2 / 24) }' /proc/meminfo)))
    echo "# $1 kB in use before, $2 kB after"
    (($2 > $1 + slack))
}
