# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The two interfaces of VFIO devices and their memory: group with container, and device node with
iommufd. Numbers are those of <linux/vfio.h> and <linux/iommufd.h>."""

import fcntl
import os
import struct

IO = 0x3B64  # _IO(';', 100)
SET_IOMMU, GROUP_SET_CONTAINER, GROUP_GET_DEVICE_FD = IO + 2, IO + 4, IO + 6
MAP_DMA, UNMAP_DMA = IO + 13, IO + 14
BIND, ATTACH, DETACH = IO + 18, IO + 19, IO + 20
TYPE1V2 = 3
DESTROY, IOAS_ALLOC, IOAS_MAP, IOAS_UNMAP = 0x3B80, 0x3B81, 0x3B85, 0x3B86
FIXED, WRITEABLE, READABLE = 1, 2, 4


def sysfs(name):
    """The path of an ADI in sysfs, by the name of its auxiliary device or the UUID of its mediated one."""
    mdev = f"/sys/bus/mdev/devices/{name}"
    if os.path.exists(mdev):
        return mdev
    return f"/sys/bus/auxiliary/devices/{name}"


def opened(path):
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


class Group:
    """A container with the device's group in it: any kernel with VFIO has these."""

    def __init__(self, name):
        self.container = opened("/dev/vfio/vfio")
        group = os.path.basename(os.readlink(sysfs(name) + "/iommu_group"))
        self.group = opened(f"/dev/vfio/{group}")
        fcntl.ioctl(self.group, GROUP_SET_CONTAINER, struct.pack("i", self.container))
        fcntl.ioctl(self.container, SET_IOMMU, TYPE1V2)
        # A bytearray: of bytes, ioctl() would return those.
        self.fd = fcntl.ioctl(self.group, GROUP_GET_DEVICE_FD, bytearray(name.encode() + b"\0"))
        self.files = (self.fd, self.group, self.container)

    def map_at(self, iova, address, length, access):
        fcntl.ioctl(self.container, MAP_DMA, struct.pack("IIQQQ", 32, access, address, iova, length))

    def unmap(self, iova, length):
        argument = bytearray(struct.pack("IIQQ", 24, 0, iova, length))
        fcntl.ioctl(self.container, UNMAP_DMA, argument)
        return struct.unpack("IIQQ", argument)[3]


def node(name):
    """The device's node, which exists on kernels with VFIO_DEVICE_CDEV."""
    number, = os.listdir(sysfs(name) + "/vfio-dev")
    return f"/dev/vfio/devices/{number}"


class Cdev:
    """The device bound to an iommufd of its own, and attached to an address space there."""

    def __init__(self, name):
        self.container = opened("/dev/iommu")
        self.fd = opened(node(name))
        bound = bytearray(struct.pack("IIiI", 16, 0, self.container, 0))
        fcntl.ioctl(self.fd, BIND, bound)
        self.ioas = self.new_space()
        self.attach()
        self.files = (self.fd, self.container)

    def new_space(self):
        made = bytearray(struct.pack("III", 12, 0, 0))
        fcntl.ioctl(self.container, IOAS_ALLOC, made)
        return struct.unpack("III", made)[2]

    def attach(self, space=None):
        fcntl.ioctl(self.fd, ATTACH, bytearray(struct.pack("III", 12, 0, space or self.ioas)))

    def detach(self):
        fcntl.ioctl(self.fd, DETACH, bytearray(struct.pack("II", 8, 0)))

    def map_at(self, iova, address, length, access):
        flags = FIXED | access << 2 & READABLE | access & WRITEABLE
        fcntl.ioctl(self.container, IOAS_MAP, bytearray(
            struct.pack("IIIIQQQ", 40, flags, self.ioas, 0, address, length, iova)))

    def unmap(self, iova, length):
        argument = bytearray(struct.pack("IIQQ", 24, self.ioas, iova, length))
        fcntl.ioctl(self.container, IOAS_UNMAP, argument)
        return struct.unpack("IIQQ", argument)[3]


# The interface that tests use: $ADI_BACKEND is `cdev` or `group`.
Backend = Cdev if os.environ.get("ADI_BACKEND") == "cdev" else Group
