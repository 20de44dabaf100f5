#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# `adit httpd` on an ADI: TCP in user space on two queue pairs, with curl and raw connections from the
# wire as clients; then in a podman container without a network, with one ADI by CDI.
# TIMEOUT: 600
. "$SELFTEST_LIB/adi.sh"
plan 31

export CONTAINERS_STORAGE_CONF=/tmp/adi-storage.conf
cat >$CONTAINERS_STORAGE_CONF <<EOF
[storage]
driver = "vfs"
runroot = "/tmp/adi-containers/run"
graphroot = "/tmp/adi-containers/storage"
EOF
podman() { command podman --cgroup-manager=cgroupfs "$@"; }
# adit, the libraries it is linked with, and two files to serve.
image() {
    local root=/tmp/adi-image
    mkdir -p $root/srv $root/tmp
    cp --parents "$(command -v adit)" $root
    ldd "$(command -v adit)" | grep -o '/[^ ]*' | xargs cp -L --parents -t $root
    cp /srv/httpd/index.html /srv/httpd/small $root/srv
    tar -C $root -c . | podman import --quiet --change "ENV PATH=$(dirname "$(command -v adit)")" - adi-httpd
}

ip4=10.99.0.3 ip6=fd99::3
dir=/scratch/httpd
log=/tmp/httpd.log
json=/tmp/httpd.json
get() { wire curl -sS --max-time 150 --path-as-is "$@"; }
code() { get -o /dev/null -w '%{http_code}' "$@"; }
# counter GROUP NAME: a counter of the server, from its report at the end or at /stats.
counter() { jq ".$1.$2" <$json; }
served() { get -o /dev/null "http://$1/"; }

check "adit is bound to the NIC" adi_start
# The host's side makes the files: there it takes no time.
mkdir -p /srv/httpd/sub
sum=$(wire bash -c "mkdir -p $dir && head -c 60000000 /dev/urandom >$dir/big && sha256sum <$dir/big")
cp $dir/big /srv/httpd/big
echo home >/srv/httpd/index.html && echo sub >/srv/httpd/sub/index.html
head -c 1500 /dev/zero | tr '\0' x >/srv/httpd/small
ln -s /etc/passwd /srv/httpd/passwd
check "an ADI with two queue pairs is created" adi_create 1 max_io_eqs 2
one=$(adi_device 1)
adit -o json httpd --adi "$one" --address $ip4/24 --address $ip6/64 --root /srv/httpd --name web --stats \
    --head-timeout 10 --grace 180 --max-connections 300 >$json 2>$log &
server=$!
# The server takes seconds to start on a machine under load.
check "the server answers over IPv4" retry 20 served $ip4
check "the server answers over IPv6" retry 20 served "[$ip6]"
check_equal "the index of a folder is served" "$(get http://$ip4/sub/)" sub
check_equal "60 MB, which are not cached, arrive unchanged" "$(wire bash -c "curl -sS --max-time 200 http://$ip4/big | sha256sum")" "$sum"
check_equal "requests of a client share a connection" \
    "$(get -w '%{num_connects} ' -o /dev/null -o /dev/null -o /dev/null "http://$ip4/[1-3]")" "1 0 0 "
echoed() { get --json '{"a": 1}' "http://$ip4/echo?q=1" | jq -e '.server == "web" and .body == "{\"a\": 1}" and .target == "/echo?q=1" and (.client | startswith("10.99.0.1:"))'; }
check "POST /echo returns what it was sent" echoed
check_equal "a path out of the folder is refused" "$(code http://$ip4/../../etc/passwd)" 400
check_equal "an escaped path out of the folder is refused" "$(code http://$ip4/%2e%2e/%2e%2e/etc/passwd)" 400
check_equal "a link out of the folder is not served" "$(code http://$ip4/passwd)" 404
check_equal "a body over the limit is refused" "$(wire bash -c "head -c 100000 /dev/zero | curl -sS --max-time 60 -o /dev/null -w '%{http_code}' --data-binary @- http://$ip4/echo")" 413
check_equal "another port is refused at once" "$(wire curl -s --max-time 10 http://$ip4:81/; echo $?)" 7
check "200 connections at a time get whole files" eval \
    '[[ $(wire bash -c "rm -rf $dir/out && mkdir $dir/out && curl -sS --max-time 200 -Z --parallel-max 200 --parallel-immediate -o \"$dir/out/#1\" \"http://$ip4/small?[1-400]\" && cat $dir/out/* | tr -d x | wc -c && cat $dir/out/* | wc -c" | tr "\n" " ") == "0 600000 " ]]'
get http://$ip4/stats >$json.stats
check "both queue pairs have served requests" jq -e '.requests_by_worker | length == 2 and all(. > 0)' $json.stats
check "no frame was dropped for a wrong checksum" jq -e '.tcp.dropped_checksum == 0 and .tcp.dropped_malformed == 0' $json.stats
# Pipelined requests, in one segment.
pipelined() {
    local text
    text=$(wire bash -c "exec 3<>/dev/tcp/$ip4/80 && printf 'GET / HTTP/1.1\r\nHost: h\r\n\r\n%.0s' {1..20} >&3 && printf 'GET /sub/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n' >&3 && timeout 100 cat <&3")
    (($(grep -c '^HTTP/1.1 200' <<<"$text") == 21)) && [[ $text == *sub ]]
}
check "21 pipelined requests are answered in order" pipelined
slow() { [[ $(wire bash -c "exec 3<>/dev/tcp/$ip4/80 && printf 'GET / HT' >&3 && timeout 100 head -n 1 <&3") == *408* ]]; }
check "a head that does not end is answered with 408" slow
# Its rest is not read before the file `go` is there: no machine is so slow, or so fast, that it ends first.
wire --bg slow bash -c "curl -sS --max-time 400 http://$ip4/big | { head -c 1000000; until test -e $dir/go; do sleep 0.1; done; cat; } >$dir/slow"
check "a download has begun" retry 20 wire test -s $dir/slow
kill -USR1 $server
kill $server
check "a new connection is refused while the server stops" retry 5 eval '[[ $(wire curl -s --max-time 5 http://$ip4/; echo $?) == 7 ]]'
wire touch $dir/go
wait $server
check_equal "the server exits with 0 on SIGTERM" $? 0
check_equal "the download that had begun is complete" "$(retry 20 wire bash -c "(( \$(stat -c %s $dir/slow) == 60000000 ))" && wire bash -c "sha256sum <$dir/slow")" "$sum"
wire --kill slow
check "SIGUSR1 and the end printed a report each" eval '(($(jq -s length <$json) == 2))'
jq -s '.[-1]' <$json >$json.last && mv $json.last $json
check "refusals are counted by reason" eval '(($(counter http refused_path) == 2 && $(counter http refused_body_size) == 1 && $(counter http closed_head_time) == 1 && $(counter tcp refused_stopping) > 0))'

# In a container.
check "the ADI is destroyed" adi_destroy 1
check "an ADI with a CDI specification is created" eval 'image && adit adi create --name web --cdi'
# A host that knows the former ADI's MAC address, and believes it for another half a minute.
stale() { wire ip neigh replace "$1" lladdr 02:00:00:00:01:01 nud reachable dev wire0; }
check "the wire knows the address by the former ADI's MAC address" eval 'stale $ip4 && stale $ip6'
podman run --rm --detach --name web --network none --ulimit memlock=-1 --device adit.dev/adi=web adi-httpd \
    adit httpd --address $ip4/24 --address $ip6/64 --root /srv --stats >/dev/null
announced() {
    local entry
    entry=$(wire ip neigh show "$1" dev wire0)
    [[ $entry == *lladdr* && $entry != *02:00:00:00:01:01* ]]
}
check "the server in a container without a network announces its addresses" retry 20 eval 'announced $ip4 && announced $ip6'
check "it answers" retry 20 served $ip4
check_equal "its files are those of the container" "$(get http://$ip4/small | wc -c)" 1500
podman stop --time 20 web >/dev/null
check "its ADI is free when the container has stopped" retry 20 adit adi destroy web
podman rm --all --force >/dev/null 2>&1
rm -rf /tmp/adi-containers /tmp/adi-image $CONTAINERS_STORAGE_CONF /srv/httpd
wire rm -rf $dir
done_testing
