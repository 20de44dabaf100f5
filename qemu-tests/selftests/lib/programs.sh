# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# For the machine with a P4 program in each NIC (xtask/src/selftests/programs.rs has its plan).
. "$SELFTEST_LIB/ports.sh"

# program_up N: brings NIC N and its wire up, with the addresses 10.99.N.2 and 10.99.N.1; $dev is its
# interface.
program_up() {
    dev=$(port "02:ad:17:00:0$1:01") || return
    wire ip link set "wire$1" address "02:ad:17:ff:0$1:01"
    port_up "$dev" "10.99.$1.2/24"
}
