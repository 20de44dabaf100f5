#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The connection tracker beside nf_conntrack: both are fed with the same packets and show the same.
# conntrack/oracle has the traces.
# TIMEOUT: 300
modprobe -a tun nf_conntrack nf_conntrack_netlink nfnetlink_log nft_log nft_ct nft_nat || exit
modprobe -a nf_nat_ftp nf_nat_tftp nf_nat_irc nf_nat_sip nf_nat_pptp nf_nat_h323 nf_defrag_ipv4 nf_defrag_ipv6 || exit
# All buckets are read after each packet.
echo 1024 >/sys/module/nf_conntrack/parameters/hashsize || exit
exec adit-conntrack-oracle --random 25
