# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# For the machine of a container node (xtask/src/node.rs), whose NIC runs k8s_node.p4: pods with an
# ADI each, and a service. The control plane's commands run in the wire's network, where the NIC's
# P4Runtime server is.
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/podman.sh"

# The gateway of the pods and its MAC address, which is also that of the service addresses.
node_gateway=10.244.0.1 node_mac=02:ad:17:00:99:01
node_pods=10.244.0.0/24 node_services=10.3.241.0/24
# The wire's MAC address.
node_wire_mac=02:ad:17:ff:00:01

# control WORDS…: `adit WORDS…` of the control plane.
control() { wire /scratch/bin/adit "$@"; }

# mapped ADDRESS: an IPv4 address as the program's tables have it.
mapped() { echo "::ffff:$1"; }

# node_write ENTRY…: writes entries of the program's tables.
node_write() {
    printf '%s\n' "$@" >/scratch/node-entries
    control table add --replace --from /scratch/node-entries
}

# node_up: binds adit to the NIC, and writes the entries of a node without pods: its gateway, its
# routes, its networks.
node_up() {
    adi_start || return
    wire ip link set wire0 address $node_wire_mac
    wire ip route replace $node_services dev wire0
    wire ip route replace $node_pods dev wire0
    local entries=(
        "ports input_port=0 port(zone=0, is_trusted=0, is_checked=0, is_switched=1)"
        "routers zone=0 mac=$node_mac NoAction()"
        "addresses zone=0 address=$(mapped $node_gateway) answer(mac=$node_mac)"
        "networks zone=0 address=$(mapped ${node_pods%/*})/$((96 + ${node_pods#*/})) cluster()"
        "networks zone=0 address=$(mapped ${host4%.*}.0)/120 plain()"
        "ipv4_routes zone=0 dst=${host4%.*}.0/24 set_nexthop(nexthop=1)"
        "nexthops id=1 forward(src_mac=$node_mac, dst_mac=$node_wire_mac, vid=0, port=0)"
        "snat zone=0 reason=1 priority=1 masquerade(first_address=$(mapped $node_gateway), last_address=$(mapped $node_gateway), first_port=0, last_port=0)"
    )
    node_write "${entries[@]}"
}

# pod_create NAME ADDRESS: an ADI, and the entries of a pod that owns it.
pod_create() {
    local name=$1 address=$2 made port mac
    made=$(adit -o json adi create --name "$name" --cdi | jq -r '"\(.vport) \(.mac)"')
    read -r port mac <<<"$made"
    [[ $mac ]] || return
    # Its port in the program.
    port=$((0x1000 + port))
    node_write \
        "ports input_port=$port port(zone=0, is_trusted=1, is_checked=1, is_switched=0)" \
        "sources input_port=$port src=$(mapped "$address") NoAction()" \
        "addresses zone=0 address=$(mapped "$address") answer(mac=$node_mac)" \
        "local zone=0 address=$(mapped "$address") deliver(port=$port, mac=$mac, gateway_mac=$node_mac)"
}

# node_root: the root of the containers, with a shell, adit, and a file to serve.
node_root() {
    containers_begin node
    mkdir -p $containers/root/srv
    echo "Hello from a container with an ADI." >$containers/root/srv/index.html
    containers_root adit
}

# pod_start NAME ADDRESS: a web server on the pod's ADI, in a container without a network.
pod_start() {
    container_run "$1" --detach --ulimit memlock=-1 --device "adit.dev/adi=$1" -- \
        adit httpd --adi "$1" --address "$2/24" --gateway $node_gateway --root /srv --name "$1" --stats >/dev/null
}

# pods_start NAME ADDRESS…: those of several pods at a time: podman takes seconds for each.
pods_start() {
    local jobs=() job status=0
    while (($#)); do
        pod_start "$1" "$2" &
        jobs+=($!)
        shift 2
    done
    for job in "${jobs[@]}"; do wait "$job" || status=1; done
    return $status
}

# node_service ADDRESS…: writes the manifest of the service `web` with these endpoints to $node_manifest.
# `ADDRESS:terminating` is an endpoint that terminates.
node_address=10.3.241.122
node_manifest=/scratch/node.yaml
node_service() {
    local endpoint state
    cat <<EOF >$node_manifest
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: $node_address
  ports: [{name: http, port: 80, protocol: TCP, targetPort: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 80, protocol: TCP}]
endpoints:
EOF
    for endpoint; do
        state="{ready: true, serving: true, terminating: false}"
        [[ $endpoint != *:terminating ]] || state="{ready: false, serving: true, terminating: true}"
        echo "- {addresses: [${endpoint%:*}], conditions: $state}" >>$node_manifest
    done
}

# node_apply ADDRESS…: makes the service have these endpoints.
node_apply() {
    node_service "$@"
    control svc apply --mac $node_mac -f $node_manifest
}

# node_ask COUNT: sends so many requests from the wire to the service, each with a connection of its own;
# prints the number of answers of each pod.
node_ask() {
    wire curl -sS --max-time 60 -H "Connection: close" --data x "http://$node_address/echo?[1-$1]" |
        grep -o '"server": *"[^"]*"' | sort | uniq -c
}

# node_down: removes the containers, the pods and the service.
node_down() {
    containers_end
    control svc delete --all
    local adi
    for adi in $(adit -o json adi list | jq -r '.[].name // empty'); do retry 20 adit adi destroy "$adi"; done
    rm -rf /scratch/node* /scratch/demo-*
}
