#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs in the Debian tree. Builds the kernel's own selftests of VFIO (tools/testing/selftests/vfio)
# into the folder $1, from the source of the kernel that the guest boots. Their source is not changed;
# mode.c, linked into each, chooses another default for the IOMMU interface at run time.
set -eu
out=$1
here=$(dirname "$0")
source=$(ls /usr/src/linux-source-*.tar.xz | sort -V | tail -n 1)
work=$(mktemp -d)
tar --directory "$work" --strip-components 1 --extract --file "$source" \
    --wildcards --no-wildcards-match-slash \
    '*/tools/testing/selftests/vfio' '*/tools/testing/selftests/*.[hm]*' '*/tools/include' \
    '*/tools/arch/x86/include' '*/include/linux/pci_ids.h' \
    '*/drivers/dma/ioat/*.h' '*/drivers/dma/idxd/*.h' '*/scripts/subarch.include'
# The tree has libuuid, whose headers are in a package of their own: one function is used.
mkdir "$work/own"
cp -r "$here/uuid" "$work/own"
libuuid=$(ls /usr/lib/x86_64-linux-gnu/libuuid.so.1 | head -n 1)
missing=
grep -rq 'define calloc_assert' "$work/tools" || missing="-include $here/missing.h"
cc -O2 -Wall -Werror -c "$here/mode.c" -o "$work/mode.o"
make -s -C "$work/tools/testing/selftests/vfio" OUTPUT="$out" ARCH=x86_64 \
    KHDR_INCLUDES="-isystem $work/own" \
    EXTRA_CFLAGS="$missing" LDLIBS="$libuuid $work/mode.o"
rm -rf "$out/libvfio" "$out"/*.o "$out"/*.d "$work"
