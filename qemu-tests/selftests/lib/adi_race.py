# SPDX-License-Identifier: Apache-2.0 OR MIT
"""One process registers memory repeatedly while another unmaps it from the container:
adi_race.py ADI SECONDS. vfio_iommu_type1 hits a BUG() if memory is pinned again ten times while it
is unmapped."""

import os
import select
import sys
import time

from vfio_adi import PAGE, Adi, outcome

IOVA, PAGES = 0x2000_0000, 4
adi = Adi(sys.argv[1])
memory = adi.map(IOVA, PAGES)
# Registration waits for up to five seconds after registered memory was unmapped, also by a previous
# owner: the container may be the same.
adi.register(IOVA, PAGES)
adi.unregister(IOVA, PAGES)
end = time.monotonic() + float(sys.argv[2])
limit = end + 60
working, done = os.pipe()
unmapper = os.fork()
if unmapper == 0:
    os.close(done)
    # Until the other process closes its end.
    while not select.select([working], [], [], 0)[0]:
        adi.unmap(IOVA, PAGES)
        adi.map(IOVA, PAGES)
    os._exit(0)
counts = {}
while time.monotonic() < end or ("done" not in counts and time.monotonic() < limit):
    result = outcome(adi.register, IOVA, PAGES)
    counts[result] = counts.get(result, 0) + 1
os.close(done)
_, status = os.waitpid(unmapper, 0)
print(f"# registered: {counts}")
# Some registrations succeed, and every unmap does.
raise SystemExit(status != 0 or "done" not in counts)
