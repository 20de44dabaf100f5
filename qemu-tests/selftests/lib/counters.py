#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Counters of wire, device and driver since a saved state, and checks that they agree.

counters.py save FILE IFACE             saves the counters
counters.py device FILE IFACE           checks that those of wire and device agree since then
counters.py driver FILE IFACE           checks the driver's as well
counters.py link FILE IFACE             checks those of `ip -s link` as well
counters.py segments FILE IFACE DIRECTION SIZE BYTES
                                        checks that at least BYTES of payload were counted, in
                                        frames of SIZE each
counters.py dropped FILE IFACE DIRECTION REASON FRAMES
                                        checks that at least FRAMES were dropped for that reason

All but `save` retry for some seconds, as frames may be in flight.
"""
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter

METRICS = "http://127.0.0.1:9905/metrics"


def output(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def device():
    """The device's counters of port 0, summed for the checks."""
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
    """The driver's counters, summed over queues."""
    sums = Counter()
    for line in output("ethtool", "-S", interface).splitlines():
        counter = re.fullmatch(r"\s*([rt]x)_q-\d+_(pkts|bytes): (\d+)", line)
        if counter:
            what = "" if counter[2] == "pkts" else " bytes"
            sums[f"driver {counter[1]}{what}"] += int(counter[3])
    return sums


def link(interface):
    """The interface's counters: the device's own, which idpf reads every 10 s."""
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


def settled(interface):
    """Counters between whose reads no frame passed.

    The device's are read before the driver's: a frame between the two would be missing from the
    device's alone, in all later comparisons.
    """
    total = now(interface)
    end = time.monotonic() + TIMEOUT
    while (again := now(interface)) != total:
        if time.monotonic() > end:
            sys.exit(f"frames pass without a break: counters changed for {TIMEOUT} s")
        total = again
    return total


# Each total must equal the sum of its parts. The driver's bytes sent are not among them:
# idpf counts a frame of less than 60 bytes as one of 60.
DEVICE = [("wire rx", ["device rx", "dropped rx"]), ("device tx", ["wire tx"])]
DRIVER = DEVICE + [
    ("driver rx", ["device rx"]),
    ("driver tx", ["device tx", "dropped tx"]),
    ("driver rx bytes", ["device rx bytes"]),
]
# Timeouts in seconds. `ip -s link` shows counters that idpf reads every 10 s.
PACE = int(os.environ.get("SELFTEST_PACE", 1))
TIMEOUT = 8 * PACE
LINK_TIMEOUT = 30 * PACE


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
            json.dump(settled(interface), to)
        return 0
    with open(file) as saved:
        since = Counter(json.load(saved))
    end = time.monotonic() + (LINK_TIMEOUT if command == "link" else TIMEOUT)
    while True:
        # The last reading begins after the end: a machine that stood still meanwhile has not failed.
        last = time.monotonic() > end
        if command == "dropped":
            wrong = list(drops(interface, since, *more))
        elif command == "segments":
            wrong = list(too_few(interface, since, *more))
        else:
            wrong = list(disagreements(command, interface, since))
        if not wrong:
            return 0
        if last:
            print("\n".join(wrong))
            return 1


sys.exit(main(*sys.argv[1:]))
