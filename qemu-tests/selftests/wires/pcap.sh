#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A recording is replayed into the guest, which sends each frame back; the frames are recorded in
# order and at the pace of the first recording.
# TIMEOUT: 90
. "$SELFTEST_LIB/ports.sh"
plan 3
dev=$(port 02:ad:17:00:00:04)
check "the interface is up" port_up "$dev" 10.98.3.1/24
check "ten frames of the recording arrive and are sent back" timeout 60 "$SELFTEST_LIB/raw.py" reflect "$dev" 10
recorded=$(cat <<'PY'
import struct
frames = []
data = open("/scratch/wires/out.pcap", "rb").read()
assert struct.unpack_from("<IHH", data) == (0xA1B23C4D, 2, 4), "nanoseconds, version 2.4"
at = 24
while at < len(data):
    seconds, nanoseconds, length, _ = struct.unpack_from("<IIII", data, at)
    frame = data[at + 16 : at + 16 + length]
    at += 16 + length
    if frame[12:14] == b"\x88\xb5":
        frames.append((seconds + nanoseconds / 1e9, frame))
frames = frames[-10:]
numbers = [int.from_bytes(frame[14:18], "big") for _, frame in frames]
assert numbers == list(range(numbers[0], numbers[0] + 10)), numbers
for _, frame in frames:
    assert frame[:6] == bytes.fromhex("020000000099") and frame[6:12] == bytes.fromhex("02ad17000004")
    assert frame[18:] == b"\xa5" * 46, "the payload"
took = frames[-1][0] - frames[0][0]
# Nine intervals of a quarter of a second.
assert 1.5 < took < 4, f"{took} s"
PY
)
check "the frames are recorded in order and at the pace of the recording" retry 5 python3 -c "$recorded"
done_testing
