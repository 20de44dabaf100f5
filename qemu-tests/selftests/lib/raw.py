#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Raw frames of the experimental EtherType 0x88b5, for either end of the wire.

raw.py send IFACE ADDRESSES COUNT [LENGTH]
    sends COUNT frames with LENGTH bytes (60) behind the header; ADDRESSES is destination and
    source in hexadecimal
raw.py bad-checksum IFACE ADDRESSES COUNT
    sends COUNT UDP datagrams from 10.99.0.1 to 10.99.0.2 with a wrong checksum
raw.py pings ADDRESS COUNT LENGTH
    sends COUNT echo requests with LENGTH bytes, at most 32 at a time, and waits for a reply to each
raw.py echo IFACE ADDRESSES
    sends one and waits for it to come back, addresses swapped
raw.py reflect IFACE COUNT
    sends the next COUNT frames back to where they came from
raw.py vlan-station IFACE ID
    answers ICMP echo requests that are tagged with VLAN ID
"""
import os
import socket
import struct
import sys

ETHERTYPE = 0x88B5


def open_link(interface, ethertype):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
    link.bind((interface, ethertype))
    return link


def test_frame(addresses, length=60):
    addresses = bytes.fromhex(addresses)
    assert len(addresses) == 12, "12 bytes of addresses"
    return addresses + ETHERTYPE.to_bytes(2, "big") + bytes(i % 256 for i in range(length))


def send(interface, addresses, count, length=60):
    link = open_link(interface, ETHERTYPE)
    for _ in range(int(count)):
        link.send(test_frame(addresses, int(length)))


def bad_checksum(interface, addresses, count):
    link = open_link(interface, ETHERTYPE)
    packet = struct.pack(
        "!BBHHHBBH4s4sHHHH", 0x45, 0, 46, 0, 0, 64, socket.IPPROTO_UDP, 0,
        socket.inet_aton("10.99.0.1"), socket.inet_aton("10.99.0.2"), 7009, 7009, 26, 0xBAD,
    )
    checksum = sum(struct.unpack("!10H", packet[:20]))
    checksum = ~((checksum & 0xFFFF) + (checksum >> 16)) & 0xFFFF
    packet = packet[:10] + checksum.to_bytes(2, "big") + packet[12:] + bytes(18)
    for _ in range(int(count)):
        link.send(bytes.fromhex(addresses) + b"\x08\x00" + packet)


def pings(address, count, length):
    """Unlike ping(8), which waits for late replies no longer than twice the longest round trip."""
    link = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    link.settimeout(60)
    id, sent, missing = os.getpid() & 0xFFFF, 0, set()
    while sent < int(count) or missing:
        while sent < int(count) and len(missing) < 32:
            request = struct.pack("!BBHHH", 8, 0, 0, id, sent) + bytes(int(length))
            checksum = sum(struct.unpack(f"!{len(request) // 2}H", request))
            checksum = (checksum & 0xFFFF) + (checksum >> 16)
            checksum = ~((checksum & 0xFFFF) + (checksum >> 16)) & 0xFFFF
            link.sendto(request[:2] + checksum.to_bytes(2, "big") + request[4:], (address, 0))
            missing.add(sent)
            sent += 1
        try:
            reply = link.recv(65536)[20:]
        except TimeoutError:
            sys.exit(f"no reply to {len(missing)} of {sent} echo requests: {sorted(missing)}")
        kind, _, _, of, number = struct.unpack_from("!BBHHH", reply)
        if (kind, of) == (0, id):
            missing.discard(number)


def echo(interface, addresses):
    link = open_link(interface, ETHERTYPE)
    link.settimeout(10)
    frame = test_frame(addresses)
    link.send(frame)
    swapped = frame[6:12] + frame[:6] + frame[12:]
    while link.recv(2000)[: len(frame)] != swapped:
        pass


def reflect(interface, count):
    link = open_link(interface, ETHERTYPE)
    for _ in range(int(count)):
        frame = link.recv(2000)
        link.send(frame[6:12] + frame[:6] + frame[12:])


def vlan_station(interface, vlan):
    # The kernel takes the tag out of a received frame and gives it in the auxiliary data
    # (struct tpacket_auxdata: four 32-bit words, two 16-bit ones, then tp_vlan_tci).
    SOL_PACKET, PACKET_AUXDATA = 263, 8
    link = open_link(interface, 0x0003)
    link.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    while True:
        frame, auxiliary, _, address = link.recvmsg(65536, 256)
        tags = [struct.unpack("IIIHHHH", data)[5] for _, kind, data in auxiliary if kind == PACKET_AUXDATA]
        if address[2] == socket.PACKET_OUTGOING or not tags or tags[0] & 0xFFF != int(vlan):
            continue
        # IPv4 without options, ICMP, echo request.
        if frame[12:15] != b"\x08\x00\x45" or frame[23] != 1 or frame[34] != 8:
            continue
        checksum = int.from_bytes(frame[36:38], "big") + 0x0800
        checksum = (checksum & 0xFFFF) + (checksum >> 16)
        link.send(
            frame[6:12] + frame[:6] + b"\x81\x00" + int(vlan).to_bytes(2, "big") + frame[12:26]
            + frame[30:34] + frame[26:30] + b"\0\0" + checksum.to_bytes(2, "big") + frame[38:]
        )


COMMANDS = {"send": send, "bad-checksum": bad_checksum, "pings": pings, "echo": echo, "reflect": reflect, "vlan-station": vlan_station}
COMMANDS[sys.argv[1]](*sys.argv[2:])
