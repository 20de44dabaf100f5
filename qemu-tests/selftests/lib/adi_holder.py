# SPDX-License-Identifier: Apache-2.0 OR MIT
"""An owner with pinned memory.

    adi_holder.py ADI ROUNDS    opens the ADI, registers 64 pages and closes it, ROUNDS times;
                                every other time the kernel unregisters them
    adi_holder.py ADI hold      prints `holds` once the pages are registered, and runs until killed
"""

import signal
import sys

from vfio_adi import Adi, Driver

name, what = sys.argv[1:]
if what == "hold":
    adi = Adi(name)
    driver = Driver(adi, 0x1000_0000)
    adi.map(0x2000_0000, 48)
    adi.register(0x2000_0000, 48)
    print("holds", flush=True)
    signal.pause()
for round in range(int(what)):
    adi = Adi(name)
    adi.map(0x2000_0000, 64)
    adi.register(0x2000_0000, 64)
    if round % 2:
        adi.unmap(0x2000_0000, 64)
    adi.close()
