#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs the selftests whose names contain one of the arguments, or are one of them after `=` (all without any), and
# reports in KTAP version 2. A test
# fails when it reports a failure, when it exceeds its timeout, and when the kernel log matches one of
# lib/klog-patterns while it runs. SELFTEST_DIR replaces the folder of tests.
here=$(dirname "$(readlink -f "$0")")
dir=${SELFTEST_DIR:-$here}
export SELFTEST_LIB=$here/lib
# A line `# TIMEOUT: seconds` in a test replaces this limit.
default_timeout=60
# The factor for all timeouts, for slow kernels.
pace=${SELFTEST_PACE:-1}

tests=()
for file in "$dir"/*.sh; do
    name=$(basename "$file" .sh)
    [[ $name == run ]] && continue
    for filter in "${@:-}"; do
        [[ $name == *"$filter"* || =$name == "$filter" ]] && tests+=("$file") && break
    done
done
echo "KTAP version 2"
# On a kernel with kmemleak the last test is its scan.
leaks=/sys/kernel/debug/kmemleak
[[ -w $leaks && -z $SELFTEST_NO_SCAN ]] && scan=1 || scan=0
echo "1..$((${#tests[@]} + scan))"

# leaks NUMBER: reports the leaks of two scans, some seconds apart.
leaks() {
    local found
    echo scan >"$leaks"
    sleep 6
    echo scan >"$leaks"
    found=$(head -n 200 "$leaks")
    echo clear >"$leaks"
    [[ -z $found ]] && { echo "ok $1 kmemleak"; return; }
    sed 's/^/# /' <<<"$found"
    echo "not ok $1 kmemleak"
    return 1
}

number=0
failed=0
for file in "${tests[@]}"; do
    number=$((number + 1))
    name=$(basename "$file" .sh)
    limit=$(sed -n 's/^# TIMEOUT: *\([0-9]*\).*/\1/p' "$file" | head -n 1)
    limit=$((${limit:-$default_timeout} * pace))
    marker="adit-selftest: $name $RANDOM"
    echo "$marker" >/dev/kmsg
    start=$SECONDS
    timeout --kill-after=5 "$limit" bash "$file" 2>&1 | sed -u 's/^/  /'
    status=${PIPESTATUS[0]}
    # The log may have lost the marker by now; then all of it counts. (Not split by the shell: on
    # a long log its patterns take minutes.)
    log=$(mktemp)
    dmesg >"$log"
    grep -qF "$marker" "$log" && sed -i "0,/$marker/d" "$log"
    hits=$(grep -E -f "$here/lib/klog-patterns" "$log" | head -n 20)
    rm -f "$log"
    if [[ -n $hits ]]; then
        echo "# the kernel log shows:"
        sed 's/^/#   /' <<<"$hits"
        status=1
    fi
    case $status in
    124 | 137) echo "# not finished after $limit s" ;;
    esac
    echo "# $((SECONDS - start)) s"
    case $status in
    0) echo "ok $number $name" ;;
    4) echo "ok $number $name # SKIP" ;;
    *) echo "not ok $number $name" && failed=1 ;;
    esac
done
((!scan)) || leaks $((number + 1)) || failed=1
exit $failed
