#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Sends one UDP payload that the NIC segments (UDP_SEGMENT): uso.py ADDRESS SIZE BYTES."""
import socket
import sys

# include/uapi/linux/udp.h
UDP_SEGMENT = 103

address, size, octets = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    # The discard port: no receiver is required.
    sent = sender.sendto(bytes(octets), (address, 9))
sys.exit(sent != octets)
