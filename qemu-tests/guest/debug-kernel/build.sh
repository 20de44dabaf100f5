#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs in the Debian tree. Makes the debug kernel in the folder $1, from Debian's source and
# configuration (./config says what differs, ./modules which modules are left): a tree for
# out-of-tree modules, with what boots in root/.
set -eu
out=$1
here=$(dirname "$0")
headers=$(ls -d /usr/src/linux-headers-*-amd64 | sort -V | tail -n 1)
source=$(ls /usr/src/linux-source-*.tar.xz | sort -V | tail -n 1)
# KASAN for Rust needs clang for C (init/Kconfig).
kmake() { make CC=clang "$@"; }

tar --directory "$out" --strip-components 1 --extract --file "$source" \
    --exclude='*/Documentation/*/*' --exclude='*.dts' --exclude='*.dtsi' \
    --exclude='*/drivers/gpu/drm/*.[ch]' --exclude='*/sound/*.c' --exclude='*/tools/perf/*' \
    --exclude='*/tools/testing/*.[ch]'
cp "$headers/.config" "$out"
cd "$out"
# Questions about what is new get their defaults.
yes "" | kmake LSMOD="$here/modules" localmodconfig >localmodconfig.log 2>&1 || {
    cat localmodconfig.log
    exit 1
}
scripts/kconfig/merge_config.sh -m .config "$here/config" >/dev/null
scripts/config --set-str LOCALVERSION -adit-debug --set-str SYSTEM_TRUSTED_KEYS "" \
    --set-str SYSTEM_REVOCATION_KEYS ""
kmake olddefconfig
# A line of ours that Kconfig did not take: a dependency is missing, or it selects what is unwanted.
grep -E '^(# )?CONFIG_' "$here/config" | while read -r line; do
    case $line in
    '#'*) symbol=${line#\# } && symbol=${symbol%% *} && ! grep "^$symbol=" .config ;;
    *) grep -qxF "$line" .config || { echo "Kconfig did not take $line" && false; } ;;
    esac || exit 1
done
kmake -j"$(nproc)" bzImage modules
release=$(cat include/config/kernel.release)
kmake modules_install INSTALL_MOD_PATH="$out/root" DEPMOD=/sbin/depmod
rm -f "root/lib/modules/$release/build"
mkdir -p root/boot
cp arch/x86/boot/bzImage "root/boot/vmlinuz-$release"
cp System.map "root/boot/System.map-$release"
# What only the kernel itself was compiled from and to is most of the bulk.
find . -path ./scripts -prune -o -path ./tools -prune -o -path ./root -prune -o \
    \( -name '*.o' -o -name '*.a' -o -name '*.ko' -o -name '.*.cmd' \) -exec rm -f {} +
find drivers fs net sound crypto -name '*.c' -exec rm -f {} +
rm -f vmlinux vmlinux.unstripped
