#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The log of DMA writes of a device that is composed out of an ADI over VFIO: its client is told the pages
# of the frames that it has received and of the completions, not all of its memory; each once, and also
# those of before a reset.
# TIMEOUT: 240
. "$SELFTEST_LIB/vdcm.sh"
plan 13
# log_written: the client's pages that were written, by number, with spaces around them.
log_written() { client log written && log_pages="${client_line#*:} "; }
# log_has PAGE…: the pages are among them.
log_has() { for page; do [[ $log_pages == *" $page "* ]] || return; done; }
# Pages of the queues: completions of sent frames, of received ones; the buffers are 180 to 19f.
sent=141 received=142
# log_of_queues: no other page is among them.
log_of_queues() { for page in $log_pages; do [[ $page == @("$sent"|"$received"|1[89]?) ]] || return; done; }
check "adit is bound to the NIC" adi_start
check "an ADI is created" adi_create 1
check "the daemon starts" vdcm_start
check "a device is composed out of the ADI" vdev_create web 1
client_run=(python3 "$SELFTEST_LIB/vdev_log.py")
check "a client connects" client_start web 10.99.0.3
check "the queues come up" client up
check "the device logs its writes" client log start
check "the client pings the wire" client ping 10.99.0.1 20
check "the pages of the frames are reported" eval 'log_written && log_has "$sent" "$received"'
echo "# written:$log_pages"
check "no others are" log_of_queues
check "nothing of it is reported again" eval 'log_written && ! log_has "$sent"'
check "what was written before and after a reset is reported" eval 'client ping 10.99.0.1 1 && client reset &&
    log_written && log_has "$sent" "$received" && (($(wc -w <<<"$log_pages") < 100)) &&
    client up && client ping 10.99.0.1 1 && log_written && log_has "$sent" "$received" &&
    (($(wc -w <<<"$log_pages") < 100))'
client_stop
check "the daemon stops" eval 'adit vdev destroy web && adi_destroy 1 && vdcm_stop'
rm -rf "$vdcm_folder"
done_testing
