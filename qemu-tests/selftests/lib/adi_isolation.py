# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Two ADIs, one of which tries to reach what is not its own: adi_isolation.sh runs this."""

import ctypes
import struct
import sys

from vfio_adi import FAULT, PAGE, READ, TX, RX_BUFFER, Adi, Driver, Results

NOT_MAPPED, PERMISSION = 1, 2


def physical(memory):
    """Where the first page of some memory is in the machine."""
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
    """The victim works: a frame of its own arrives at the attacker, who works too."""
    mine.post(mine.received)
    theirs.send(*theirs.frame(to=attacker.mac, text=what.encode()))
    results.equal(f"{what}: the neighbour sends, both go on", (theirs.complete(), mine.receive()),
                  (True, 60))


def sends(what, address, reason=NOT_MAPPED):
    """A frame at `address` does not leave, the owner is told, nobody else is."""
    global faults
    faults += 1
    mine.send(address, 60)
    results.equal(f"{what}: the owner is told", attacker.signalled(FAULT), True)
    fault = attacker.fault()
    want = {"reason": reason, "count": faults, "kind": TX, "queue": 0, "address": address}
    results.equal(f"{what}: of what, and where", fault, want)
    results.equal(f"{what}: nothing was sent", mine.complete(0.2), False)
    mine.start()


neighbours("before")
sends("the other's IOVA", 0x3000_0000)
neighbours("after the other's IOVA")
sends("an address that nobody has", 0x7777_0000)
sends("the other's memory by its physical address", physical(secret))
sends("the kernel's memory", 0x10_0000)
sends("an address beyond all", (1 << 63) + 0x1000)
neighbours("after them")

# A page that was registered and is no longer, then one that is no longer in the container.
attacker.map(0x4000_0000, 2)
attacker.register(0x4000_0000, 2)
page = attacker.memory[0x4000_0000]
page[:60] = (b"\xff" * 6 + attacker.mac + b"\x88\xb5page").ljust(60, b"\0")
mine.send(0x4000_0000, 60)
results.equal("a page that is registered is sent", mine.complete(), True)
attacker.unregister(0x4000_0000, 2)
mine.start()
sends("a page that is registered no more", 0x4000_0000)
attacker.register(0x4000_0000, 2)
results.equal("memory that is pinned can be unmapped", attacker.unmap(0x4000_0000, 2), 2 * PAGE)
mine.start()
sends("a page that is mapped no more", 0x4000_0000)

# Memory that the device may only read.
attacker.map(0x5000_0000, 1)
attacker.register(0x5000_0000, 1, READ)
page = attacker.memory[0x5000_0000]
page[:60] = (b"\xff" * 6 + attacker.mac + b"\x88\xb5read").ljust(60, b"\0")
mine.send(0x5000_0000, 60)
results.equal("what may be read is sent", mine.complete(), True)
before = page[:]
mine.post(0x5000_0000)
theirs.send(*theirs.frame(to=attacker.mac, text=b"write"))
theirs.complete()
faults += 1
results.equal("what may not be written: the owner is told", attacker.signalled(FAULT), True)
fault = attacker.fault()
results.equal("of what", (fault["reason"], fault["count"], fault["address"]),
              (PERMISSION, faults, 0x5000_0000))
results.equal("it was not written", page[:] == before, True)
mine.start()
neighbours("after all")
results.equal("the neighbour was told of no fault", victim.signalled(FAULT, 0), False)
results.equal("nor had any", victim.fault()["count"], 0)
results.done()
