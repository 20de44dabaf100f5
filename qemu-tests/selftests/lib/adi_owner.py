# SPDX-License-Identifier: Apache-2.0 OR MIT
"""An owner that uses an ADI and exits without clean-up: `adi_owner.py NAME`."""

import sys

from vfio_adi import DMA, FAULT, VECTORS, Adi, Driver

adi = Adi(sys.argv[1])
driver = Driver(adi, 0x1000_0000)
adi.map(0x2000_0000, 64)
adi.register(0x2000_0000, 64)
adi.event(VECTORS)
adi.event(FAULT)
pages = adi.page(DMA)
driver.send(*driver.frame())
assert driver.complete(), "a frame was not sent"
