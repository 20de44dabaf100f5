#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Services of p4/k8s_node.p4 beside those of nftables, with rules as kube-proxy writes them: both are fed
# with the same packets, and the same leaves. node/oracle has the traces.
# TIMEOUT: 600
modprobe -a tun nf_conntrack nf_conntrack_netlink nfnetlink_log nft_log nft_ct nft_chain_nat || exit
modprobe -a nft_nat nft_masq nft_numgen nft_reject_ipv4 nft_reject_ipv6 nf_defrag_ipv4 nf_defrag_ipv6 || exit
exec adit-node-oracle --program /repo/p4/k8s_node.p4 services
