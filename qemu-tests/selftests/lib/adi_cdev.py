# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Behaviour specific to device nodes and iommufd: debug/adi_cdev.sh runs this with the names of two
ADIs."""

import errno as E
import fcntl
import mmap
import os
import struct
import sys

import vfio_adi as v
from vfio_adi import PAGE, Adi, Driver, Results
from vfio_open import ATTACH, BIND, DESTROY, DETACH, Cdev, Group, node, opened

RAM = 0x1000_0000
one, two = sys.argv[1:3]
results = Results(34)
refused, equal = results.refused, results.equal
ioctl = lambda fd, number, *words: fcntl.ioctl(fd, number, bytearray(struct.pack(*words)))

# The file of an unbound device refuses everything but BIND.
fd, iommufd, null = opened(node(one)), opened("/dev/iommu"), opened("/dev/null")
refused("GET_INFO on an unbound device", E.EINVAL, ioctl, fd, v.GET_INFO, "IIIII", 20, 0, 0, 0, 0)
refused("reading an unbound device", E.EINVAL, os.pread, fd, 8, 0)
refused("writing to an unbound device", E.EINVAL, os.pwrite, fd, b"x" * 24, v.region(v.MAILBOX))
refused("mapping an unbound device", E.EINVAL, mmap.mmap, fd, PAGE, offset=v.region(v.DOORBELLS))
refused("attaching an unbound device", E.EINVAL, ioctl, fd, ATTACH, "III", 12, 0, 1)
refused("binding to no file", E.EINVAL, ioctl, fd, BIND, "IIiI", 16, 0, -1, 0)
refused("binding to a closed descriptor", E.EBADF, ioctl, fd, BIND, "IIiI", 16, 0, 9999, 0)
refused("binding to another kind of file", E.EBADFD, ioctl, fd, BIND, "IIiI", 16, 0, null, 0)
refused("binding with too short an argument", E.EINVAL, ioctl, fd, BIND, "IIiI", 12, 0, iommufd, 0)
refused("binding with an unknown flag", E.EINVAL, ioctl, fd, BIND, "IIiI", 16, 4, iommufd, 0)
ioctl(fd, BIND, "IIiI", 16, 0, iommufd, 0)
refused("binding twice", E.EINVAL, ioctl, fd, BIND, "IIiI", 16, 0, iommufd, 0)
other = opened(node(one))
refused("binding through another descriptor", E.EINVAL, ioctl, other, BIND, "IIiI", 16, 0, iommufd, 0)
refused("opening the group of a bound device", E.EBUSY, Group, one)
refused("attaching to an unknown address space", E.ENOENT, ioctl, fd, ATTACH, "III", 12, 0, 4711)
refused("attaching with a PASID", E.EOPNOTSUPP, ioctl, fd, ATTACH, "IIII", 16, 1, 1, 5)
refused("attaching with an unknown flag", E.EINVAL, ioctl, fd, ATTACH, "III", 12, 1 << 31, 1)
refused("detaching with an unknown flag", E.EINVAL, ioctl, fd, DETACH, "II", 8, 1 << 31)
for file in (other, fd, iommufd, null):
    os.close(file)

group = Group(one)
refused("binding while the group is open", E.EBUSY, Cdev, one)
for file in group.files:
    os.close(file)

adi = Adi(one)
driver = Driver(adi, RAM)
adi.event(v.FAULT)


def works(what):
    driver.send(*driver.frame())
    equal(f"{what}: frames are sent", driver.complete(), True)


def stopped(what):
    """The memory is unmapped: no frame is sent, as the queues were stopped before."""
    refused(f"{what}: unregistering the memory", E.ENOENT, adi.unregister, RAM, 16)
    # A queue that is stopped ends with a marker among its completions.
    driver.complete(0.1)
    driver.send(*driver.frame())
    equal(f"{what}: no frame is sent", driver.complete(0.3), False)
    refused(f"{what}: registering the memory", E.ENOENT, adi.register, RAM, 16)


works("attached")
refused("destroying an address space in use", E.EBUSY, ioctl, adi.container, DESTROY, "II", 8,
        adi.backend.ioas)
adi.backend.detach()
stopped("detached under use")
adi.backend.detach()
adi.backend.attach()
adi.register(RAM, 16)
driver.start()
works("attached again")

# Another address space in place of the one in use.
first = adi.backend.ioas
adi.backend.ioas = adi.backend.new_space()
adi.backend.attach()
stopped("moved under use")
adi.backend.ioas = first
adi.backend.attach()
adi.register(RAM, 16)
driver.start()
works("moved back")

# Two devices in one address space, from which the memory is unmapped.
class Shared(Cdev):
    def __init__(self, name):
        self.container, self.ioas = os.dup(adi.container), adi.backend.ioas
        self.fd = opened(node(name))
        ioctl(self.fd, BIND, "IIiI", 16, 0, self.container, 0)
        self.attach()
        self.files = (self.fd, self.container)


v.Backend = Shared
mate = Adi(two)
mate.register(RAM, 16)
equal("memory shared by two devices can be unmapped", adi.unmap(RAM, 16), 16 * PAGE)
refused("unregistering unmapped memory of the first device", E.ENOENT, adi.unregister, RAM, 16)
refused("unregistering unmapped memory of the second device", E.ENOENT, mate.unregister, RAM, 16)
mate.close()

# Files closed in the other order, with memory pinned.
adi.map(0x4000_0000, 4)
adi.register(0x4000_0000, 4)
os.close(adi.container)
equal("the device works after its iommufd is closed", len(adi.request(v.GET_STATS, bytes(128))), 128)
os.close(adi.fd)
# Mappings keep the device open.
for page in driver.tx_tail, driver.buffer_tail, driver.kick:
    page.close()

v.Backend = Cdev
adi = Adi(one)
driver = Driver(adi, RAM)
works("opened anew")
adi.close()
refused("using the descriptor of a closed device", E.EBADF, os.fstat, adi.fd)
results.done()
