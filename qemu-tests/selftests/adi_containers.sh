#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Two podman containers without a network, an ADI each: they reach each other and the wire, and
# nothing of the other's.
# TIMEOUT: 400
. "$SELFTEST_LIB/adi.sh"
plan 23

export CONTAINERS_STORAGE_CONF=/tmp/adi-storage.conf
cat >$CONTAINERS_STORAGE_CONF <<EOF
[storage]
driver = "vfs"
runroot = "/tmp/adi-containers/run"
graphroot = "/tmp/adi-containers/storage"
EOF
# Nothing but a shell, adit and what that is linked with.
image() {
    local root=/tmp/adi-image
    mkdir -p $root/bin $root/tmp
    cp --parents "$(command -v busybox)" "$(command -v adit)" $root
    ldd "$(command -v adit)" | grep -o '/[^ ]*' | xargs cp -L --parents -t $root
    for applet in sh ls sleep mknod dd env stat; do ln -sf "$(command -v busybox)" $root/bin/$applet; done
    tar -C $root -c . | podman import --quiet --change "ENV PATH=/bin:$(dirname "$(command -v adit)")" - adi-test
}
# run NAME [OPTION…] -- COMMAND…: a container with the ADI of that name.
run() {
    local name=$1 options=()
    shift
    while [[ $1 != -- ]]; do options+=("$1") && shift; done
    podman --cgroup-manager=cgroupfs run --rm --name "$name" --network none --ulimit memlock=-1 \
        --device "adit.dev/adi=$name" "${options[@]}" adi-test "${@:2}"
}
group() { adit -o json adi show "$1" | jq -r .vfio_group; }
device() { adit -o json adi show "$1" | jq -r .device; }

check "the NIC is adit's" adi_start
check "an image with adit in it is made" image
check "two ADIs are made, with CDI specifications" eval \
    'adit adi create --name web --cdi && adit adi create --name db --cdi'
web=$(device web) db=$(device db) web_group=$(group web) db_group=$(group db)
check "a container has its own group's node and no other" eval \
    '[[ $(run web -- ls /dev/vfio | tr "\n" " ") == "${web_group##*/} vfio " ]]'
check "and is told its device" eval '[[ $(run web -- env) == *"ADIT_ADI_WEB=$web"* ]]'
run db --detach -- adit ping --adi "$db" --ip 10.99.0.12 -q >/dev/null
check "one answers the wire" retry 20 wire ping -c 1 -W 2 10.99.0.12
check "one pings the wire" run web -- adit ping --adi "$web" --ip 10.99.0.11 -i 50 -c 5 10.99.0.1
check "one pings the other" run web -- adit ping --adi "$web" --ip 10.99.0.11 -i 10 -c 50 -q 10.99.0.12
check "the other's device cannot be opened" eval \
    '! run web -- adit ping --adi "$db" --ip 10.99.0.13 -c 1 10.99.0.1'
major=$(command stat -c %t "$db_group") minor=$(command stat -c %T "$db_group")
check "nor a node of it made" eval \
    '! run web -- mknod /tmp/stolen c $((16#$major)) $((16#$minor))'
check "nor opened with the right to make nodes" eval \
    '[[ $(run web --cap-add MKNOD -- sh -c "mknod /tmp/stolen c $((16#$major)) $((16#$minor)) && dd if=/tmp/stolen count=1" 2>&1) == *"not permitted"* ]]'
check "a container that is killed lets its ADI go" eval \
    'podman --cgroup-manager=cgroupfs kill db >/dev/null && retry 20 adit adi destroy db'
check "and its specification with it" eval \
    '! run db -- ls && [[ ! -e /var/run/cdi/adit.dev-adi_db.json && -e /var/run/cdi/adit.dev-adi_web.json ]]'
# web's ADI goes behind adit's back while web runs, and another one is made.
podman() { command podman --cgroup-manager=cgroupfs "$@"; }
web_node=$(group web) spec=/var/run/cdi/adit.dev-adi_web.json
cp $spec /tmp/adi-web.json
run web --detach -- sleep 60 >/dev/null
check "an ADI that its container has not open is removed by devlink" \
    devlink port del "$dl/$(adit -o json adi show web | jq .port_index)"
check "another is made, at its port" adit adi create --name db --cdi
check "the container of the first has a node for nobody" eval \
    '[[ $(podman exec web dd if=$web_node count=1 2>&1) == *"No such device"* ]]'
check "and none of the other's numbers" eval '[[ $(command stat -c %t:%T $(group db)) != "$(podman exec web stat -c %t:%T $web_node)" ]]'
podman kill web >/dev/null
retry 10 eval '! podman container exists web'
# An engine that has read the specification before it went.
cp /tmp/adi-web.json $spec
refused_start() { # refused_start WORDS: a container with web's specification does not start.
    local text
    text=$(run web -- ls /dev/vfio 2>&1) && { echo "it started: $text"; return 1; }
    echo "$text"
    [[ $text == *"$1"* ]]
}
check "a container with what is left of web does not start" refused_start "$web_node"
sed "s|$web_node|$(group db)|" /tmp/adi-web.json >$spec
check "nor with db's node in it" refused_start "error executing hook"
check "what is left is listed and cleared" eval \
    '[[ $(adit adi list) == *web*${spec#/var}* ]] && adit adi prune && [[ ! -e $spec && $(adit adi list) != *web* ]]'
check "db's container starts" eval '[[ $(run db -- env) == *"ADIT_ADI_DB=$(device db)"* ]]'
check "by the name that it knows it opens its ADI" run db -- adit ping --adi db --ip 10.99.0.13 -i 50 -c 3 10.99.0.1
check "the other goes, too" adit adi destroy db
podman --cgroup-manager=cgroupfs rm --all --force >/dev/null 2>&1
rm -rf /tmp/adi-containers /tmp/adi-image $CONTAINERS_STORAGE_CONF
done_testing
