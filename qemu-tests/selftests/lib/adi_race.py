# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Memory is registered in one process while another takes it out of the container, again and
again: adi_race.py ADI SECONDS. vfio_iommu_type1 has a BUG for who pins it faster than ten tries."""

import os
import sys
import time

from vfio_adi import PAGE, Adi, outcome

IOVA, PAGES = 0x2000_0000, 4
adi = Adi(sys.argv[1])
memory = adi.map(IOVA, PAGES)
# Registration waits for up to five seconds after memory was unmapped under one, by an earlier owner
# too: the container may be the same.
adi.register(IOVA, PAGES)
adi.unregister(IOVA, PAGES)
end = time.monotonic() + float(sys.argv[2])
unmapper = os.fork()
counts = {}
while time.monotonic() < end:
    if unmapper == 0:
        adi.unmap(IOVA, PAGES)
        adi.map(IOVA, PAGES)
        continue
    result = outcome(adi.register, IOVA, PAGES)
    counts[result] = counts.get(result, 0) + 1
if unmapper == 0:
    os._exit(0)
_, status = os.waitpid(unmapper, 0)
print(f"# registered: {counts}")
# It does happen, and whoever unmaps always gets through.
raise SystemExit(status != 0 or "done" not in counts)
