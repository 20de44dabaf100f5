#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The steps of `cargo xtask demo`, in the guest: a service whose connections the NIC balances among
# three containers. Its exit status is 0 if all that it shows is right.
SELFTEST_LIB=/repo/qemu-tests/selftests/lib
. "$SELFTEST_LIB/node.sh"
trap 'node_down >/dev/null 2>&1; rm -f "$ktap_output"' EXIT

number=2 wrong=0
step() { printf '\n%d. %s\n' $((++number)) "$1"; }
indent() { sed 's/^/   /'; }
must() { "$@" >/tmp/demo.log 2>&1 || { indent </tmp/demo.log && echo "error: $*" && exit 1; }; }
# expect TEXT CONDITION: one line of the summary.
summary=
expect() {
    local mark=ok
    eval "$2" || { mark=WRONG && wrong=$((wrong + 1)); }
    summary+=$(printf '   %-6s %s' $mark "$1")$'\n'
}
requests() { awk '{ n += $1 } END { print n + 0 }' <<<"$1"; }
pods=(one two three) addresses=(10.244.0.11 10.244.0.12 10.244.0.13)

[[ ! -t 1 ]] || clear
step "The module drives the NIC; the node's gateway, routes and networks are entries of its tables"
must node_up
lspci -nnk -s 5 | grep -E 'Ethernet|in use' | indent
control table dump ports routers addresses networks ipv4_routes nexthops | indent

step "Three containers without a network: each owns an ADI, on which \`adit httpd' serves"
must node_root
for at in 0 1 2; do must pod_create ${pods[at]} ${addresses[at]}; done
must pods_start ${pods[0]} ${addresses[0]} ${pods[1]} ${addresses[1]} ${pods[2]} ${addresses[2]}
adit adi list | indent
podman ps --format '{{.Names}}: {{.Command}}' | indent

step "A service, as Kubernetes describes it, is applied to the NIC"
must node_apply "${addresses[@]}"
wire cat $node_manifest | indent
control svc show web | indent
retry 30 wire curl -sSf -o /dev/null --max-time 5 "http://$node_address/"

step "curl http://$node_address/ from the wire"
wire curl -sS --max-time 10 "http://$node_address/" | indent

step "1,000 requests, each with a connection of its own"
answers=$(node_ask 1000)
echo "$answers" | indent
expect "1,000 requests got an answer" '(($(requests "$answers") == 1000))'
expect "all three containers answered" '(($(wc -l <<<"$answers") == 3))'

step "Load: wrk with 32 connections for 8 s; the NIC's connections meanwhile"
wire --bg load sh -c "wrk -t 2 -c 32 -d 8s --timeout 60s --latency http://$node_address/ >/scratch/demo-wrk 2>&1"
sleep 4
control ct -L -p tcp --orig-dst $node_address --state ESTABLISHED 2>/dev/null | head -n 6 | indent
echo "   …"
retry 60 wire grep -q Transfer /scratch/demo-wrk
wire grep -E 'Latency|99%|Requests/sec|Socket errors' /scratch/demo-wrk | indent
expect "no request of wrk failed" '! wire grep -q "Socket errors\|Non-2xx" /scratch/demo-wrk'

step "Under load the container \`two' is killed, and its endpoint leaves the service"
# A request a second on connections that stay, the last of which closes: one for each container at least.
wire rm -f /scratch/demo-held
wire --bg held sh -c 'for i in $(seq 12); do
    { for j in $(seq 8); do
        printf "GET /echo HTTP/1.1\r\nHost: h\r\n"; [ $j != 8 ] || printf "Connection: close\r\n"
        printf "\r\n"; sleep 1
    done | timeout 60 socat -t 15 - TCP:'$node_address':80 >/scratch/demo-held-$i; } & done; wait
    touch /scratch/demo-held'
must retry 20 wire sh -c '[ $(grep -l "200 OK" /scratch/demo-held-* | wc -l) = 12 ]'
must podman kill two
must node_apply ${addresses[0]} ${addresses[2]}
answers=$(node_ask 500)
echo "$answers" | indent
expect "500 requests after the kill got an answer" '(($(requests "$answers") == 500))'
expect "none of them came from the killed container" '[[ $answers != *two* ]]'
retry 90 wire test -e /scratch/demo-held
held=$(wire sh -c 'for f in /scratch/demo-held-*; do
    echo "$(grep -o "\"server\": *\"[a-z]*\"" $f | sort -u | tr -d "\n ") $(grep -c "200 OK" $f)"; done')
sort <<<"$held" | uniq -c | indent
expect "connections to the other containers got all of their 8 answers" \
    'others=$(grep -v two <<<"$held") && ! grep -qv " 8$" <<<"$others"'

step "Counters"
control svc show web | indent
device_metrics | grep -E '^adit_conntrack_(connections|events_total)' | head -n 8 | indent
expect "nothing was dropped for the tracker" \
    '(($(device_metric adit_p4_dropped_total "reason=\"untranslatable\"") == 0))'
opened=$(control -o json svc show web | jq '[.. | .opened? // empty] | add // 0')
expect "the service has counted the requests' connections ($opened)" '((opened >= 1500))'

printf '\nSummary\n%s' "$summary"
((wrong == 0)) || { echo "error: $wrong of these are wrong" && exit 1; }
echo "   Look around with \`cargo xtask guest'; the demo of the NIC alone: \`cargo xtask demo nic'."
