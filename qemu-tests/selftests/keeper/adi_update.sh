#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# The device process is replaced by SIGHUP while ADIs are in use, whose owners notice nothing: `adit httpd`
# goes on with its connections, `adit ping` with its answers, and the driver sees no reset.
# TIMEOUT: 400
. "$SELFTEST_LIB/adi.sh"
. "$SELFTEST_LIB/keeper.sh"
plan 29

ip4=10.99.0.3 other4=10.99.0.4
dir=/scratch/adi_update
requests=$dir/requests
served() { wire curl -sSf --max-time 20 -o /dev/null "http://$ip4/"; }
# answers: the number of connections that each request has opened, and its status; the last line may be
# incomplete.
answers() { wire sed '$d' $requests; }
# answered: the requests so far that were answered over the connection of the first one.
answered() { answers | grep -c '^0 200$'; }
answered_more() { (($(answered) > $1)); }
resets() { dmesg | grep -c -i 'reset'; }
frames() { device_metric adit_adi_frames_total; }
owners() { kill -0 $server && kill -0 $responder; }
# The identity of the ADIs, and their state.
identity() { (cd $aux && cat adit.adi.*/{instance,port,id,vport,pasid,mac,state}); }

check "adit is bound to the NIC" adi_start
check "two ADIs are created" eval 'adi_create 1 max_io_eqs 2 && adi_create 2'
one=$(adi_device 1) two=$(adi_device 2)
mkdir -p /srv/update
sum=$(wire bash -c "mkdir -p $dir && head -c 60000000 /dev/urandom >$dir/big && sha256sum <$dir/big")
cp $dir/big /srv/update/big
echo home >/srv/update/index.html
adit httpd --adi "$one" --address $ip4/24 --root /srv/update --stats >/dev/null 2>"$ktap_output.httpd" &
server=$!
adit ping --adi "$two" --ip $other4 -q >"$ktap_output.ping" 2>&1 &
responder=$!
check "the server on an ADI answers" retry 20 served
check "the other ADI answers pings" retry 20 wire ping -c 1 -W 1 $other4
wire --bg download curl -sS --max-time 300 --limit-rate 1M -o $dir/download http://$ip4/big
# curl writes to a file what fills its buffer, but to the error output at once.
wire --bg requests bash -c "curl -sS --rate 10/s -o /dev/null -w '%{stderr}%{num_connects} %{http_code}\n' \
    'http://$ip4/index.html?[1-100000]' 2>$requests"
check "a download has begun" retry 20 wire test -s $dir/download
check "requests share a connection" retry 20 answered_more 3
identity >"$ktap_output.before"
before=$(resets)

for round in 1 2 3 4; do
    count=$(frames) known=$(answered)
    check "the device process is replaced, round $round" eval 'replaced HUP "$(keeper)"'
    check "requests are answered over the same connection" eval \
        'retry 30 answered_more $((known + 5)) || { diagnose 80; answers | tail -n 5; false; }'
    check "the other ADI answers pings" retry 20 wire ping -c 3 -i 0.2 -w 30 $other4
    check "the counters of the ADIs go on" eval '(($(retry 10 device_metrics >/dev/null; frames) > count))'
done
# Idle queues are asleep after some time, and their owner kicks.
sleep 3
check "an ADI that was idle answers pings" wire ping -c 3 -i 0.2 -w 30 $other4
check_equal "no request has failed or opened another connection" "$(answers | grep -v '^0 200$')" "1 200"
wire --kill requests
check_equal "the download is complete, over one connection" \
    "$(retry 120 wire bash -c "(( \$(stat -c %s $dir/download) == 60000000 ))" && wire bash -c "sha256sum <$dir/download")" "$sum"
check "the owners have gone on" owners
identity >"$ktap_output.after"
check "the ADIs are the same, and active" eval \
    'diff "$ktap_output.before" "$ktap_output.after" && [[ $(cat $aux/adit.adi.*/state | sort -u) == active ]]'
check_equal "the driver has seen no reset" "$(resets)" "$before"
check "an ADI is created afterwards, and destroyed" eval 'adi_create 3 && adi_destroy 3'
wire --kill download 2>/dev/null
kill $server $responder
wait
rm -rf /srv/update "$ktap_output".*
wire rm -rf $dir
done_testing
