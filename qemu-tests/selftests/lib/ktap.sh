# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by each selftest: KTAP version 2 results.
#
#   plan 3
#   check "link is up" ip link show dev eth0 up
#   skip "AF_XDP" "the driver has none"
#   done_testing

ktap_planned=0
ktap_number=0
ktap_failed=0
ktap_skipped=0
ktap_output=$(mktemp)
trap 'rm -f "$ktap_output"' EXIT

# plan N: the number of results that follow.
plan() {
    ktap_planned=$1
    echo "KTAP version 2"
    echo "1..$1"
}

# pass NAME, fail NAME [DIAGNOSTIC…], skip NAME REASON: one result each.
pass() {
    ktap_number=$((ktap_number + 1))
    echo "ok $ktap_number $1"
}

fail() {
    ktap_number=$((ktap_number + 1))
    ktap_failed=$((ktap_failed + 1))
    printf '%s\n' "${@:2}" | sed 's/^/# /'
    echo "not ok $ktap_number $1"
}

skip() {
    ktap_number=$((ktap_number + 1))
    ktap_skipped=$((ktap_skipped + 1))
    echo "ok $ktap_number $1 # SKIP $2"
}

# check NAME CMD…: passes if CMD succeeds; otherwise its output is shown.
check() {
    local name=$1 output status
    shift
    # Not in a subshell: variables that CMD sets must remain.
    "$@" >"$ktap_output" 2>&1
    status=$?
    output=$(<"$ktap_output")
    if ((status == 0)); then
        pass "$name"
    else
        fail "$name" "\`$*' gave status $status:" "${output:-(no output)}"
    fi
    return "$status"
}

# check_equal NAME ACTUAL EXPECTED. EXPECTED must not be empty: the outputs of two failing commands
# would be equal.
check_equal() {
    if [[ -z $3 ]]; then
        fail "$1" "it is \`$2', and there is nothing to compare it with"
    elif [[ $2 == "$3" ]]; then pass "$1"; else fail "$1" "it is \`$2', should be \`$3'"; fi
}

# retry SECONDS CMD…: repeats CMD until it succeeds; longer on a slow kernel. The last attempt begins after
# that time: a machine that stood still meanwhile has not failed.
retry() {
    local end=$((SECONDS + $1 * ${SELFTEST_PACE:-1})) last=
    shift
    until "$@"; do
        [[ -z $last ]] || return 1
        ((SECONDS < end)) || last=1
        sleep 0.1
    done
}

# grows LEAST CMD…: waits until the number that CMD prints is at least LEAST, and prints it; after 20 s
# whatever it is.
grows() {
    local number
    # shellcheck disable=SC2317 # called by retry
    grown_to() { number=$("${@:2}") && ((number >= $1)); }
    retry 20 grown_to "$@"
    echo "$number"
}

# within SECONDS CMD…: runs CMD, which is ended after that time; longer on a slow kernel.
within() { timeout "$(($1 * ${SELFTEST_PACE:-1}))" "${@:2}"; }

# bail_out REASON: fails the rest of the plan, which cannot run.
bail_out() {
    while ((ktap_number < ktap_planned)); do fail "not reached" "$1"; done
    done_testing
}

# done_testing: ends the test: 0 all passed, 4 all skipped, 1 otherwise.
done_testing() {
    ((ktap_number == ktap_planned)) || exit 1
    ((ktap_failed == 0)) || exit 1
    ((ktap_skipped < ktap_planned)) || exit 4
    exit 0
}
