#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# 100 MB over HTTP with a matching checksum, both ways.
# TIMEOUT: 400
. "$SELFTEST_LIB/net.sh"
plan 4
check "the interface is up" net_up
dir=/scratch/curl
# The host's side makes the file and its checksum: there it takes no time.
sum=$(wire bash -c "mkdir -p $dir && head -c 100000000 /dev/urandom >$dir/file && sha256sum <$dir/file")
mkdir -p /srv/curl && cp $dir/file /srv/curl/file
(cd /srv/curl && exec python3 -m http.server --bind $guest4 8080) >/dev/null 2>&1 &
server=$!
check "the server in the guest is listening" wait_listen 8080
check_equal "100 MB from the guest arrive unchanged" "$(wire bash -c "curl -sS --max-time 180 http://$guest4:8080/file | sha256sum")" "$sum"
kill $server
wire --bg http python3 -m http.server --bind $host4 --directory $dir 8080
wire_listen 8080
check_equal "100 MB to the guest arrive unchanged" "$(curl -sS --max-time 180 http://$host4:8080/file | sha256sum)" "$sum"
wire --kill http
rm -rf $dir /srv/curl
done_testing
