#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A service in the NIC: k8s_node.p4 balances connections from the wire among three containers, each with
# an ADI and no network; endpoints terminate, disappear and come back.
# TIMEOUT: 500
. "$SELFTEST_LIB/node.sh"
plan 25

a=10.244.0.11 b=10.244.0.12 c=10.244.0.13
# share POD ANSWERS, total ANSWERS: the answers of a pod, of all, in the output of node_ask.
share() { awk -v name="\"$1\"" '$NF ~ name { n += $1 } END { print n + 0 }' <<<"$2"; }
total() { awk '{ n += $1 } END { print n + 0 }' <<<"$1"; }
# connections [FILTER…]: the connections of the service in the NIC.
connections() { control ct -L -p tcp --orig-dst $node_address "$@" 2>/dev/null; }
# status ADDRESS SECONDS: the exit status of curl.
status() { wire curl -s -o /dev/null --max-time "$2" "http://$1/"; echo $?; }

check "the node's entries are written" node_up
check "a root for containers is made" node_root
check "three pods with an ADI each are created" eval \
    'pod_create one $a && pod_create two $b && pod_create three $c'
check "their servers start in containers without a network" \
    pods_start one $a two $b three $c
# readme: runs README's commands about services.
readme() {
    awk '$0 == "```sh svc" { inside = 1; next } /^```/ { inside = 0 } inside' /repo/README.md >/scratch/node-readme
    [[ -s /scratch/node-readme ]] && wire sh -c 'cd /repo && PATH=/scratch/bin:$PATH sh -ex /scratch/node-readme'
}
check "the commands of README succeed" readme
check "the service is applied" node_apply $a $b $c
check "the wire reaches the service" retry 30 wire curl -sSf -o /dev/null --max-time 5 "http://$node_address/"
check "a second apply writes nothing" eval \
    '[[ $(control -o json svc apply --mac $node_mac -f $node_manifest | jq "[.. | numbers] | add // 0") == 0 ]]'
answers=$(node_ask 300)
check_equal "300 requests get 300 answers" "$(total "$answers")" 300
check "each pod has its share of them" eval \
    '(($(share one "$answers") > 50 && $(share two "$answers") > 50 && $(share three "$answers") > 50))'
check "the NIC lists the connections, translated to pods" eval \
    'connections | grep -q "dst=$node_address .*src=10.244.0.1[123] dst=$host4 sport=80 .*ASSURED"'
check "the service's counters agree" eval \
    '(($(control -o json svc list | jq "[.. | .connections? // empty] | add") >= 300))'
check_equal "another port of the service's address is refused at once" "$(status $node_address:81 30)" 7

# --- an endpoint terminates: established connections go on, new ones go elsewhere
wire --bg held bash -c "exec 3<>/dev/tcp/$node_address/80 && while sleep 0.5; do
    printf 'POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx' >&3 || exit 1
    timeout 60 head -c 150 <&3 >>/scratch/node-held || exit 1; done"
check "a connection is held" retry 20 wire grep -q server /scratch/node-held
held=$(wire cat /scratch/node-held | grep -o '"server": *"[^"]*"' | head -n 1)
case $held in
*one*) of=one left=($b $c) gone=$a ;;
*two*) of=two left=($a $c) gone=$b ;;
*) of=three left=($a $b) gone=$c ;;
esac
check "its endpoint terminates" node_apply "${left[@]}" $gone:terminating
answers=$(node_ask 200)
check_equal "200 further requests get answers" "$(total "$answers")" 200
check_equal "the endpoint that terminates gets none of them" "$(share $of "$answers")" 0
before=$(wire stat -c %s /scratch/node-held)
check "the connection that was held goes on" retry 30 eval '(($(wire stat -c %s /scratch/node-held) > before + 300))'
wire --kill held

# --- an endpoint disappears
check "the container is killed, and its endpoint removed" eval 'podman kill $of >/dev/null && node_apply "${left[@]}"'
answers=$(node_ask 200)
check_equal "200 further requests get answers from the others" "$(total "$answers")" 200
check "the endpoint comes back with its container" eval \
    'retry 20 pod_start $of $gone && node_apply $a $b $c'
came_back() { (($(share $of "$(node_ask 60)") > 0)); }
check "it gets connections again" retry 20 came_back

# --- without endpoints, and gone
check "a service without endpoints refuses connections at once" eval \
    'node_apply && [[ $(status $node_address 30) == 7 ]]'
check "the service is deleted" control svc delete web
check "nothing of it is left on the NIC" eval '[[ $(control -o json svc list | jq length) == 0 ]]'
node_down >/dev/null 2>&1
done_testing
