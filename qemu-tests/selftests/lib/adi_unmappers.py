# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Several processes unmap registered memory of one container at the same time, each its own:
adi_unmappers.py ADI SECONDS. Lock inversions would deadlock here."""

import os
import struct
import sys
import time

from vfio_adi import MAILBOX, REGISTER, PAGE, Adi, outcome, region

IOVA, APART, PAGES, PROCESSES = 0x2000_0000, 0x100_0000, 16, 4
adi = Adi(sys.argv[1])
end = time.monotonic() + float(sys.argv[2])


def unmapper(iova):
    """Maps, registers and unmaps memory; returns the number of registrations."""
    message = struct.pack("<IIQQ", REGISTER, 24, 7, 0) + struct.pack(
        "<QQII", iova, PAGES * PAGE, 3, 0)
    count = 0
    while time.monotonic() < end or (count == 0 and time.monotonic() < end + 30):
        adi.map(iova, PAGES)
        # The reply may be that of another process.
        count += outcome(os.pwrite, adi.fd, message, region(MAILBOX)) == "done"
        assert adi.unmap(iova, PAGES) == PAGES * PAGE
    return count


children = []
for number in range(PROCESSES):
    child = os.fork()
    if child == 0:
        count = unmapper(IOVA + number * APART)
        print(f"# registered {count} times")
        sys.stdout.flush()
        os._exit(count == 0)
    children.append(child)
failed = 0
while children and time.monotonic() < end + 60:
    child, status = os.waitpid(-1, os.WNOHANG)
    if child == 0:
        time.sleep(0.05)
        continue
    children.remove(child)
    failed |= status
for child in children:
    print(f"# {child} hangs")
    with open(f"/proc/{child}/stack") as stack:
        print("#", stack.read().replace("\n", "\n# "))
raise SystemExit(bool(failed or children))
