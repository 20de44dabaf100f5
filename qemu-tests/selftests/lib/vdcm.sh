# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Sourced by selftests of devices that adit-vdcm composes out of ADIs.
. "$SELFTEST_LIB/adi.sh"
vdcm_folder=$(mktemp -d)
vdcm_log=$vdcm_folder/log

# vdcm_options: those of the daemon.
vdcm_options=()

# vdcm_start: starts the daemon.
vdcm_start() {
    mkdir -p /run/adit/vdcm
    adit-vdcm "${vdcm_options[@]}" >"$vdcm_log" 2>&1 &
    vdcm_pid=$!
    retry 20 adit vdev list
}

# vdcm_stop: stops it; its status.
vdcm_stop() {
    kill "$vdcm_pid"
    wait "$vdcm_pid"
}

# vdev_create NAME SFNUM… [-- OPTION…]: composes a device out of ADIs; its socket is NAME.sock.
vdev_create() {
    local name=$1 adis=()
    shift
    while (($#)) && [[ $1 != -- ]]; do
        adis+=(--adi "$(adi_device "$1")")
        shift
    done
    adit vdev create --name "$name" "${adis[@]}" --socket "$vdcm_folder/$name.sock" "${@:2}"
}

# vdev_state NAME: its state.
vdev_state() { adit -o json vdev show "$1" | jq -r .state; }

# client_run: the command of a client.
client_run=(vdev_client)

# client_start NAME ADDRESS [PAIRS]: starts a client of the device, which executes commands.
client_start() {
    local name=$1
    mkfifo "$vdcm_folder/$name.in"
    "${client_run[@]}" "$vdcm_folder/$name.sock" "${@:2}" <"$vdcm_folder/$name.in" >"$vdcm_folder/$name.out" 2>&1 &
    client_pid=$!
    exec {client_fd}>"$vdcm_folder/$name.in"
    rm "$vdcm_folder/$name.in"
    client_out=$vdcm_folder/$name.out
    client_lines=0
    client_answers "ok connected"
}

# client_answers TEXT: waits for the client's next line, which must start so.
client_answers() {
    client_lines=$((client_lines + 1))
    client_has_line() { (($(wc -l <"$client_out") >= client_lines)); }
    retry 90 client_has_line || { cat "$client_out" "$vdcm_log"; return 1; }
    client_line=$(sed -n "${client_lines}p" "$client_out")
    echo "$client_line"
    [[ $client_line == "$1"* ]] || { cat "$vdcm_log"; return 1; }
}

# client COMMAND…: executes a command of the client, which must succeed.
client() {
    echo "$*" >&"$client_fd"
    client_answers "ok $*"
}

# client_fails TEXT COMMAND…: executes a command of the client, which must fail with this text.
client_fails() {
    echo "${*:2}" >&"$client_fd"
    client_answers "error ${*:2}" || return
    [[ $client_line == *"$1"* ]]
}

# client_stop: ends the client.
client_stop() {
    exec {client_fd}>&-
    wait "$client_pid"
}
