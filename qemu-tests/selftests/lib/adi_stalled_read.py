# SPDX-License-Identifier: Apache-2.0 OR MIT
"""An owner reads the reply of its ADI's mailbox to a page whose fault nobody handles (userfaultfd),
and unmaps registered memory meanwhile: `adi_stalled_read.py NAME`. The read must not hold up the
unmapping, which type1 treats as a bug of the kernel after half a minute."""

import ctypes
import fcntl
import mmap
import os
import platform
import select
import struct
import sys
import threading

from vfio_adi import GET_STATS, MAILBOX, PAGE, PATIENCE, Adi, region

NUMBERS = {"x86_64": 323, "aarch64": 282}
# <linux/userfaultfd.h>
UFFD_API, MODE_MISSING = 0xAA, 1
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04
IOVA, PAGES, SECONDS = 0x2000_0000, 16, 25

libc = ctypes.CDLL(None, use_errno=True)
page = mmap.mmap(-1, PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
faults = libc.syscall(NUMBERS[platform.machine()], os.O_CLOEXEC | os.O_NONBLOCK)
assert faults >= 0, os.strerror(ctypes.get_errno())
fcntl.ioctl(faults, UFFDIO_API, struct.pack("QQQ", UFFD_API, 0, 0))
fcntl.ioctl(faults, UFFDIO_REGISTER, struct.pack("QQQQ", address, PAGE, MODE_MISSING, 0))

adi = Adi(sys.argv[1])
adi.map(IOVA, PAGES)
adi.register(IOVA, PAGES)
adi.request(GET_STATS, bytes(128))
got = []
unmapped = threading.Event()
in_time = []


def handle():
    """Handles the fault after the unmapping, or before the kernel fails."""
    in_time.append(unmapped.wait(SECONDS))
    fcntl.ioctl(faults, UFFDIO_ZEROPAGE, struct.pack("QQQq", address, PAGE, 0, 0))


reader = threading.Thread(target=lambda: got.append(os.preadv(adi.fd, [page], region(MAILBOX))))
reader.start()
assert select.select([faults], [], [], PATIENCE)[0], "the read does not sleep in a fault"
handler = threading.Thread(target=handle)
handler.start()
length = adi.unmap(IOVA, PAGES)
unmapped.set()
handler.join()
reader.join()
assert length == PAGES * PAGE, length
assert in_time[0], f"unmapping waited for the read, for {SECONDS} seconds"
assert got[0] > 24 and struct.unpack_from("<I", page)[0] == GET_STATS, got
