# SPDX-License-Identifier: Apache-2.0 OR MIT
"""An owner whose ADI is revoked by a reset of the function: `adi_after_reset.py ADI`. Prints `holds`
when it is set up, waits for the reset, and checks that all access is revoked, also once the ADI is
active again, and also through a second descriptor of the same group."""

import fcntl
import os
import struct
import sys
import time

from vfio_adi import (DOORBELLS, FAULT, GET_STATS, INFO, RESET, REQUEST, VECTORS, VPORT, Adi, Driver,
                      outcome, region)
from vfio_open import GROUP_GET_DEVICE_FD

DEAD = 2

adi = Adi(sys.argv[1])
driver = Driver(adi, 0x1000_0000)
for index in VECTORS, REQUEST, FAULT:
    adi.event(index)
driver.send(*driver.frame())
assert driver.complete(), "a frame was not sent"
print("holds", flush=True)

assert adi.signalled(REQUEST, 60), "no request to close the ADI"
assert adi.signalled(FAULT), "no fault"
# The function is active again within seconds; access is revoked before and after.
state = "/sys/bus/auxiliary/devices/" + adi.name + "/state"
for _ in range(1200):
    with open(state) as file:
        if file.read() == "active\n":
            break
    time.sleep(0.05)
for number in range(2):
    sent = driver.sent
    driver.send(*driver.frame(text=b"after the reset"))
    assert not driver.complete(0.5), "a frame was sent through a revoked ADI"
    calls = [
        lambda: adi.request(GET_STATS, VPORT + bytes(120)),
        lambda: adi.register(0x2000_0000, 1),
        lambda: adi.event(VECTORS),
        lambda: fcntl.ioctl(adi.fd, RESET),
        lambda: adi.page(DOORBELLS),
        lambda: adi.give((DOORBELLS, 0)),
    ]
    outcomes = [outcome(call) for call in calls]
    assert outcomes == ["EIO"] * len(calls), (number, outcomes)
    state, = struct.unpack_from("<I", os.pread(adi.fd, 160, region(INFO)), 12)
    assert state == DEAD, state
    if number == 0 and hasattr(adi.backend, "group"):
        name = bytearray(adi.name.encode() + b"\0")
        adi.fd = fcntl.ioctl(adi.backend.group, GROUP_GET_DEVICE_FD, name)
