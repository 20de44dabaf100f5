#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs in the Debian tree. Makes what a boot needs out of it, in the folder $1: the kernel, the
# agent (compiled here, so that it fits the guest's C library) and the initramfs. With $2, kernel
# and modules come from there instead of the tree, and the modules are put beside it.
set -eu
out=$1
root=${2:-}
here=$(dirname "$0")
kernel=$(ls "$root"/boot/vmlinuz-* | sort -V | tail -n 1)
version=${kernel##*/vmlinuz-}
stage=$(mktemp -d)

cp "$kernel" "$out/vmlinuz"
[ -z "$root" ] || cp -a "$root/lib/modules/$version" "$out/modules"
echo "$version" >"$out/version"
rustc --edition 2021 -O -C target-feature=+crt-static -C panic=abort -C strip=symbols \
    --cap-lints allow -o "$out/agent" "$here/agent.rs"

mkdir -p "$stage/bin" "$stage/modules"
cp /usr/bin/busybox "$stage/bin/busybox"
cp "$out/agent" "$stage/bin/adit-agent"
cp "$here/initramfs-init" "$stage/init"
chmod 755 "$stage/init"
# Only what the root file system itself needs; --show-depends gives the order.
number=10
modprobe ${root:+--dirname "$root"} --set-version "$version" --show-depends overlay | while read -r action path _; do
    [ "$action" = insmod ] || continue
    case $path in
    *.xz) xz --decompress --stdout "$path" ;;
    *) cat "$path" ;;
    esac >"$stage/modules/$number.ko"
    number=$((number + 1))
done
(cd "$stage" && find . | busybox cpio --quiet -o -H newc) | gzip -1 >"$out/initramfs"
rm -rf "$stage"
