# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests of an interface $dev with eight queues, all of which are to be used.
. "$SELFTEST_LIB/net.sh"

# used DIRECTION: the queues whose counter has grown since `counts_before DIRECTION`.
before=()
counts_before() { for n in {0..7}; do before[n]=$(stat "$1_q-${n}_pkts"); done; }
used() {
    local n queues=()
    for n in {0..7}; do (($(stat "$1_q-${n}_pkts") > before[n])) && queues+=("$n"); done
    echo "${queues[*]}"
}

# flows ADDRESS: sends packets of many flows from the wire to the guest, and prints the queues that have got some,
# once all have.
flows() {
    counts_before rx
    wire bash -c "for port in {40000..40127}; do echo x >/dev/udp/$1/\$port; done"
    retry 20 all_used rx
    used rx
}
all_used() { [[ $(used "$1") == "0 1 2 3 4 5 6 7" ]]; }
