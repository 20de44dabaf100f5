# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The next owner of an ADI does not see the state of the previous one: adi_owner.sh runs this."""

import os
import struct
import sys

import vfio_adi as v
from vfio_adi import Adi, Driver, Results, outcome

SET_KEY, SET_LUT, SET_HASH, GET_KEY, GET_LUT, GET_HASH = 514, 516, 518, 513, 515, 517
SPARE = 0x200  # no register of a page
IOVA = 0x1000_0000


def state(adi):
    """The state that an owner can read, by name."""
    pages = [(v.DOORBELLS, n) for n in range(3 * adi.pairs)] + [(v.INTERRUPTS, 0)]
    return {
        "RSS key": adi.request(GET_KEY, bytes(7)),
        "RSS table": adi.request(GET_LUT, bytes(12)),
        "RSS hash": adi.request(GET_HASH, bytes(16)),
        "counters": adi.request(v.GET_STATS, bytes(128)),
        "faults": adi.fault(),
        "pages of registers": [adi.page(*page)[:] for page in pages],
        "queues that would run": outcome(adi.request, v.ENABLE, v.chunks(*v.ALL)),
        "the number of faults": os.pread(adi.fd, 8, v.region(v.INFO, 104)),
    }


adi = Adi(sys.argv[1])
fresh = state(adi)
results = Results(2 + len(fresh))
results.equal("no queue is configured initially", fresh["queues that would run"] == "done", False)
driver = Driver(adi, IOVA)
key = adi.request(GET_KEY, bytes(7))
length = struct.unpack_from("<H", key, 4)[0]
adi.request(SET_KEY, struct.pack("<IHx", 0, length) + b"\x5a" * length)
_, start, entries = struct.unpack_from("<IHH", adi.request(GET_LUT, bytes(12)))
last = struct.pack("<I", adi.pairs - 1)
adi.request(SET_LUT, struct.pack("<IHH4x", 0, start, entries) + last * entries)
adi.request(SET_HASH, struct.pack("<QI4x", 1 << 43, 0))
adi.request(v.MAP_VECTOR, struct.pack("<IH10xIH2xII8x", 0, 1, 0, 0, 0, v.RX))
for n in range(3 * adi.pairs):
    adi.page(v.DOORBELLS, n)[SPARE:SPARE + 6] = b"secret"
adi.page(v.INTERRUPTS)[SPARE:SPARE + 6] = b"secret"
adi.event(v.FAULT)
driver.send(*driver.frame())
assert driver.complete()
driver.send(0x7777_0000, 60)
assert adi.signalled(v.FAULT)
used = state(adi)
same = [name for name in fresh if used[name] == fresh[name]]
results.equal("an owner changes every setting", same, [])
for page in (driver.tx_tail, driver.buffer_tail, driver.kick):
    page.close()
adi.close()
heir = Adi(sys.argv[1])
for name, value in state(heir).items():
    results.equal(f"{name}: the next owner finds the initial value", value, fresh[name])
results.done()
