# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Doorbells shared in a file: adi_pages.sh runs this.

    adi_pages.py owner ONE TWO      shares doorbells, makes invalid calls, and revokes
    adi_pages.py heir ONE           continues after its owner is killed, one step per line of input
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
    """Checks the refusals of invalid lists and of calls on a file of pages."""
    refused, own = results.refused, adi.give
    doorbells = 3 * adi.pairs
    fd = own((v.DOORBELLS, 0), (v.KICK, 0))
    entry = struct.pack("<iIII", -1, v.KICK, 0, 0)

    def raw(head, entries=entry):
        adi.give_raw(struct.pack("<IIII", *head) + entries)

    refused("a list without pages", E.EINVAL, raw, (16, 0, 0, 0), b"")
    refused("a list with flags", E.EINVAL, raw, (32, 1, 1, 0))
    refused("a list with a reserved field set", E.EINVAL, raw, (32, 0, 1, 1))
    refused("a list with too short an argument", E.EINVAL, raw, (31, 0, 1, 0))
    refused("a list of 1,025 pages", E.E2BIG, raw, (0xFFFF_FFFF, 0, 1025, 0))
    refused("a list of 2^32 - 1 pages", E.E2BIG, raw, (0xFFFF_FFFF, 0, 0xFFFF_FFFF, 0))
    refused("a page with a reserved field set", E.EINVAL, raw, (32, 0, 1, 0),
            struct.pack("<iIII", -1, v.KICK, 0, 1))
    refused("a list at a bad pointer", E.EFAULT, fcntl.ioctl, adi.fd, v.PAGES_FD, 8)
    edge = mmap.mmap(-1, 2 * PAGE)
    at = address(edge)
    libc_call(libc.mprotect, ctypes.c_void_p(at + PAGE), PAGE, 0)
    edge[PAGE - 16:PAGE] = struct.pack("<IIII", 32, 0, 1, 0)
    refused("a list that ends in unmapped memory", E.EFAULT, libc_call, libc.ioctl, adi.fd, v.PAGES_FD,
            ctypes.c_void_p(at + PAGE - 16))
    refused("sharing the information region", E.EINVAL, own, (v.INFO, 0))
    refused("sharing the mailbox", E.EINVAL, own, (v.MAILBOX, 0))
    refused("sharing the driver's memory", E.EINVAL, own, (v.DMA, 0))
    refused("sharing an unknown region", E.EINVAL, own, (0xFFFF_FFFF, 0))
    refused("sharing another ADI's doorbell", E.ENXIO, own, (v.DOORBELLS, doorbells))
    refused("sharing another ADI's vector", E.ENXIO, own, (v.INTERRUPTS, adi.vectors))
    refused("sharing a page far beyond a region", E.ENXIO, own, (v.KICK, 0xFFFF_FFFF))
    refused("sharing a page twice", E.EEXIST, own, (v.KICK, 0), (v.DOORBELLS, 0), (v.KICK, 0))
    refused("sharing a page twice, once through a file", E.EEXIST, own, (v.KICK, 0), (0, 1, fd))
    refused("sharing a page beyond those of a file", E.ENXIO, own, (0, 2, fd))
    refused("sharing a page of a file with a region", E.EINVAL, own, (v.KICK, 0, fd))
    refused("sharing pages of a closed descriptor", E.EBADF, own, (0, 0, 9999))
    refused("sharing pages of an invalid descriptor", E.EBADF, own, (0, 0, -2))
    event = os.eventfd(0)
    for name, kind in (("an eventfd", event), ("this VFIO device", adi.fd),
                       ("another VFIO device", other.fd), ("a container", adi.container)):
        refused(f"sharing pages of {name}", E.EINVAL, own, (0, 0, kind))
    os.close(event)
    refused("sharing pages by a call on a file of pages", E.ENOTTY, fcntl.ioctl, fd, v.PAGES_FD, 8)

    refused("reading a file of pages", E.EINVAL, os.read, fd, 8)
    refused("writing to a file of pages", E.EINVAL, os.write, fd, b"12345678")
    refused("opening a file of pages through /proc", E.ENXIO, os.open, f"/proc/self/fd/{fd}", os.O_RDWR)
    results.equal("a file of pages is closed on exec", fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.FD_CLOEXEC)
    refused("mapping one page more than the file has", E.EINVAL, mapped, fd, 3)
    refused("mapping the page beyond the file", E.EINVAL, mapped, fd, 1, 2)
    refused("mapping a page far beyond the file", E.EINVAL, mapped, fd, 1, (1 << 51) - 1)
    refused("mapping a file of pages privately", E.EINVAL, mapped, fd, flags=mmap.MAP_PRIVATE)
    refused("mapping doorbells as executable", E.EPERM, mapped, fd, prot=7)
    page = mapped(fd)
    at = ctypes.c_void_p(address(page))
    refused("making mapped doorbells executable", E.EACCES, libc_call, libc.mprotect, at, PAGE, 5)
    refused("growing a mapping", E.EFAULT, libc_call, libc.mremap, at, PAGE, 2 * PAGE, 1)
    results.equal("the last page can be mapped alone", outcome(mapped, fd, 1, 1), "done")
    os.close(fd)

    files = []
    try:
        while True:
            files.append(own((v.KICK, 0)))
    except OSError as error:
        results.equal("the number of files is limited", errno.errorcode[error.errno], "ENOSPC")
    # Besides two files of the caller, and one that is still mapped.
    results.equal("the limit of files is 256", len(files) + 3, 256)
    for file in files:
        os.close(file)
    # The release of a file runs when the call that closed it returns.
    results.equal("a file can be created after others are closed", outcome(lambda: os.close(own((v.KICK, 0)))), "done")


def owner(one, two):
    adi, other = Adi(one), Adi(two)
    results = Results(63)
    equal, refused = results.equal, results.refused
    driver, neighbour = Driver(adi, 0x1000_0000), Driver(other, 0x2000_0000)
    tx_tail = driver.tx_tail

    # The pages have the order of the list: kick page, then doorbell.
    fd = adi.give((v.KICK, 0), (v.DOORBELLS, 0))
    pages = mapped(fd, 2)
    driver.kick, driver.tx_tail = pages, memoryview(pages)[PAGE:]
    neighbour.post(neighbour.received)
    for round in range(3):
        driver.send(*driver.frame(to=other.mac))
        equal(f"a frame is sent by a shared doorbell ({round})", driver.complete(), True)
    equal("the frame of the shared doorbell arrives", neighbour.receive(), 60)

    # Pages of two ADIs in one file: created on the second ADI from a file of the first.
    mixed = other.give((v.DOORBELLS, 0), (0, 1, fd), (0, 0, fd))
    both = mapped(mixed, 3)
    equal("a file can hold doorbells of two ADIs", [word(both, n * PAGE) for n in (0, 1)],
          [word(neighbour.tx_tail), word(tx_tail)])
    neighbour.tx_tail = both
    neighbour.send(*neighbour.frame(to=adi.mac))
    equal("a frame is sent by a shared doorbell of the other ADI", neighbour.complete(), True)
    # Mapping a page twice.
    again = mapped(mixed, 1, 1)
    equal("a page in the middle of a file can be mapped", word(again), word(tx_tail))
    refusals(results, adi, other)

    # A reset revokes the doorbells, mapped ones too; those of the other ADI remain.
    fcntl.ioctl(adi.fd, v.RESET)
    driver.kick, driver.tx_tail = adi.page(v.KICK), tx_tail
    driver.start()
    real = word(tx_tail)
    equal("shared doorbells reach no register after a reset", (word(pages, PAGE, 5), word(again)), (5, 0))
    equal("the register is unchanged by the revoked doorbell", word(tx_tail), real)
    refused("mapping revoked doorbells", E.EIO, mapped, fd, 2)
    refused("sharing revoked doorbells again", E.EIO, other.give, (0, 0, fd))
    refused("mapping a file with revoked and valid doorbells", E.EIO, mapped, mixed, 3)
    equal("the valid doorbell of such a file can be mapped", outcome(mapped, mixed, 1), "done")
    neighbour.send(*neighbour.frame(to=adi.mac))
    equal("a frame is sent by the other ADI after the reset", neighbour.complete(), True)
    driver.send(*driver.frame())
    equal("a frame is sent by the ADI after the reset", driver.complete(), True)
    fresh = adi.give((v.DOORBELLS, 0))
    equal("the doorbells can be shared again after the reset", word(mapped(fresh)), word(tx_tail))

    # Closing the ADI: the files do not keep it open, and a new owner can open it.
    page = mapped(fresh)
    word(page)
    for view in (driver.tx_tail, driver.buffer_tail, driver.kick):
        view.close()
    adi.close()
    equal("shared doorbells reach no register after the ADI is closed", (word(page, 0, 7), word(page)), (7, 7))
    refused("mapping revoked doorbells", E.EIO, mapped, fresh)
    equal("the device can be opened again", outcome(lambda: Adi(one).close()), "done")
    refused("mapping revoked doorbells after the ADI is opened again", E.EIO, mapped, fresh)
    neighbour.send(*neighbour.frame())
    equal("the other ADI still works", neighbour.complete(), True)
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
