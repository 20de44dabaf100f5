#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# setup.sh COUNT: loads what the benchmark needs, brings up COUNT NICs, and prints a line for each:
# INTERFACE MAC-ADDRESS DRIVER
set -e
# There is no udev that would load drivers.
modprobe -a virtio_net igb e1000e pktgen sch_ingress cls_matchall act_gact
for ((index = 0; index < $1; index++)); do
    dev=$(nic-up "$index")
    driver=$(ethtool -i "$dev" | sed -n 's/^driver: //p')
    echo "$dev $(cat "/sys/class/net/$dev/address") $driver"
done
