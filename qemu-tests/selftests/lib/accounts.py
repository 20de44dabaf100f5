#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What wire, device and driver have counted since a moment, and whether it fits together.

accounts.py save FILE IFACE             takes down the counters
accounts.py device FILE IFACE           whether those of wire and device since then agree
accounts.py driver FILE IFACE           the driver's too
accounts.py link FILE IFACE             and those of `ip -s link`
accounts.py segments FILE IFACE DIRECTION SIZE BYTES
                                        whether at least as many frames were counted as BYTES of
                                        payload make, SIZE in each, and their bytes
accounts.py dropped FILE IFACE DIRECTION REASON FRAMES
                                        whether at least FRAMES were dropped for that reason

All but `save` wait some seconds for it: a frame may be under way at any one moment.
"""
import json
import re
import subprocess
import sys
import time
from collections import Counter

METRICS = "http://127.0.0.1:9905/metrics"


def output(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def device():
    """The device's counters of port 0, added up as the checks want them."""
    sums = Counter()
    for line in output("wire", "curl", "-sSf", METRICS).splitlines():
        sample = re.fullmatch(r"(\w+)\{(.*)\} (\d+)", line)
        if not sample:
            continue
        name, value = sample[1], int(sample[3])
        labels = dict(re.findall(r'(\w+)="([^"]*)"', sample[2]))
        if labels.get("vport", labels.get("port")) != "0":
            continue
        direction = labels.get("direction", "")
        match name:
            case "adit_wire_receive_frames_total":
                sums["wire rx"] += value
            case "adit_wire_transmit_frames_total":
                sums["wire tx"] += value
            case "adit_wire_transmit_drops_total":
                sums["wire tx dropped"] += value
            case "adit_vport_frames_total":
                sums[f"device {direction}"] += value
                sums[f"device {direction} {labels['cast']}"] += value
            case "adit_vport_bytes_total":
                sums[f"device {direction} bytes"] += value
            case "adit_vport_dropped_total":
                sums[f"dropped {direction}"] += value
                sums[f"dropped {direction} {labels['reason']}"] += value
    return sums


def driver(interface):
    """The driver's counters, queues added up."""
    sums = Counter()
    for line in output("ethtool", "-S", interface).splitlines():
        counter = re.fullmatch(r"\s*([rt]x)_q-\d+_(pkts|bytes): (\d+)", line)
        if counter:
            what = "" if counter[2] == "pkts" else " bytes"
            sums[f"driver {counter[1]}{what}"] += int(counter[3])
    return sums


def link(interface):
    """What the interface shows: the device's own counters, which idpf asks for every 10 s."""
    stats = json.loads(output("ip", "-json", "-s", "-s", "link", "show", interface))[0]["stats64"]
    return Counter(
        {
            f"link {direction}{what}": stats[direction][key]
            for direction in ("rx", "tx")
            for what, key in (("", "packets"), (" bytes", "bytes"))
        }
    )


def now(interface):
    return device() + driver(interface)


# What must be equal: a whole and the sum of its parts. The driver's bytes sent are not among them:
# idpf counts a frame of less than 60 bytes as one of 60.
DEVICE = [("wire rx", ["device rx", "dropped rx"]), ("device tx", ["wire tx"])]
DRIVER = DEVICE + [
    ("driver rx", ["device rx"]),
    ("driver tx", ["device tx", "dropped tx"]),
    ("driver rx bytes", ["device rx bytes"]),
]
# How long to wait for it. `ip -s link` shows what idpf asks the device for every 10 s.
PATIENCE = 8
LINK_PATIENCE = 20


def disagreements(command, interface, since):
    total = now(interface)
    counted = Counter(total)
    counted.subtract(since)
    for whole, parts in DEVICE if command == "device" else DRIVER:
        if counted[whole] != sum(counted[part] for part in parts):
            yield f"{whole} {counted[whole]} is not the sum of " + ", ".join(
                f"{part} {counted[part]}" for part in parts
            )
    if command == "link":
        for what, shown in link(interface).items():
            if shown != total[what.replace("link", "device")]:
                yield f"{what} {shown} is not {total[what.replace('link', 'device')]}"


def drops(interface, since, direction, reason, frames):
    what = f"dropped {direction} {reason}"
    counted = now(interface)[what] - since[what]
    if counted < int(frames):
        yield f"{what}: {counted}"


# Headers of a TCP segment or datagram over IPv4, at least.
HEADERS = 14 + 20 + 8


def too_few(interface, since, direction, size, payload):
    total = now(interface)
    frames, octets = (
        total[what] - since[what] for what in (f"device {direction}", f"device {direction} bytes")
    )
    least = -(-int(payload) // int(size))
    if frames < least or octets < int(payload) + least * HEADERS:
        yield f"{frames} frames of {octets} bytes {direction}: at least {least} were expected"


def main(command, file, interface, *more):
    if command == "save":
        with open(file, "w") as to:
            json.dump(now(interface), to)
        return 0
    with open(file) as saved:
        since = Counter(json.load(saved))
    end = time.monotonic() + (LINK_PATIENCE if command == "link" else PATIENCE)
    while True:
        if command == "dropped":
            wrong = list(drops(interface, since, *more))
        elif command == "segments":
            wrong = list(too_few(interface, since, *more))
        else:
            wrong = list(disagreements(command, interface, since))
        if not wrong:
            return 0
        if time.monotonic() > end:
            print("\n".join(wrong))
            return 1


sys.exit(main(*sys.argv[1:]))
