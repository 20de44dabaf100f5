#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# receive.sh INTERFACE SECONDS: counts the IPv4 frames that the driver delivers, where the stack takes
# them over, and drops them there: the same point for every driver. Prints FRAMES NANOSECONDS.
set -e
dev=$1
tc qdisc replace dev "$dev" clsact
tc filter replace dev "$dev" ingress protocol ip pref 1 handle 1 matchall action drop
trap 'tc qdisc del dev "$dev" clsact' EXIT
frames() {
    tc -s filter show dev "$dev" ingress | sed -n 's/^.*Sent [0-9]* bytes \([0-9]*\) pkt.*/\1/p' | head -n 1
}
sleep 0.3
frames_before=$(frames) time_before=$(date +%s%N)
sleep "$2"
frames_after=$(frames) time_after=$(date +%s%N)
echo $((frames_after - frames_before)) $((time_after - time_before))
