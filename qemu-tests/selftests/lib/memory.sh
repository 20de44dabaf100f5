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

# unpinned PINS: the number of pinned pages, once it is PINS; after 10 s whatever it is.
unpinned() {
    retry 10 eval '(($(pinned) == '"$1"'))'
    pinned
}

# freed BEFORE KB: waits until no more than KB is in use beyond BEFORE: some is freed late, what has leaked
# never. KASAN quarantines freed objects (1/32 of memory at most), and kmemleak keeps metadata of each object.
freed() {
    local slack=$2 after
    [[ ! -e /sys/kernel/debug/kmemleak ]] || slack=$((slack + $(awk '/^MemTotal:/ { print int($2 / 24) }' /proc/meminfo)))
    # shellcheck disable=SC2317 # called by retry
    is_freed() { after=$(memory) && ((after <= $1)); }
    retry 10 is_freed $(($1 + slack))
    local status=$?
    echo "# $1 kB in use before, $after kB after"
    return $status
}
