#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""vmlinux.py BZIMAGE: writes the kernel in a bzImage, an ELF file, to the standard output.

An emulator that boots it directly (PVH) spares the guest the decompression. The payload's place is that of
Documentation/arch/x86/boot.rst; it must be compressed by zstd, for which the tree has a library but no command.
"""

import ctypes
import struct
import sys

image = open(sys.argv[1], "rb").read()
if image[0x202:0x206] != b"HdrS":
    sys.exit(f"{sys.argv[1]} is no bzImage")
offset, length = struct.unpack_from("<II", image, 0x248)
start = ((image[0x1F1] or 4) + 1) * 512 + offset
# The length of what is compressed follows it.
payload, (size,) = image[start : start + length - 4], struct.unpack_from("<I", image, start + length - 4)
if payload[:4] != b"\x28\xb5\x2f\xfd":
    sys.exit(f"the kernel in {sys.argv[1]} is not compressed by zstd")
zstd = ctypes.CDLL("libzstd.so.1")
zstd.ZSTD_decompress.restype = ctypes.c_size_t
zstd.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
kernel = ctypes.create_string_buffer(size)
if zstd.ZSTD_decompress(kernel, size, payload, len(payload)) != size:
    sys.exit(f"the kernel in {sys.argv[1]} does not decompress to {size} bytes")
sys.stdout.buffer.write(kernel.raw)
