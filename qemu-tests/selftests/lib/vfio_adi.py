# SPDX-License-Identifier: Apache-2.0 OR MIT
"""An ADI through plain VFIO calls: a correct owner, which tests extend with incorrect calls.

Numbers are those of <linux/vfio.h> and include/uapi/linux/adit.h; structures of messages are
virtchnl2's.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import select
import struct

from vfio_open import IO, Backend

GET_INFO, GET_REGION_INFO, GET_IRQ_INFO, SET_IRQS, RESET = range(IO + 7, IO + 12)
PAGES_FD = 0xAD00

INFO, DOORBELLS, INTERRUPTS, KICK, MAILBOX, DMA = range(6)
VECTORS, REQUEST, FAULT = range(3)

CONFIG_TX, CONFIG_RX, ENABLE, DISABLE = 505, 506, 507, 508
MAP_VECTOR, UNMAP_VECTOR, ENABLE_VPORT, DISABLE_VPORT = 511, 512, 503, 504
GET_STATS, ADD_MAC, DEL_MAC, PROMISCUOUS = 523, 535, 536, 537
REGISTER, UNREGISTER, GET_FAULT = 0x80000001, 0x80000002, 0x0AD10003
READ, WRITE = 1, 2
TX, RX, TX_COMPLETION, RX_BUFFER = range(4)

# The seconds in which must come what the device has to do: it may not run for a while.
PATIENCE = 60

PAGE = 4096
LEN = 64  # entries of each ring
BUFFER = 2048
UNICAST = 0


def region(index, at=0):
    """The offset of a region in the device's file."""
    return index << 40 | at


class Adi:
    """An open ADI with an address space of its own."""

    def __init__(self, name):
        self.name = name
        self.backend = Backend(name)
        self.fd, self.container = self.backend.fd, self.backend.container
        info = os.pread(self.fd, 160, region(INFO))
        self.mac = info[16:22]
        self.pairs, self.vectors = struct.unpack_from("<HH", info, 24)
        self.asleep, self.kick_at = struct.unpack_from("<II", info, 44)
        self.memory = {}
        self.events = {}

    def close(self):
        for fd in self.backend.files:
            os.close(fd)

    def request(self, opcode, payload=b"", cookie=7):
        """A message; its reply's payload. OSError if it is refused."""
        head = struct.pack("<IIQQ", opcode, len(payload), cookie, 0)
        os.pwrite(self.fd, head + payload, region(MAILBOX))
        reply = os.pread(self.fd, 24 + 4096, region(MAILBOX))
        got, length, back, status, _ = struct.unpack_from("<IIQII", reply)
        assert (got, back, status, length) == (opcode, cookie, 0, len(reply) - 24), reply[:24]
        return reply[24:]

    def map(self, iova, pages, access=3):
        """Maps memory at `iova` of the container, and returns it."""
        memory = mmap.mmap(-1, pages * PAGE, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.memory[iova] = memory
        self.map_at(iova, at, pages * PAGE, access)
        return memory

    def map_at(self, iova, address, length, access=3):
        self.backend.map_at(iova, address, length, access)

    def unmap(self, iova, pages):
        """Unmaps memory from the container; the process keeps it."""
        return self.backend.unmap(iova, pages * PAGE)

    def register(self, iova, pages, flags=READ | WRITE):
        self.request(REGISTER, struct.pack("<QQII", iova, pages * PAGE, flags, 0))

    def unregister(self, iova, pages):
        self.request(UNREGISTER, struct.pack("<QQII", iova, pages * PAGE, 0, 0))

    def event(self, index, count=1):
        """An eventfd for (the first of) an interrupt index."""
        fd = self.events.setdefault(index, os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        flags = 1 << 2 | 1 << 5  # DATA_EVENTFD, ACTION_TRIGGER
        fcntl.ioctl(self.fd, SET_IRQS, struct.pack("IIIIIi", 24, flags, index, 0, count, fd))
        return fd

    def signalled(self, index, seconds=PATIENCE):
        """Returns `True` if the eventfd of an index is signalled in time."""
        fd = self.events[index]
        if not select.select([fd], [], [], seconds)[0]:
            return False
        os.eventfd_read(fd)
        return True

    def fault(self):
        """The first fault since the last call: reason, count, type and number of queue, address."""
        reply = self.request(GET_FAULT, struct.pack("<HH44x", 0, 1))
        _, _, reason, count, kind, queue, address = struct.unpack_from("<HHIQIIQ", reply)
        return {"reason": reason, "count": count, "kind": kind, "queue": queue, "address": address}

    def give(self, *pages):
        """A file of pages: (region, page), or (0, page, file) of another such file."""
        entries = [(*page, -1)[:3] for page in pages]
        head = struct.pack("<IIII", 16 + 16 * len(entries), 0, len(entries), 0)
        return self.give_raw(head + b"".join(
            struct.pack("<iIII", source, index, page, 0) for index, page, source in entries))

    def give_raw(self, argument):
        return fcntl.ioctl(self.fd, PAGES_FD, bytearray(argument))

    def page(self, index, number=0):
        return mmap.mmap(self.fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE,
                         offset=region(index, number * PAGE))


def txq(kind, queue, address, pasid=0, completion=0, length=LEN):
    return struct.pack("<QIIHHHHHHHH4xIII8x", address, kind, queue, 0, 1, 0, 0, length, completion,
                       0, 0, pasid, pasid, pasid)


def config_tx(*queues, vport=0):
    return struct.pack("<IH10x", vport, len(queues)) + b"".join(queues)


def rxq(kind, queue, address, pasid=0, buffers=(0, 1), length=LEN):
    return struct.pack("<QQIIHHIIHBxQHHHHB3xIII16x", 4, address, kind, queue, 1, 0, BUFFER, 1518,
                       length, 0, 0, 16, 0, buffers[0], buffers[1], 1, pasid, pasid, pasid)


def config_rx(*queues, vport=0):
    return struct.pack("<IH18x", vport, len(queues)) + b"".join(queues)


def chunks(*named, vport=0):
    """ENABLE_QUEUES or DISABLE_QUEUES of (type, first, count)."""
    return struct.pack("<I4xH6x", vport, len(named)) + b"".join(
        struct.pack("<III4x", *chunk) for chunk in named)


ALL = ((TX, 0, 1), (TX_COMPLETION, 0, 1), (RX, 0, 1), (RX_BUFFER, 0, 2))
VPORT = struct.pack("<I4x", 0)


class Driver:
    """The first queue pair of an ADI, with rings at `iova` (16 pages) and a page for frames that
    are sent (the 8th) and two for received ones (the 9th and 10th)."""

    has_vport = True

    def __init__(self, adi, iova):
        self.adi, self.iova = adi, iova
        self.memory = adi.map(iova, 16)
        adi.register(iova, 16)
        self.tx_tail = adi.page(DOORBELLS, 0)
        self.buffer_tail = adi.page(DOORBELLS, adi.pairs)
        self.kick = adi.page(KICK)
        self.frames, self.received = iova + 8 * PAGE, iova + 9 * PAGE
        self.start()

    def start(self):
        """Sets the queues up, whatever their state."""
        adi, at = self.adi, [self.iova + n * PAGE for n in range(8)]
        adi.request(DISABLE, chunks(*ALL))
        self.memory[:8 * PAGE] = bytes(8 * PAGE)
        # The doorbell of a stopped queue may have been rung since.
        self.tx_tail[:4] = self.buffer_tail[:4] = bytes(4)
        self.sent = self.completed = self.posted = self.taken = 0
        adi.request(CONFIG_TX, config_tx(txq(TX, 0, at[0]), txq(TX_COMPLETION, 0, at[1])))
        adi.request(CONFIG_RX, config_rx(rxq(RX, 0, at[2]), rxq(RX_BUFFER, 0, at[4]),
                                         rxq(RX_BUFFER, 1, at[6])))
        adi.request(ENABLE, chunks(*ALL))
        if self.has_vport:
            adi.request(ENABLE_VPORT, VPORT)

    def ring(self, page, tail):
        page[:4] = struct.pack("<I", tail)
        # Reading a register back is fence enough for this.
        if any(page[self.adi.asleep:self.adi.asleep + 4]):
            self.kick[self.adi.kick_at:self.adi.kick_at + 4] = struct.pack("<I", 1)

    def send(self, address, length):
        """A frame that is at `address`."""
        entry = self.sent % LEN
        command = 7 | 3 << 5  # flex descriptor; EOP, RS
        self.memory[entry * 16:entry * 16 + 16] = struct.pack("<QHHHH", address, command, 0, 0,
                                                              length)
        self.sent += 1
        self.ring(self.tx_tail, self.sent % LEN)

    def complete(self, seconds=PATIENCE):
        """Returns `True` if the next frame is completed in time."""
        generation = 1 - self.completed // LEN % 2
        at = PAGE + self.completed % LEN * 4
        for _ in range(int(seconds * 100)):
            if self.memory[at + 1] >> 7 == generation:
                self.completed += 1
                return True
            select.select([], [], [], 0.01)
        return False

    def post(self, address):
        """A buffer to receive into."""
        at = 4 * PAGE + self.posted % LEN * 32
        self.memory[at:at + 32] = struct.pack("<H6xQQ8x", self.posted % LEN, address, 0)
        self.posted += 1
        self.ring(self.buffer_tail, self.posted % LEN)

    def receive(self, seconds=PATIENCE):
        """The length of the next received frame to one station, None if there is none in time."""
        generation = 1 - self.taken // LEN % 2
        at = 2 * PAGE + self.taken % LEN * 32
        for _ in range(int(seconds * 100)):
            word = struct.unpack_from("<H", self.memory, at + 4)[0]
            if word >> 14 & 1 == generation:
                self.taken += 1
                # Not what the wire may ask all stations for, such as ARP requests.
                if self.memory[at] >> 6 == UNICAST:
                    return word & 0x3FFF
                self.post(self.received)
                return self.receive(seconds)
            select.select([], [], [], 0.01)
        return None

    def frame(self, to=b"\xff" * 6, text=b"adit"):
        """A frame in the page for them: its address and length."""
        frame = (to + self.adi.mac + b"\x88\xb5" + text).ljust(60, b"\0")
        at = self.frames - self.iova
        self.memory[at:at + len(frame)] = frame
        return self.frames, len(frame)


class Results:
    """KTAP results of a program, which replace those of the shell script."""

    def __init__(self, planned):
        self.number = self.failed = 0
        self.planned = planned
        print("KTAP version 2", f"1..{planned}", sep="\n", flush=True)

    def equal(self, name, got, want):
        self.number += 1
        if got != want:
            self.failed += 1
            print(f"# it is {got!r}, should be {want!r}")
        print(f"{'ok' if got == want else 'not ok'} {self.number} {name}", flush=True)

    def refused(self, name, want, call, *arguments, **named):
        """Checks that `call` fails with the errno `want`."""
        self.equal(f"refused: {name}", outcome(call, *arguments, **named), errno.errorcode[want])

    def done(self):
        if self.number != self.planned:
            print(f"# {self.number} results instead of {self.planned}")
        raise SystemExit(self.failed != 0 or self.number != self.planned)


def outcome(call, *arguments, **named):
    """The name of the errno that a call fails with; "done" if it does not fail."""
    try:
        call(*arguments, **named)
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)
    return "done"
