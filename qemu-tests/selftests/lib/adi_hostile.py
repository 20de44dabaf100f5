# SPDX-License-Identifier: Apache-2.0 OR MIT
"""An owner that makes invalid calls: adi_hostile.sh runs this.

First, each invalid call and its errno; then random calls for some seconds, from a seed that is
printed (SEED=N repeats it).
"""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import struct
import sys
import time

import vfio_adi as v
from vfio_adi import PAGE, Adi, Driver, Results, outcome, region
from vfio_open import Cdev

E = errno
RAM = 0x1000_0000
CDEV = v.Backend is Cdev
adi = Adi(sys.argv[1])
results = Results(74)
refused, equal = results.refused, results.equal
driver = Driver(adi, RAM)
ioctl = lambda request, argument=b"": fcntl.ioctl(adi.fd, request, bytearray(argument))


def irqs(flags=0x24, index=0, start=0, count=1, data=struct.pack("i", -1), argsz=None):
    head = struct.pack("IIIII", 20 + len(data) if argsz is None else argsz, flags, index, start,
                       count)
    ioctl(v.SET_IRQS, head + data)


# The device.
refused("an unknown ioctl", E.ENOTTY, ioctl, 0x3B00 | 199)
refused("a bad pointer", E.EFAULT, fcntl.ioctl, adi.fd, v.GET_INFO, 8)
refused("GET_INFO with too short an argument", E.EINVAL, ioctl, v.GET_INFO, struct.pack("IIIII", 8, 0, 0, 0, 0))
info = bytearray(struct.pack("IIIII", 20, 0, 0, 0, 0))
fcntl.ioctl(adi.fd, v.GET_INFO, info)
equal("GET_INFO returns the flags and the numbers of regions and interrupts", struct.unpack("IIIII", info)[1:4], (1 << 2 | 1 << 0, 6, 3))
for index in range(6):
    answer = bytearray(struct.pack("IIIIQQ", 32, 0, index, 0, 0, 0))
    fcntl.ioctl(adi.fd, v.GET_REGION_INFO, answer)
    equal(f"region {index} is at the offset of its index", struct.unpack("IIIIQQ", answer)[5],
          region(index))
refused("GET_REGION_INFO of an unknown region", E.EINVAL, ioctl, v.GET_REGION_INFO,
        struct.pack("IIIIQQ", 32, 0, 6, 0, 0, 0))
refused("GET_IRQ_INFO of an unknown interrupt", E.EINVAL, ioctl, v.GET_IRQ_INFO,
        struct.pack("IIII", 16, 0, 3, 0))
refused("GET_IRQ_INFO with too short an argument", E.EINVAL, ioctl, v.GET_IRQ_INFO,
        struct.pack("IIII", 12, 0, 0, 0))

# Interrupts.
refused("a vector of another ADI", E.EINVAL, irqs, start=adi.vectors)
refused("one vector too many", E.EINVAL, irqs, count=adi.vectors + 1)
refused("2^32 - 1 vectors", E.EINVAL, irqs, count=0xFFFF_FFFF)
refused("an unknown interrupt index", E.EINVAL, irqs, index=3)
refused("fewer bytes than the argument declares", E.EINVAL, irqs, argsz=20)
refused("no action", E.EINVAL, irqs, flags=4)
refused("masking an interrupt", E.EINVAL, irqs, flags=4 | 8)
refused("an unknown flag", E.EINVAL, irqs, flags=0x24 | 1 << 31)
refused("signalling an interrupt by a call", E.EINVAL, irqs, flags=0x21, data=b"")
refused("a closed descriptor as an eventfd", E.EBADF, irqs, data=struct.pack("i", 9999))
refused("another kind of file as an eventfd", E.EINVAL, irqs, data=struct.pack("i", adi.container))

# Regions.
pread, pwrite = (lambda at, size=8: os.pread(adi.fd, size, at)), (lambda at, data=b"x" * 24:
                                                                  os.pwrite(adi.fd, data, at))
refused("writing to the information region", E.EINVAL, pwrite, region(v.INFO))
refused("reading doorbells by a call", E.EINVAL, pread, region(v.DOORBELLS))
refused("writing doorbells by a call", E.EINVAL, pwrite, region(v.DOORBELLS), b"\0\0\0\0")
refused("writing beyond the regions", E.EINVAL, pwrite, region(6))
refused("reading far beyond the regions", E.EINVAL, pread, region(1 << 20))
equal("reading beyond the information region returns no bytes", pread(region(v.INFO, 4096)), b"")
refused("a message at an offset of the mailbox", E.EINVAL, pwrite, region(v.MAILBOX, 8))
refused("a message that is too short", E.EINVAL, pwrite, region(v.MAILBOX), b"x" * 23)
refused("a message that is too long", E.EINVAL, pwrite, region(v.MAILBOX), b"\0" * 4121)


def mapped(index, page=0, pages=1, flags=mmap.MAP_SHARED, prot=3):
    mmap.mmap(adi.fd, pages * PAGE, flags, prot, offset=region(index, page * PAGE)).close()


refused("mapping the information region", E.EINVAL, mapped, v.INFO)
refused("mapping the mailbox", E.EINVAL, mapped, v.MAILBOX)
refused("mapping doorbells of another ADI", E.EINVAL, mapped, v.DOORBELLS, 3 * adi.pairs)
refused("mapping own doorbells with those of another ADI", E.EINVAL, mapped, v.DOORBELLS, 0,
        3 * adi.pairs + 1)
refused("mapping vectors of another ADI", E.EINVAL, mapped, v.INTERRUPTS, adi.vectors)
refused("mapping kick pages of another ADI", E.EINVAL, mapped, v.KICK, 1)
refused("mapping beyond the regions", E.EINVAL, mapped, 6)
refused("mapping doorbells privately", E.EINVAL, mapped, v.DOORBELLS, flags=mmap.MAP_PRIVATE)
# Anonymous inodes have no executable pages in any case; for those of a node the driver refuses.
refused("mapping doorbells as executable", E.EINVAL if CDEV else E.EPERM, mapped, v.DOORBELLS, prot=7)
refused("mapping the driver's memory from its middle", E.EINVAL, mapped, v.DMA, 1)
equal("the driver's memory can be mapped from its start", outcome(mapped, v.DMA, 0, 8), "done")

# The mailbox.
request, pack = adi.request, struct.pack
refused("an unknown opcode", E.EOPNOTSUPP, request, 4711)
refused("creating a vport", E.EOPNOTSUPP, request, 501, bytes(160))
refused("creating an ADI", E.EOPNOTSUPP, request, 532, bytes(240))
refused("destroying another ADI", E.EOPNOTSUPP, request, 533, bytes(4))
refused("configuring a cause ring", E.EOPNOTSUPP, request, 0x0AD10002, bytes(32))
refused("disabling another ADI's vport", E.ENXIO, request, v.DISABLE_VPORT, pack("<I4x", 1))
refused("configuring another ADI's transmit queue", E.ENXIO, request, v.CONFIG_TX,
        v.config_tx(v.txq(v.TX, adi.pairs, RAM)))
refused("using another ADI's completion queue", E.ENXIO, request, v.CONFIG_TX,
        v.config_tx(v.txq(v.TX, 0, RAM, completion=adi.pairs)))
refused("using another ADI's buffer queue", E.ENXIO, request, v.CONFIG_RX,
        v.config_rx(v.rxq(v.RX, 0, RAM, buffers=(0, 2 * adi.pairs))))
refused("a PASID for a transmit queue", E.EPERM, request, v.CONFIG_TX,
        v.config_tx(v.txq(v.TX, 0, RAM, pasid=1)))
refused("a PASID for a receive queue", E.EPERM, request, v.CONFIG_RX,
        v.config_rx(v.rxq(v.RX, 0, RAM, pasid=1)))
refused("stopping another ADI's queue", E.ENXIO, request, v.DISABLE, v.chunks((v.TX, 0, 2)))
refused("stopping a queue of an unknown type", E.ENXIO, request, v.DISABLE, v.chunks((10, 0, 1)))
refused("more queues than the message declares", E.EINVAL, request, v.CONFIG_TX,
        v.config_tx(v.txq(v.TX, 0, RAM)) + bytes(56))
refused("mapping a queue to another ADI's vector", E.ENXIO, request, v.MAP_VECTOR,
        pack("<IH10xIH2xII8x", 0, 1, 0, adi.vectors, 0, v.RX))
refused("adding another ADI's MAC address", E.EPERM, request, v.ADD_MAC,
        pack("<IH2x6sBx", 0, 1, b"\2\0\0\0\1\x63", 2))
refused("setting promiscuous mode", E.EPERM, request, v.PROMISCUOUS, pack("<IHxx", 0, 1))
refused("configuring an enabled queue", E.EBUSY, request, v.CONFIG_TX, v.config_tx(v.txq(v.TX, 0, RAM)))


def register(iova, length, flags=3, reserved=0):
    request(v.REGISTER, pack("<QQII", iova, length, flags, reserved))


refused("registering registered memory", E.EEXIST, register, RAM + 15 * PAGE, 2 * PAGE)
# iommufd and the container return different errnos.
refused("registering memory that is not in the container", E.ENOENT if CDEV else E.EINVAL, register, 0x9000_0000, PAGE)
refused("registering zero bytes", E.EINVAL, register, 0x9000_0000, 0)
refused("registering half a page", E.EINVAL, register, 0x9000_0000, PAGE // 2)
refused("registering memory at the end of the address space", E.EINVAL, register, (1 << 64) - PAGE, PAGE)
refused("registering the range of interrupts", E.EINVAL, register, 0xFEE0_0000, PAGE)
refused("registering the range of the driver's memory", E.EINVAL, register, 1 << 46, PAGE)
refused("registering memory without access rights", E.EINVAL, register, 0x9000_0000, PAGE, 0)
refused("registering memory with an unknown access flag", E.EINVAL, register, 0x9000_0000, PAGE, 4)
adi.map(0x9100_0000, 1, access=1)
refused("registering read-only memory for writing", E.EPERM, register, 0x9100_0000, PAGE)
refused("unregistering a range that is not registered", E.ENOENT, adi.unregister, RAM, 15)

# Random calls in random order.
seed = int(os.environ.get("SEED", time.time_ns() & 0xFFFF_FFFF))
print(f"# SEED={seed}", flush=True)
rng = random.Random(seed)
OPCODES = [503, 504, 505, 506, 507, 508, 509, 510, 511, 512, 513, 514, 515, 516, 517, 518, 523, 535,
           536, 537, 501, 502, 520, 532, 533, v.REGISTER, v.UNREGISTER, v.GET_FAULT, 0x0AD10001]
valid = [
    (v.CONFIG_TX, v.config_tx(v.txq(v.TX, 0, RAM), v.txq(v.TX_COMPLETION, 0, RAM + PAGE))),
    (v.CONFIG_RX, v.config_rx(v.rxq(v.RX, 0, RAM + 2 * PAGE), v.rxq(v.RX_BUFFER, 0, RAM))),
    (v.ENABLE, v.chunks(*v.ALL)), (v.DISABLE, v.chunks(*v.ALL)),
    (v.ENABLE_VPORT, v.VPORT), (v.DISABLE_VPORT, v.VPORT),
    (v.MAP_VECTOR, pack("<IH10xIH2xII8x", 0, 1, 0, 0, 0, v.RX)),
    (v.ADD_MAC, pack("<IH2x6sBx", 0, 1, b"\x33\x33\0\0\0\1", 2)),
    (v.REGISTER, pack("<QQII", 0x9100_0000, PAGE, 1, 0)),
    (v.UNREGISTER, pack("<QQII", 0x9100_0000, PAGE, 0, 0)),
    (v.GET_STATS, bytes(128)), (v.GET_FAULT, pack("<HH44x", 0, 1)),
]


def some_message():
    opcode, payload = rng.choice(valid)
    if rng.random() < 0.5:
        payload = bytearray(payload)
        for _ in range(rng.randrange(4)):
            payload[rng.randrange(len(payload))] = rng.choice([0, 1, 2, 0x7F, 0xFF])
    if rng.random() < 0.1:
        payload = payload[:rng.randrange(len(payload) + 1)]
    if rng.random() < 0.2:
        opcode = rng.choice(OPCODES)
    if rng.random() < 0.1:
        payload = rng.randbytes(rng.randrange(4097))
    request(opcode, bytes(payload), cookie=rng.getrandbits(64))


def some_ioctl():
    number = rng.choice([v.GET_INFO, v.GET_REGION_INFO, v.GET_IRQ_INFO, v.SET_IRQS, v.RESET,
                         0x3B00 + rng.randrange(256), rng.getrandbits(32)])
    argument = bytearray(rng.choice([b"", pack("I", rng.choice([8, 20, 24, 32]))]))
    argument += b"".join(pack("I", rng.choice([0, 1, 2, 3, 0x24, 0xFFFF_FFFF]))
                         for _ in range(rng.randrange(1, 9)))
    fcntl.ioctl(adi.fd, number, argument.ljust(64, b"\0"))


def some_mapping():
    mapped(rng.randrange(8), rng.choice([0, 1, 3, 7, 512]), rng.choice([1, 2, 3, 64]),
           prot=rng.choice([1, 2, 3]))


def some_access():
    at = region(rng.randrange(8), rng.choice([0, 1, 8, 24, 159, 160, 4096, 1 << 39]))
    if rng.random() < 0.5:
        pread(at, rng.choice([0, 1, 160, 4200]))
    else:
        pwrite(at, rng.randbytes(rng.choice([0, 1, 24, 100])))


def some_memory():
    if rng.random() < 0.5:
        adi.unmap(0x9100_0000, 1)
    else:
        at = ctypes.addressof(ctypes.c_char.from_buffer(adi.memory[0x9100_0000]))
        adi.map_at(0x9100_0000, at, PAGE, rng.choice([1, 3]))


def some_doorbell():
    driver.ring(rng.choice([driver.tx_tail, driver.buffer_tail]), rng.choice([0, 1, 5, 63, 64, 9999]))
    driver.memory[rng.randrange(8 * PAGE)] = rng.randrange(256)


calls = [some_message] * 8 + [some_ioctl, some_mapping, some_access, some_memory, some_doorbell]
outcomes = {}
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    call = rng.choice(calls)
    # Errors such as EFAULT are expected; a crash of the kernel or of this program is not.
    key = call.__name__, outcome(call)
    outcomes[key] = outcomes.get(key, 0) + 1
for (name, result), count in sorted(outcomes.items(), key=str):
    print(f"# {name}: {result} {count}")
fcntl.ioctl(adi.fd, v.RESET)
driver.start()
driver.send(*driver.frame())
equal("the ADI works after all calls", driver.complete(), True)
results.done()
