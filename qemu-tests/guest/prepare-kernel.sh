#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs in the Debian tree. Unpacks the kernel's source into the folder $1 and makes it ready for
# out-of-tree modules in Rust: Debian's headers package lacks the crates' metadata, which the
# same source, configuration and compiler reproduce.
set -eu
out=$1
headers=$(ls -d /usr/src/linux-headers-*-amd64 | sort -V | tail -n 1)
release=${headers#/usr/src/linux-headers-}
source=$(ls /usr/src/linux-source-*.tar.xz | sort -V | tail -n 1)

# Sources of the kernel itself stay packed: they are most of the volume.
tar --directory "$out" --strip-components 1 --extract --file "$source" \
    --exclude='*/Documentation/*/*' --exclude='*.dts' --exclude='*.dtsi' \
    --exclude='*/drivers/gpu/drm/amd/*.[ch]' --exclude='*/tools/perf/*' \
    --exclude='*/tools/testing/*.[ch]' \
    --exclude='*/drivers/*.c' --exclude='*/fs/*.c' --exclude='*/net/*.c' --exclude='*/sound/*.c'
cp "$headers/.config" "$headers/Module.symvers" "$out"
cd "$out"

# Signing requires Debian's private keys.
scripts/config --disable MODULE_SIG_ALL --set-str SYSTEM_TRUSTED_KEYS "" \
    --disable LOCALVERSION_AUTO --set-str LOCALVERSION ""
make olddefconfig
echo "--- differences from Debian's configuration:"
grep '^CONFIG' "$headers/.config" | sort >/tmp/theirs
grep '^CONFIG' .config | sort | diff /tmp/theirs - || true
version=$(make -s kernelversion)
make -j"$(nproc)" LOCALVERSION="${release#"$version"}" modules_prepare
built=$(cat include/config/kernel.release)
[ "$built" = "$release" ] || {
    echo "the source has release $built, the headers have $release" >&2
    exit 1
}
[ -s rust/libkernel.rmeta ] || {
    echo "no Rust metadata was built: unsuitable rustc or bindgen (see make rustavailable)" >&2
    exit 1
}
