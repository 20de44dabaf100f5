#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# A recording is replayed into the guest, which sends each frame back; the frames are recorded in
# order and at the pace of the first recording.
# TIMEOUT: 240
. "$SELFTEST_LIB/ports.sh"
plan 3
dev=$(port 02:ad:17:00:00:04)
check "the interface is up" port_up "$dev" 10.98.3.1/24
"$SELFTEST_LIB/raw.py" reflect "$dev" 100000 &
reflector=$!
# recorded read|paced: checks what has come back so far.
recorded() {
    python3 - "$1" <<'PY'
import struct, sys
frames = []
data = open("/scratch/wires/out.pcap", "rb").read()
assert struct.unpack_from("<IHH", data) == (0xA1B23C4D, 2, 4), "nanoseconds, version 2.4"
at = 24
while at + 16 <= len(data):
    seconds, nanoseconds, length, _ = struct.unpack_from("<IIII", data, at)
    frame = data[at + 16 : at + 16 + length]
    at += 16 + length
    if at > len(data):
        break
    if frame[12:14] == b"\x88\xb5":
        frames.append((seconds + nanoseconds / 1e9, frame))
assert len(frames) >= 10, f"{len(frames)} frames"
numbers = [int.from_bytes(frame[14:18], "big") for _, frame in frames]
assert numbers == list(range(numbers[0], numbers[0] + len(frames))), numbers
for _, frame in frames:
    assert frame[:6] == bytes.fromhex("020000000099") and frame[6:12] == bytes.fromhex("02ad17000004")
    assert frame[18:] == b"\xa5" * 46, "the payload"
# Nine intervals of a quarter of a second, while the machine does not stand still.
took = [end - start for (start, _), (end, _) in zip(frames, frames[9:])]
assert sys.argv[1] != "paced" or any(1.5 < it < 4 for it in took), took
PY
}
check "ten frames of the recording arrive and are sent back in order" eval 'retry 60 recorded read 2>/dev/null || recorded read'
check "they come at the pace of the recording" eval 'retry 60 recorded paced 2>/dev/null || recorded paced'
kill $reflector
done_testing
