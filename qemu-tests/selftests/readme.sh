#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The commands of README about containers.
# TIMEOUT: 400
. "$SELFTEST_LIB/adi.sh"
plan 9
folder=$(mktemp -d)
# block KIND: the shell commands of README in fences of that kind.
block() { awk -v fence="\`\`\`sh $1" '$0 == fence { inside = 1; next } /^```/ { inside = 0 } inside' /repo/README.md; }
# runs KIND: runs them until one fails. Replies may take longer than a second on a busy machine.
runs() {
    local status
    block "$1" | sed 's/adit ping /&-W 30000 /' >"$folder/$1"
    [[ -s $folder/$1 ]] || { echo "README has no block \`sh $1'"; return 1; }
    bash -ex "$folder/$1" </dev/null >"$folder/log" 2>&1
    status=$?
    cat "$folder/log"
    return $status
}
# The number of its pings without loss.
answered() { grep -c "^3 packets sent, 3 received" "$folder/log"; }
check "adit is bound to the NIC" adi_start
check "the commands succeed as root" runs container
check_equal "pings beside a container and from it get replies" "$(answered)" 2
check "the commands succeed as an unprivileged user" runs rootless
check_equal "a ping from the container gets a reply" "$(answered)" 1
check_equal "the limit of locked memory is the default of the kernel, in kB" "$(ulimit -l)" 8192
check "the commands of a web server succeed" runs httpd
check "the web server has answered" eval 'grep -qx hello $folder/log && grep -q "\"method\":\"POST\"" $folder/log'
check "no ADI remains" eval '[[ $(adit -o json adi list) == "[]" ]]'
podman rmi --all --force >/dev/null 2>&1
su guest -c 'podman rmi --all --force' >/dev/null 2>&1
rm -rf "$folder"
done_testing
