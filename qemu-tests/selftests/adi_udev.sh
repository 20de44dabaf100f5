#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The udev rule that comes with adit: nodes by name, for a group of users; names and specifications
# are removed with their ADIs, however those are removed.
# TIMEOUT: 200
. "$SELFTEST_LIB/adi.sh"
plan 17
rules=$(mktemp -d)
cp /repo/cli/udev/60-adit.rules "$rules"
sed -i "s|/usr/bin/adit|$(command -v adit)|" "$rules/60-adit.rules"
check "udev accepts the rules" udevadm verify --resolve-names=never --no-style "$rules/60-adit.rules"
# With only these rules and the group of adit.conf: /etc and the system's rules stay unchanged.
etc=$(mktemp -d)
cp /etc/group "$etc/group"
echo 'adit:x:990:' >>"$etc/group"
unshare --mount bash -c "mount --bind '$rules' /usr/lib/udev/rules.d && mount --bind '$etc/group' /etc/group && exec /usr/lib/systemd/systemd-udevd" >"$ktap_output.udev" 2>&1 &
daemon=$!
trap 'kill $daemon; adit_restore >/dev/null 2>&1; rm -rf "$ktap_output"* "$rules" "$etc" /dev/adit' EXIT
check "udev is running" retry 20 udevadm control --ping
settle() { udevadm settle --timeout=100; }
link() { readlink -f "/dev/adit/$1"; }
show() { adit -o json adi show "$1" | jq -r ".$2"; }
left() { adit -o json adi list | jq '[.[] | select(.state == "orphan")] | length'; }

check "adit is bound to the NIC" adi_start
check "a named ADI is created" eval 'adit adi create --name web --cdi && settle'
check_equal "the by-name link points to the node of the ADI" "$(link by-name/web)" "$(show web vfio_group)"
check_equal "the by-device link points to the node of the ADI" "$(link "by-device/$(show web device)")" "$(show web vfio_group)"
check_equal "the node belongs to the group adit" "$(command stat -c '%g %a' "$(show web vfio_group)")" "990 660"
check "a member of the group can use the ADI" eval \
    'setpriv --reuid 1000 --regid 1000 --groups 990 bash -c "ulimit -l unlimited; adit ping -W 30000 --adi $(show web device) --ip 10.99.0.3 -i 10 -c 3 -q 10.99.0.1"'
check "other users cannot use the ADI" eval \
    '[[ $(setpriv --reuid 1000 --regid 1000 --clear-groups adit ping --adi $(show web device) --ip 10.99.0.3 10.99.0.1 2>&1) == *"user 0 and group 990, with mode 0660"* ]]'
first=$(show web vfio_group)
check "adit adi reset moves the link to the new node" eval \
    'adit adi reset web && settle && [[ $(link by-name/web) == "$(show web vfio_group)" && $(show web vfio_group) != "$first" ]]'
check "a reset of the function keeps the link" eval \
    'echo 1 >/sys/bus/pci/devices/$nic/reset && settle && [[ $(link by-name/web) == "$(show web vfio_group)" ]]'
check "devlink removes the ADI" devlink port del "$dl/$(show web port_index)"
check "the link is removed with the ADI" retry 20 test ! -e /dev/adit/by-name/web
check "the name and the specification are removed with the ADI" eval \
    'retry 20 test ! -e /run/adit/adi/web && [[ ! -e /var/run/cdi/adit.dev-adi_web.json && $(left) == 0 ]]'
check "the module is unloaded with an ADI in existence" eval 'adit adi create --name db --cdi && adit-load -u "$nic"'
check "the name and the specification are removed with the module" retry 20 test ! -e /run/adit/adi/db -a ! -e /var/run/cdi/adit.dev-adi_db.json
check "udev logs no errors" eval 'cat "$ktap_output.udev"; ! grep -i "error\|fail\|unknown" "$ktap_output.udev"'
done_testing
