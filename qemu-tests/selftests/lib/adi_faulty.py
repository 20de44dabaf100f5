# SPDX-License-Identifier: Apache-2.0 OR MIT
"""An owner that sends from an unmapped address: adi_faulty.py ADI ADDRESS."""

import sys

from vfio_adi import FAULT, Adi, Driver

adi = Adi(sys.argv[1])
driver = Driver(adi, 0x1000_0000)
adi.event(FAULT)
driver.send(int(sys.argv[2], 0), 60)
assert adi.signalled(FAULT), "nobody told of the fault"
adi.close()
