#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# README's commands about containers, as they are written.
# TIMEOUT: 400
. "$SELFTEST_LIB/adi.sh"
plan 7
folder=$(mktemp -d)
# block KIND: what README has for a shell behind a fence of that kind.
block() { awk -v fence="\`\`\`sh $1" '$0 == fence { inside = 1; next } /^```/ { inside = 0 } inside' /repo/README.md; }
# runs KIND: its commands, one after the other, until one fails.
runs() {
    local status
    block "$1" >"$folder/$1"
    [[ -s $folder/$1 ]] || { echo "README has no block \`sh $1'"; return 1; }
    bash -ex "$folder/$1" </dev/null >"$folder/log" 2>&1
    status=$?
    cat "$folder/log"
    return $status
}
# How many of its pings were answered to the last packet.
answered() { grep -c "^3 packets sent, 3 received" "$folder/log"; }
check "the NIC is adit's" adi_start
check "the commands as root" runs container
check_equal "pings beside a container and from it are answered" "$(answered)" 2
check "the commands as a user who is not root" runs rootless
check_equal "a ping from the container is answered" "$(answered)" 1
check_equal "all of this with the kernel's own limit of locked memory, in kB" "$(ulimit -l)" 8192
check "no ADI is left" eval '[[ $(adit -o json adi list) == "[]" ]]'
podman rmi --all --force >/dev/null 2>&1
su guest -c 'podman rmi --all --force' >/dev/null 2>&1
rm -rf "$folder"
done_testing
