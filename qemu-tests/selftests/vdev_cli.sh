#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# `adit vdev` and the daemon as processes: every command in both formats, errors, permissions, a daemon
# that is killed and started again. Starts with the commands of the daemon's README.
# TIMEOUT: 240
. "$SELFTEST_LIB/ktap.sh"
plan 45
folder=$(mktemp -d)
repo=$(readlink -f "$SELFTEST_LIB/../../..")
run=/run/adit/vdcm
control=$run/control.sock
mkdir -p "$run"

# started: waits until the daemon listens.
started() { retry 20 adit vdev list || { cat "$folder/log"; return 1; }; }
# daemon OPTION…: starts it with a NIC in its process.
daemon() {
    adit-vdcm --embedded --wire none "$@" >"$folder/log" 2>&1 &
    pid=$!
    started
}
# stop [SIGNAL]: ends it; its status.
stop() { kill -"${1:-TERM}" "$pid" && wait "$pid"; }
vdev() { adit vdev "$@"; }
# field DEVICE FILTER: a field of a device, by a filter of jq.
field() { adit -o json vdev show "$1" | jq -r "$2"; }
devices() { adit -o json vdev list | jq -r '[.[].name] | join(" ")'; }
# refusal CMD…: the standard error of a command that must fail.
refusal() { ! "$@" 2>&1 >/dev/null; }
# says TEXT CMD…: the command fails, and its error has this text.
says() {
    local text
    text=$(refusal "${@:2}") || { echo "it was not refused"; return 1; }
    echo "$text"
    [[ $text == *"$1"* ]]
}
# as USER CMD…: a command of another user, without groups.
as() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }
# client SOCKET: a driver in another process, until its input ends.
client() {
    exec {client_fd}> >(exec vdev_client "$1" 10.9.0.1 >"$folder/client" 2>&1)
    client_pid=$!
    retry 30 grep -q "ok connected" "$folder/client" || { cat "$folder/client"; return 1; }
}

# The commands of README: the first one starts the daemon.
block() { awk '$0 == "```sh use" { inside = 1; next } /^```/ { inside = 0 } inside' "$repo/vdcm/README.md"; }
test -e /dev/net/tun || modprobe tun # for README's wire
check "without a daemon, an error names it" says "adit-vdcm does not run" vdev list
eval "$(block | head -n 1)" 2>"$folder/log"
pid=$!
check "README's daemon starts" started
check "README's commands succeed" eval '[[ $(block | wc -l) -gt 3 ]] && bash -ex <(block | tail -n +2)'
check_equal "README's commands leave no device" "$(adit -o json vdev list)" "[]"
check "it stops on SIGTERM" stop
check "its socket is removed" eval '[[ ! -e $control ]]'

printf '[control]\nmode = "0666"\nusers = [1234]\n' >"$folder/vdcm.toml"
check "a daemon with a configuration starts" daemon --config "$folder/vdcm.toml"
check "a device is created" eval 'vdev create --name web --queues 2 --mac 02:aa:00:00:00:01 --vlan 7 \
    --limit windows=9 >"$folder/created"'
check_equal "its socket and address are shown" "$(awk -F': ' '/socket:|mac:/ { print $2 }' "$folder/created" | xargs)" \
    "$run/web.sock 02:aa:00:00:00:01"
option=$(sed -n "s/^-device '\(.*\)'$/\1/p" "$folder/created")
check_equal "the option for QEMU has the socket" "$(jq -r .socket.path <<<"$option")" "$run/web.sock"
check "the device has a socket" test -S "$run/web.sock"
check_equal "in JSON, the option is a string" \
    "$(adit -o json vdev create --name db --layout siov --socket "$folder/db.sock" | jq -r '.qemu_device | fromjson | .socket.path')" \
    "$folder/db.sock"
check_equal "the list has both" "$(devices)" "db web"
check "the table of the list has both" eval \
    '[[ $(vdev list | awk "{ print \$1, \$2, \$3, \$4 }") == "NAME STATE LAYOUT ID"$'"'\n'"'"db idle siov 8086:0dd5"$'"'\n'"'"web idle vf 1af4:10f0" ]]'
check_equal "show has what was requested" \
    "$(field web '[.queues, .tx_queues, .adis[0].mac, .adis[0].vlan, .limits.windows] | join(" ")')" \
    "2 4 02:aa:00:00:00:01 7 9"
check "the table of show has the limits and the ADI" eval \
    'vdev show web >"$folder/shown" && grep -q "windows=9" "$folder/shown" && grep -q "embedded:.* 02:aa:00:00:00:01 *7 " "$folder/shown"'
check_equal "an embedded NIC has no ADIs to open" "$(adit -o json vdev adis)" "[]"
check_equal "status names the process" "$(adit -o json vdev status | jq -r '[.pid, .devices] | join(" ")')" "$pid 2"
check "status is shown to people, too" eval 'vdev status | grep -q "^ *devices: 2$"'
check_equal "the counters of a new device are 0" "$(adit -o json vdev stats web | jq -r '.[0] | [.name, .connections, .messages, .requests] | join(" ")')" "web 0 0 0"

check "a driver connects" client "$run/web.sock"
check_equal "the device has a client" "$(field web .state)" connected
check "stats has its messages" eval 'vdev stats web | grep -q "^  connections  *1$" && vdev stats | grep -q "^  messages  *[1-9]"'
check "trace has its requests" eval 'vdev trace web >"$folder/trace" && grep -qi version "$folder/trace" && grep -qi connected "$folder/trace"'
check_equal "trace numbers its entries, in JSON a line each" "$(adit -o json vdev trace web | jq -rs 'flatten | .[0].seq')" 1
exec {client_fd}>&-
wait "$client_pid" 2>/dev/null
check "the device is idle when its client has left" retry 10 eval '[[ $(field web .state) == idle ]]'
check "an embedded NIC has no ADI that could replace one" says "not an ADI of the NIC in this process" vdev swap web 0 adi1

check "a name in use is refused" says "a device web exists" vdev create --name web
check "a socket in use is refused" says "another device has the socket" vdev create --socket "$run/web.sock"
check "an unknown device is named" says '`mail`' vdev show mail
check "an unknown limit is refused with the known ones" says '`windows`' vdev create --limit window=1
check "an address that is none is refused" says "02:aa" vdev create --mac 02:aa
check "a failed destroy does not keep another from being destroyed" eval \
    'says "cannot destroy mail" vdev destroy mail db && [[ $(devices) == web && ! -e $folder/db.sock ]]'

check "another user may look" eval '[[ $(as 1235 adit -o json vdev list | jq -r ".[].name") == web ]]'
check "another user may not change anything" eval 'says "1235" as 1235 adit vdev destroy web && [[ $(devices) == web ]]'
check "a user of the configuration may" eval 'as 1234 adit vdev create --name other && as 1234 adit vdev destroy other'
check "a second daemon leaves the first alone" eval \
    'says "another process listens" adit-vdcm --embedded --wire none && [[ $(devices) == web ]]'

check "a driver connects again" client "$run/web.sock"
stop KILL
check "its sockets remain when it is killed" test -S "$control" -a -S "$run/web.sock"
check "a killed daemon is reported" says "adit-vdcm does not run" vdev list
echo describe >&"$client_fd"
check "its client's connection is closed" retry 10 grep -q "^error" "$folder/client"
exec {client_fd}>&-
check "it starts again at the same path" daemon
check "a device takes the place of one that was left" eval \
    'vdev create --name web && client "$run/web.sock" && [[ $(field web .state) == connected ]]'
exec {client_fd}>&-
check "without a configuration, others cannot connect" says "permitted are root" as 1234 adit vdev list
vdev create >/dev/null
check "destroy --all removes devices and sockets" eval \
    'vdev destroy --all && [[ -z $(devices) && $(ls "$run") == control.sock ]]'
stop
rm -rf "$folder"
done_testing
