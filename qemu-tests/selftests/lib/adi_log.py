# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The log of the pages that an ADI writes: adi_log.sh runs this with three ADIs."""

import errno
import fcntl
import struct
import subprocess
import sys

from vfio_adi import (DISABLE, PAGE, RESET, RX, RX_BUFFER, Adi, Driver, Results, chunks)

START_LOG, STOP_LOG, READ_LOG = 0x0AD1000D, 0x0AD1000E, 0x0AD1000F
E = errno
MINE, THEIRS, OTHER = 0x1000_0000, 0x2000_0000, 0x3000_0000
RECEIVE = ((RX, 0, 1), (RX_BUFFER, 0, 2))
# Pages of a driver's memory: completions of sent frames, of received ones, and buffers.
SENT, TAKEN, BUFFERS = 1, 2, 9


def start(adi, *ranges, size=PAGE, count=None, id=0):
    """Starts a log of ranges, and returns the size of its pages."""
    head = struct.pack("<HH4xQ", id, len(ranges) if count is None else count, size)
    reply = adi.request(START_LOG, head + b"".join(struct.pack("<QQ", *range) for range in ranges))
    adi_id, ranges, size = struct.unpack("<HH4xQ", reply)
    assert (adi_id, ranges) == (0, 0), reply
    return size


def stop(adi, id=0):
    adi.request(STOP_LOG, struct.pack("<H2x", id))


def read(adi, iova=0, length=1 << 46, id=0):
    """The addresses of the pages that were written since the last time."""
    pages = []
    while length:
        reply = adi.request(READ_LOG, struct.pack("<HHIQQ", id, 0, 0, iova, length))
        adi_id, count, shift, iova, length = struct.unpack_from("<HHIQQ", reply)
        assert (adi_id, len(reply)) == (0, 24 + 16 * count), reply
        for word in range(count):
            first, written = struct.unpack_from("<QQ", reply, 24 + 16 * word)
            pages += [first + (bit << shift) for bit in range(64) if written >> bit & 1]
    return pages


def logged():
    """The number of pages that the device has bits for, in all logs."""
    metrics = subprocess.run(("wire", "curl", "-sSf", "http://127.0.0.1:9905/metrics"), check=True,
                             stdout=subprocess.PIPE, text=True).stdout
    lines = (line.split() for line in metrics.splitlines())
    return sum(int(line[1]) for line in lines if line[0] == "adit_adi_log_pages")


def exchange(text):
    """A frame of the other ADI arrives at ours, which then receives no more."""
    mine.start()
    read(ours)
    # One would be enough if the wire were silent.
    for _ in range(4):
        mine.post(mine.received)
    theirs.send(*theirs.frame(to=ours.mac, text=text))
    arrived = theirs.complete(), mine.receive()
    # Of received frames only: TX queues write that they are disabled.
    ours.request(DISABLE, chunks(*RECEIVE))
    return arrived


ours, other, third = (Adi(name) for name in sys.argv[1:])
results = Results(38)
equal, refused = results.equal, results.refused
mine, theirs = Driver(ours, MINE), Driver(other, THEIRS)
ours.map(OTHER, 16)
ours.register(OTHER, 16)
WHOLE = (MINE, 16 * PAGE), (OTHER, 16 * PAGE)

refused("to read a log that there is not", E.ENXIO, read, ours)
equal("the log has the pages that are wanted", start(ours, *WHOLE), PAGE)
equal("a frame is received", exchange(b"one"), (True, 60))
page = lambda number: MINE + number * PAGE
equal("the pages of the completion and of the buffer were written, and no others", read(ours),
      [page(TAKEN), page(BUFFERS)])
equal("they are reported once", read(ours), [])

mine.send(*mine.frame())
equal("a frame is sent", mine.complete(), True)
equal("a part without written pages has none", read(ours, page(2), PAGE), [])
equal("its page is read, and has the completion only", read(ours, page(SENT), PAGE), [page(SENT)])
equal("nothing else was written", read(ours), [])

# Memory besides that of the rings.
mine.start()
read(ours)
for number in (3, 8, 3, 8):
    mine.post(OTHER + number * PAGE)
for text in (b"two", b"three"):
    theirs.send(*theirs.frame(to=ours.mac, text=text))
    theirs.complete()
equal("a frame is received elsewhere", mine.receive(), 60)
equal("another one is, too", mine.receive(), 60)
ours.request(DISABLE, chunks(*RECEIVE))
# Of the wire's broadcasts there may be more.
found = read(ours)
equal("the pages there are reported", {OTHER + 3 * PAGE, OTHER + 8 * PAGE} - set(found), set())
equal("and only those that can be", set(found) - {OTHER + 3 * PAGE, OTHER + 8 * PAGE, page(TAKEN), page(BUFFERS)}, set())

# The log of another ADI is its own.
refused("to read the other ADI's log, which it has not started", E.ENXIO, read, other)
equal("the other ADI has a log, too", start(other, (THEIRS, 16 * PAGE)), PAGE)
theirs.send(*theirs.frame(to=ours.mac))
equal("the other ADI sends", theirs.complete(), True)
equal("its log has that", THEIRS + SENT * PAGE in read(other), True)
equal("and ours has not", read(ours), [])
for name, call in ("start", lambda: start(ours, *WHOLE, id=1)), ("stop", lambda: stop(ours, id=1)), \
        ("read", lambda: read(ours, id=1)):
    refused(f"to {name} the log of another ADI", E.ENXIO, call)

# What cannot be.
refused("a second log", E.EBUSY, start, ours, *WHOLE)
stop(ours)
refused("to read a log that was stopped", E.ENXIO, read, ours)
for size in 0, 2048, 4097, 3 * PAGE:
    refused(f"pages of {size} bytes", E.EINVAL, start, ours, *WHOLE, size=size)
for name, ranges in {
    "overlap": ((MINE, 2 * PAGE), (MINE + PAGE, PAGE)),
    "descend": ((OTHER, PAGE), (MINE, PAGE)),
    "are no pages": ((MINE + 1, PAGE),),
    "wrap": (((1 << 64) - PAGE, 2 * PAGE),),
    "are empty": ((MINE, 0),),
}.items():
    refused(f"ranges that {name}", E.EINVAL, start, ours, *ranges)
refused("more ranges than the message has", E.EINVAL, start, ours, *WHOLE, count=3)

# What is not in the log's ranges is not in the log.
start(ours, (page(BUFFERS), PAGE))
exchange(b"four")
equal("only the range of the log is reported", read(ours), [page(BUFFERS)])

# Its end.
fcntl.ioctl(ours.fd, RESET)
refused("to read a log after a reset", E.ENXIO, read, ours)
start(third, (MINE, PAGE))
# The other ADI's is the second; a word has 64 pages.
equal("the device has two logs", logged(), 128)
third.close()
equal("a log ends when its owner closes the ADI", logged(), 64)
third = Adi(sys.argv[3])
refused("to read the log of an earlier owner", E.ENXIO, read, third)
results.done()
