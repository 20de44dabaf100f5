# SPDX-License-Identifier: Apache-2.0 OR MIT
"""vdev_client with a log of DMA writes: `vdev_log.py SOCKET ADDRESS` relays its connection to the device,
and has these commands besides:

    log start      the device logs what it writes to the client's memory
    log written    the numbers of the pages that were written since then or since they were last asked for

A command comes after the answer to the last one, so that the connection is at rest.
"""

import os
import select
import socket
import struct
import subprocess
import sys

DEVICE_FEATURE, REPLY, ERROR = 16, 1, 1 << 5
GET, SET, START, REPORT = 1 << 16, 1 << 17, 6, 8
PAGE = 4096
# The client's memory.
IOVA, LEN = 0x10_0000, 0x20_0000


def feature(flags, data, room=0):
    """Sends VFIO_USER_DEVICE_FEATURE with `room` for a longer reply; returns the reply's data."""
    body = struct.pack("<II", 8 + len(data) + room, flags) + data
    head = struct.pack("<HHIII", 0xFFFF, DEVICE_FEATURE, 16 + len(body), 0, 0)
    device.sendall(head + body)
    number, command, size, flags, error = struct.unpack("<HHIII", device.recv(16, socket.MSG_WAITALL))
    reply = device.recv(size - 16, socket.MSG_WAITALL)
    assert (number, command, flags & 0xF) == (0xFFFF, DEVICE_FEATURE, REPLY), (number, command, flags)
    if flags & ERROR:
        raise OSError(error, os.strerror(error))
    return reply[8:]


def start():
    feature(SET | START, struct.pack("<QIIQQ", PAGE, 1, 0, IOVA, LEN))


def written():
    pages = LEN // PAGE
    reply = feature(GET | REPORT, struct.pack("<QQQ", IOVA, LEN, PAGE), room=pages // 8)
    bits = int.from_bytes(reply[24:], "little")
    return [IOVA // PAGE + page for page in range(pages) if bits >> page & 1]


def command(line):
    """Executes a command: one for the client, or one of those above."""
    if not line.startswith("log "):
        client.stdin.write(line.encode() + b"\n")
        client.stdin.flush()
        return
    try:
        pages = {"log start": start, "log written": written}[line]() or []
        print(f"ok {line}:", *(f"{page:x}" for page in pages), flush=True)
    except OSError as error:
        print(f"error {line}: {error}", flush=True)


def passed(source, to):
    """Passes bytes and descriptors on; `False` at the end."""
    data, files, _, _ = socket.recv_fds(source, 1 << 20, 64)
    if data:
        sent = socket.send_fds(to, [data], files)
        to.sendall(data[sent:])
    for file in files:
        os.close(file)
    return bool(data)


path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path + ".relay")
listener.listen()
client = subprocess.Popen(["vdev_client", path + ".relay", *sys.argv[2:]], stdin=subprocess.PIPE)
near = listener.accept()[0]
os.unlink(path + ".relay")
device = socket.socket(socket.AF_UNIX)
device.connect(path)
lines, connected = b"", True
while connected:
    ready = select.select([0, near, device], [], [])[0]
    for source, to in (near, device), (device, near):
        if source in ready:
            connected = connected and passed(source, to)
    if 0 in ready:
        some = os.read(0, 4096)
        if not some:
            break
        *complete, lines = (lines + some).split(b"\n")
        for line in complete:
            command(line.decode())
client.stdin.close()
near.close()
raise SystemExit(client.wait())
