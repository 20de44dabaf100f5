# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Doorbells that are given away: adi_pages.sh runs this.

    adi_pages.py owner ONE TWO      gives, is refused, and takes back
    adi_pages.py heir ONE           goes on after the owner's death, a line of input at a time
"""

import array
import ctypes
import errno
import fcntl
import mmap
import os
import signal
import socket
import struct
import sys

import vfio_adi as v
from vfio_adi import PAGE, Adi, Driver, Results, outcome

E = errno
libc = ctypes.CDLL(None, use_errno=True)
libc.mremap.restype = ctypes.c_void_p


def mapped(fd, pages=1, at=0, flags=mmap.MAP_SHARED, prot=3):
    return mmap.mmap(fd, pages * PAGE, flags, prot, offset=at * PAGE)


def word(page, at=0, value=None):
    """Reads a register, or writes it."""
    if value is not None:
        page[at:at + 4] = struct.pack("<I", value)
    return struct.unpack_from("<I", page, at)[0]


def address(page):
    return ctypes.addressof(ctypes.c_char.from_buffer(page))


def libc_call(call, *arguments):
    if call(*arguments) in (-1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "libc")


def refusals(results, adi, other):
    """What a list may not have, and what may not be done with a file."""
    refused, own = results.refused, adi.give
    doorbells = 3 * adi.pairs
    fd = own((v.DOORBELLS, 0), (v.KICK, 0))
    entry = struct.pack("<iIII", -1, v.KICK, 0, 0)

    def raw(head, entries=entry):
        adi.give_raw(struct.pack("<IIII", *head) + entries)

    refused("no pages", E.EINVAL, raw, (16, 0, 0, 0), b"")
    refused("flags", E.EINVAL, raw, (32, 1, 1, 0))
    refused("a reserved field", E.EINVAL, raw, (32, 0, 1, 1))
    refused("an argument that is too short", E.EINVAL, raw, (31, 0, 1, 0))
    refused("too many pages", E.E2BIG, raw, (0xFFFF_FFFF, 0, 1025, 0))
    refused("far too many pages", E.E2BIG, raw, (0xFFFF_FFFF, 0, 0xFFFF_FFFF, 0))
    refused("a reserved field of a page", E.EINVAL, raw, (32, 0, 1, 0),
            struct.pack("<iIII", -1, v.KICK, 0, 1))
    refused("no argument", E.EFAULT, fcntl.ioctl, adi.fd, v.PAGES_FD, 8)
    edge = mmap.mmap(-1, 2 * PAGE)
    at = address(edge)
    libc_call(libc.mprotect, ctypes.c_void_p(at + PAGE), PAGE, 0)
    edge[PAGE - 16:PAGE] = struct.pack("<IIII", 32, 0, 1, 0)
    refused("an argument that ends early", E.EFAULT, libc_call, libc.ioctl, adi.fd, v.PAGES_FD,
            ctypes.c_void_p(at + PAGE - 16))
    refused("the information", E.EINVAL, own, (v.INFO, 0))
    refused("the mailbox", E.EINVAL, own, (v.MAILBOX, 0))
    refused("the driver's memory", E.EINVAL, own, (v.DMA, 0))
    refused("a region that is none", E.EINVAL, own, (0xFFFF_FFFF, 0))
    refused("another's doorbell", E.ENXIO, own, (v.DOORBELLS, doorbells))
    refused("another's vector", E.ENXIO, own, (v.INTERRUPTS, adi.vectors))
    refused("a page far away", E.ENXIO, own, (v.KICK, 0xFFFF_FFFF))
    refused("a page twice", E.EEXIST, own, (v.KICK, 0), (v.DOORBELLS, 0), (v.KICK, 0))
    refused("a page twice, once by a file", E.EEXIST, own, (v.KICK, 0), (0, 1, fd))
    refused("a page that a file does not have", E.ENXIO, own, (0, 2, fd))
    refused("a region of a file", E.EINVAL, own, (v.KICK, 0, fd))
    refused("a descriptor that is not open", E.EBADF, own, (0, 0, 9999))
    refused("a descriptor that is none", E.EBADF, own, (0, 0, -2))
    event = os.eventfd(0)
    for name, kind in (("an eventfd", event), ("this VFIO device", adi.fd),
                       ("another VFIO device", other.fd), ("a container", adi.container)):
        refused(f"pages of {name}", E.EINVAL, own, (0, 0, kind))
    os.close(event)
    refused("pages of a file, asked of it", E.ENOTTY, fcntl.ioctl, fd, v.PAGES_FD, 8)

    refused("reading", E.EINVAL, os.read, fd, 8)
    refused("writing", E.EINVAL, os.write, fd, b"12345678")
    refused("opening it again", E.ENXIO, os.open, f"/proc/self/fd/{fd}", os.O_RDWR)
    results.equal("programs do not inherit it", fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.FD_CLOEXEC)
    refused("one page more", E.EINVAL, mapped, fd, 3)
    refused("the page behind", E.EINVAL, mapped, fd, 1, 2)
    refused("a page far behind", E.EINVAL, mapped, fd, 1, (1 << 51) - 1)
    refused("a private copy", E.EINVAL, mapped, fd, flags=mmap.MAP_PRIVATE)
    refused("doorbells as code", E.EPERM, mapped, fd, prot=7)
    page = mapped(fd)
    at = ctypes.c_void_p(address(page))
    refused("code later on", E.EACCES, libc_call, libc.mprotect, at, PAGE, 5)
    refused("growth", E.EFAULT, libc_call, libc.mremap, at, PAGE, 2 * PAGE, 1)
    results.equal("the last page alone", outcome(mapped, fd, 1, 1), "done")
    os.close(fd)

    files = []
    try:
        while True:
            files.append(own((v.KICK, 0)))
    except OSError as error:
        results.equal("files without end", errno.errorcode[error.errno], "ENOSPC")
    # Besides two of our caller, and one that is still mapped.
    results.equal("as many as it says", len(files) + 3, 256)
    for file in files:
        os.close(file)
    # A file's last step is made when the call that closed it returns.
    results.equal("the next one is fine", outcome(lambda: os.close(own((v.KICK, 0)))), "done")


def owner(one, two):
    adi, other = Adi(one), Adi(two)
    results = Results(63)
    equal, refused = results.equal, results.refused
    driver, neighbour = Driver(adi, 0x1000_0000), Driver(other, 0x2000_0000)
    tx_tail = driver.tx_tail

    # The order is the list's: kick page first, then the doorbell; and both are what they were.
    fd = adi.give((v.KICK, 0), (v.DOORBELLS, 0))
    pages = mapped(fd, 2)
    driver.kick, driver.tx_tail = pages, memoryview(pages)[PAGE:]
    neighbour.post(neighbour.received)
    for round in range(3):
        driver.send(*driver.frame(to=other.mac))
        equal(f"a frame is sent by a doorbell that was given away ({round})", driver.complete(), True)
    equal("and arrives", neighbour.receive(), 60)

    # Of two ADIs, in one file: made on the second of a file of the first.
    mixed = other.give((v.DOORBELLS, 0), (0, 1, fd), (0, 0, fd))
    both = mapped(mixed, 3)
    equal("doorbells of two", [word(both, n * PAGE) for n in (0, 1)],
          [word(neighbour.tx_tail), word(tx_tail)])
    neighbour.tx_tail = both
    neighbour.send(*neighbour.frame(to=adi.mac))
    equal("the other's works, too", neighbour.complete(), True)
    # Twice is as good as once.
    again = mapped(mixed, 1, 1)
    equal("a page in the middle", word(again), word(tx_tail))
    refusals(results, adi, other)

    # A reset takes them back, from the mappings, too; what is another's stays.
    fcntl.ioctl(adi.fd, v.RESET)
    driver.kick, driver.tx_tail = adi.page(v.KICK), tx_tail
    driver.start()
    real = word(tx_tail)
    equal("after a reset they lead nowhere", (word(pages, PAGE, 5), word(again)), (5, 0))
    equal("the register is as it was", word(tx_tail), real)
    refused("mapping them anew", E.EIO, mapped, fd, 2)
    refused("passing them on", E.EIO, other.give, (0, 0, fd))
    refused("mapping what was mixed", E.EIO, mapped, mixed, 3)
    equal("the other's part of it can be mapped", outcome(mapped, mixed, 1), "done")
    neighbour.send(*neighbour.frame(to=adi.mac))
    equal("and works", neighbour.complete(), True)
    driver.send(*driver.frame())
    equal("as the ADI does", driver.complete(), True)
    fresh = adi.give((v.DOORBELLS, 0))
    equal("and can give its doorbells away again", word(mapped(fresh)), word(tx_tail))

    # Closed: nothing of the two files holds it, and the next owner is another.
    page = mapped(fresh)
    word(page)
    for view in (driver.tx_tail, driver.buffer_tail, driver.kick):
        view.close()
    adi.close()
    equal("after the close they lead nowhere", (word(page, 0, 7), word(page)), (7, 7))
    refused("mapping them anew", E.EIO, mapped, fresh)
    equal("the device can be opened again", outcome(lambda: Adi(one).close()), "done")
    refused("which brings nothing back", E.EIO, mapped, fresh)
    neighbour.send(*neighbour.frame())
    equal("the neighbour noticed nothing", neighbour.complete(), True)
    results.done()


def heir(one):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child = os.fork()
    if child == 0:
        adi = Adi(one)
        Driver(adi, 0x1000_0000)
        fd = adi.give((v.DOORBELLS, 0))
        theirs.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        signal.pause()
    _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    fd = array.array("i", ancillary[0][2])[0]
    page = mapped(fd)
    before = word(page)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert before == 0, before
    say = lambda text: print(text, flush=True)
    say("the owner is gone")
    for value, text in ((5, "nowhere"), (6, "still nowhere"), (7, "for good")):
        sys.stdin.readline()
        assert word(page) == value - 1 if value > 5 else word(page) == 0, word(page)
        word(page, 0, value)
        assert outcome(mapped, fd) == "EIO", outcome(mapped, fd)
        say(text)


{"owner": owner, "heir": heir}[sys.argv[1]](*sys.argv[2:])
