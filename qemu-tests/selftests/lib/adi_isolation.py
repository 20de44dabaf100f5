# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Two ADIs, one of which accesses memory that is not its own: adi_isolation.sh runs this."""

import ctypes
import struct
import sys

from vfio_adi import FAULT, PAGE, READ, TX, RX_BUFFER, Adi, Driver, Results

NOT_MAPPED, PERMISSION = 1, 2


def physical(memory):
    """The physical address of the first page of some memory."""
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(at // PAGE * 8)
        entry = struct.unpack("<Q", pagemap.read(8))[0]
    assert entry >> 63, "the page is not present"
    return (entry & (1 << 55) - 1) * PAGE


attacker, victim = Adi(sys.argv[1]), Adi(sys.argv[2])
results = Results(33)
mine, theirs = Driver(attacker, 0x1000_0000), Driver(victim, 0x2000_0000)
attacker.event(FAULT)
victim.event(FAULT)
secret = victim.map(0x3000_0000, 1)
victim.register(0x3000_0000, 1)
secret[:60] = (attacker.mac + victim.mac + b"\x88\xb5secret").ljust(60, b"\0")
faults = 0


def neighbours(what):
    """Both ADIs work: a frame of the victim arrives at the attacker."""
    # One would be enough if the wire were silent.
    for _ in range(4):
        mine.post(mine.received)
    theirs.send(*theirs.frame(to=attacker.mac, text=what.encode()))
    results.equal(f"{what}: the other ADI sends and both ADIs work", (theirs.complete(), mine.receive()),
                  (True, 60))


def sends(what, address, reason=NOT_MAPPED):
    """A frame at `address` is not sent, and only the owner is notified."""
    global faults
    faults += 1
    mine.send(address, 60)
    results.equal(f"{what}: the owner is notified", attacker.signalled(FAULT), True)
    fault = attacker.fault()
    want = {"reason": reason, "count": faults, "kind": TX, "queue": 0, "address": address}
    results.equal(f"{what}: the fault record has the reason and the address", fault, want)
    results.equal(f"{what}: no frame is sent", mine.complete(0.2), False)
    mine.start()


neighbours("before the faults")
sends("the IOVA of the other ADI", 0x3000_0000)
neighbours("after the IOVA of the other ADI")
sends("an unmapped address", 0x7777_0000)
sends("the physical address of the other ADI's memory", physical(secret))
sends("a physical address of the kernel", 0x10_0000)
sends("a non-canonical address", (1 << 63) + 0x1000)
neighbours("after the faults")

# A page that was unregistered, then one that was unmapped from the container.
attacker.map(0x4000_0000, 2)
attacker.register(0x4000_0000, 2)
page = attacker.memory[0x4000_0000]
page[:60] = (b"\xff" * 6 + attacker.mac + b"\x88\xb5page").ljust(60, b"\0")
mine.send(0x4000_0000, 60)
results.equal("a frame in a registered page is sent", mine.complete(), True)
attacker.unregister(0x4000_0000, 2)
mine.start()
sends("an unregistered page", 0x4000_0000)
attacker.register(0x4000_0000, 2)
results.equal("pinned memory can be unmapped", attacker.unmap(0x4000_0000, 2), 2 * PAGE)
mine.start()
sends("an unmapped page", 0x4000_0000)

# Memory that the device may only read.
attacker.map(0x5000_0000, 1)
attacker.register(0x5000_0000, 1, READ)
page = attacker.memory[0x5000_0000]
page[:60] = (b"\xff" * 6 + attacker.mac + b"\x88\xb5read").ljust(60, b"\0")
mine.send(0x5000_0000, 60)
results.equal("a frame in a read-only page is sent", mine.complete(), True)
before = page[:]
mine.post(0x5000_0000)
theirs.send(*theirs.frame(to=attacker.mac, text=b"write"))
theirs.complete()
faults += 1
results.equal("a write to a read-only page: the owner is notified", attacker.signalled(FAULT), True)
fault = attacker.fault()
results.equal("a write to a read-only page: the fault record has the reason and the address", (fault["reason"], fault["count"], fault["address"]),
              (PERMISSION, faults, 0x5000_0000))
results.equal("a write to a read-only page: the page is unchanged", page[:] == before, True)
mine.start()
neighbours("in the end")
results.equal("the other ADI's owner is not notified", victim.signalled(FAULT, 0), False)
results.equal("the other ADI has no fault", victim.fault()["count"], 0)
results.done()
