#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs in the Debian tree. Makes a small guest that needs no disk in the folder $1: its kernel
# (vmlinuz) and its initramfs (initrd), with busybox, idpf, and what is in the folder $2: the adit
# command (bin/adit) and the kernel module (module/adit.ko). Without a folder (an empty $2) it has
# neither. The guest runs the script $3 instead of a shell, if there is one.
set -eu
out=$1 input=$2 script=${3:-}
here=$(dirname "$0")
kernel=$(ls /boot/vmlinuz-* | sort -V | tail -n 1)
version=${kernel##*/vmlinuz-}
stage=$(mktemp -d)
modules=$stage/lib/modules/$version
mkdir -p "$stage/bin" "$modules"
cp "$kernel" "$out/vmlinuz"
cp /usr/bin/busybox "$stage/bin/busybox"
wanted=idpf
if [ -n "$input" ]; then
    cp "$input/bin/adit" "$stage/bin/adit"
    ldd "$input/bin/adit" | grep -o '/[^ ]*' | sort -u | xargs cp -L --parents -t "$stage"
    cp "$input/module/adit.ko" "$modules/adit.ko"
    wanted="idpf vfio vfio_iommu_type1 $(modinfo -F depends "$input/module/adit.ko" | tr , ' ')"
fi
for module in $wanted; do
    modprobe --set-version "$version" --show-depends "$module"
done | sort -u | while read -r action path _; do
    [ "$action" = insmod ] || continue
    case $path in
    *.xz) xz --decompress --stdout "$path" >"$modules/$(basename "$path" .xz)" ;;
    *) cp "$path" "$modules" ;;
    esac
done
cp "/lib/modules/$version/modules.builtin" "/lib/modules/$version/modules.order" "$modules"
depmod --basedir "$stage" "$version"
cp "$here/image-init" "$stage/init"
chmod 755 "$stage/init"
[ -z "$script" ] || cp "$script" "$stage/run-and-power-off"
(cd "$stage" && find . | busybox cpio --quiet -o -H newc) | gzip -1 >"$out/initrd"
rm -rf "$stage"
