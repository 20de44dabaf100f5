# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Groups of ADIs (GROUP): what they do, how they end, and who cannot form one: adi_group.sh runs this.

    adi_group.py owner ONE TWO THREE    the names of three ADIs with one queue pair each
    adi_group.py holder ONE TWO         keeps a group until it is killed
    adi_group.py reset ONE TWO          keeps a group until it is lost; prints "ready", then "lost"
"""

import ctypes
import errno
import fcntl
import os
import signal
import struct
import sys
import time

import vfio_adi as v
from vfio_adi import PAGE, Adi, Driver, Results, outcome
from vfio_open import node, opened

E = errno
GROUP = 0xAD01
SET_KEY, SET_LUT, GET_KEY, GET_LUT, SUSPEND = 514, 516, 513, 515, 0x0AD10006
FLOWS = 16


class Member(Driver):
    """The queues of a member of a group, whose own vport is disabled."""

    has_vport = False


def adi_id(adi):
    return struct.unpack("<I", os.pread(adi.fd, 4, v.region(v.INFO, 8)))[0]


def form_raw(adi, argument):
    fcntl.ioctl(adi.fd, GROUP, bytearray(argument))


def form(adi, *members):
    """Makes `adi` the leader of a group; members are ADIs, or (descriptor, id)."""
    pairs = [m if isinstance(m, tuple) else (m.fd, adi_id(m)) for m in members]
    head = struct.pack("<IIII", 16 + 8 * len(pairs), 0, len(pairs), 0)
    form_raw(adi, head + b"".join(struct.pack("<iI", *pair) for pair in pairs))


def spread(leader, queues):
    """Sets the key of the hash and a table that names these queues in turn."""
    length = struct.unpack_from("<H", leader.request(GET_KEY, bytes(7)), 4)[0]
    key = bytes(1 + n for n in range(length))
    leader.request(SET_KEY, struct.pack("<IHx", 0, length) + key)
    _, start, entries = struct.unpack_from("<IHH", leader.request(GET_LUT, bytes(12)))
    table = [queues[n % len(queues)] for n in range(entries)]
    leader.request(SET_LUT, struct.pack(f"<IHH4x{entries}I", 0, start, entries, *table))


def udp(sender, to, port):
    """A frame of a flow in the sender's page for them: its address and length."""
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 46, 0, 0, 64, 17, 0, bytes([10, 0, 0, 1]),
                     bytes([10, 0, 0, 2]))
    sums = sum(struct.unpack(">10H", ip))
    sums = ~((sums & 0xFFFF) + (sums >> 16)) & 0xFFFF
    ip = ip[:10] + struct.pack(">H", sums) + ip[12:]
    frame = to + sender.adi.mac + b"\x08\x00" + ip + struct.pack(">HHHH", port, 9, 26, 0)
    at = sender.frames - sender.iova
    sender.memory[at:at + 60] = frame.ljust(60, b"\0")
    return sender.frames, 60


def flows(sender, to, *receivers, arrive=True):
    """Sends a frame of each flow, which arrives at one of the receivers or nowhere; returns how many each got."""
    for receiver in receivers:
        while receiver.posted - receiver.taken < 2 * FLOWS:
            receiver.post(receiver.received)
    for port in range(FLOWS):
        sender.send(*udp(sender, to, 1000 + port))
        assert sender.complete()
    got = [0] * len(receivers)
    end = time.monotonic() + (v.PATIENCE if arrive else 0.5)
    while sum(got) < FLOWS and time.monotonic() < end:
        for n, receiver in enumerate(receivers):
            got[n] += receiver.receive(0.02) is not None
    # More of them would be wrong, too.
    return [count + sum(1 for _ in iter(lambda: receiver.receive(0.2), None))
            for count, receiver in zip(got, receivers)]


def close(driver):
    for page in (driver.tx_tail, driver.buffer_tail, driver.kick):
        page.close()
    driver.adi.close()


def refusals(results, one, two, three):
    """What is refused while nothing is enabled and no ADI is in a group."""
    refused = results.refused
    ids = {adi: adi_id(adi) for adi in (one, two, three)}
    entry = struct.pack("<iI", two.fd, ids[two])

    def raw(head, entries=entry):
        form_raw(one, struct.pack("<IIII", *head) + entries)

    refused("a group without members", E.EINVAL, raw, (16, 0, 0, 0), b"")
    refused("a group with flags", E.EINVAL, raw, (24, 1, 1, 0))
    refused("a group with a reserved field set", E.EINVAL, raw, (24, 0, 1, 1))
    refused("a group with too short an argument", E.EINVAL, raw, (23, 0, 1, 0))
    refused("a group of 17 ADIs", E.E2BIG, raw, (0xFFFF_FFFF, 0, 16, 0))
    refused("a group of 2^32 ADIs", E.E2BIG, raw, (0xFFFF_FFFF, 0, 0xFFFF_FFFF, 0))
    refused("a group at a bad pointer", E.EFAULT, fcntl.ioctl, one.fd, GROUP, 8)
    refused("a group with its leader", E.EINVAL, form, one, one)
    refused("a group with a member twice", E.EINVAL, form, one, two, two)
    refused("a member by a closed descriptor", E.EBADF, form, one, (9999, ids[two]))
    refused("a member by an invalid descriptor", E.EBADF, form, one, (-1, ids[two]))
    refused("a member that does not exist", E.ENXIO, form, one, (two.fd, 0xFFFE))
    refused("a member whose id is none", E.ENXIO, form, one, (two.fd, 0x1_0000 + ids[two]))
    event = os.eventfd(0)
    for name, fd in (("another ADI", three.fd), ("the leader", one.fd), ("a container", two.container),
                     ("an eventfd", event), ("a file of pages", two.give((v.KICK, 0)))):
        refused(f"a member by the descriptor of {name}", E.EINVAL, form, one, (fd, ids[two]))
    # The right to open a device is not the device.
    group = getattr(two.backend, "group", None)
    fd = opened(node(two.name)) if group is None else group
    refused("a member by what it was opened with", E.EINVAL, form, one, (fd, ids[two]))
    if group is None:
        os.close(fd)
    os.close(event)
    # The device's message is not for owners.
    refused("the message of the PF", E.EOPNOTSUPP, one.request, 0x0AD1_000C, struct.pack("<HHH", ids[one], 1, ids[two]))
    three.close()
    refused("a member that is closed", E.EINVAL, form, one, (two.fd, ids[three]))


def owner(names):
    one, two, three = map(Adi, names)
    results = Results(51)
    equal, refused = results.equal, results.refused
    refusals(results, one, two, three)

    # A sender that is in no group.
    three = Adi(names[2])
    sender = Driver(three, 0x3000_0000)
    refused("a member whose queues run", E.EBUSY, form, one, two, three)
    one.request(SUSPEND, bytes(4))
    refused("a leader that is suspended", E.EBUSY, form, one, two)
    fcntl.ioctl(one.fd, v.RESET)

    form(one, two)
    refused("a group of a leader", E.EEXIST, form, one, two)
    refused("a group of a member", E.EEXIST, form, two, one)
    refused("a group with a member of another", E.EEXIST, form, three, two)
    refused("a group with the leader of another", E.EEXIST, form, three, one)
    member = Member(two, 0x2000_0000)
    leader = Driver(one, 0x1000_0000)
    refused("enabling the vport of a member", E.EACCES, two.request, v.ENABLE_VPORT, v.VPORT)
    spread(one, [0, 1])
    entries = struct.unpack_from("<H", one.request(GET_LUT, bytes(12)), 6)[0]
    table = struct.pack(f"<IHH4x{entries}I", 0, 0, entries, *[2] * entries)
    refused("a table with a queue that the group lacks", E.ENXIO, one.request, SET_LUT, table)
    refused("a table of a member with the group's queues", E.ENXIO, two.request, SET_LUT,
            struct.pack(f"<IHH4x{entries}I", 0, 0, entries, *[1] * entries))
    got = flows(sender, one.mac, leader, member)
    equal("flows to the leader are spread over the queues of both",
          (sum(got), all(got)), (FLOWS, True))
    equal("the address of the member is nobody's", flows(sender, two.mac, leader, member, arrive=False),
          [0, 0])
    sender.post(sender.received)
    member.send(*member.frame(to=three.mac))
    equal("the member's queue completes a frame from its own address", member.complete(), True)
    equal("that frame arrives nowhere", sender.receive(0.5), None)
    at = member.frames - member.iova
    member.memory[at:at + 60] = (three.mac + one.mac + b"\x88\xb5").ljust(60, b"\0")
    member.send(member.frames, 60)
    equal("the member sends as the leader", sender.receive(), 60)

    # Each ADI has an address space of its own.
    two.event(v.FAULT), one.event(v.FAULT)
    member.complete()
    member.send(leader.frames, 60)
    equal("a member cannot access the memory of the leader", two.signalled(v.FAULT), True)
    equal("the fault is the member's", (one.fault()["count"], two.fault()["count"]), (0, 1))

    # A reset by the owner leaves the group.
    fcntl.ioctl(two.fd, v.RESET)
    refused("a group after a reset by the owner", E.EEXIST, form, three, two)
    member.start()
    got = flows(sender, one.mac, leader, member)
    equal("flows are spread after the reset of a member", (sum(got), all(got)), (FLOWS, True))

    # The end: the member is closed, and the leader taken away.
    one.event(v.REQUEST)
    close(member)
    equal("the leader is requested back when a member is closed", one.signalled(v.REQUEST), True)
    refused("a message of the leader after that", E.EIO, one.request, v.GET_STATS, bytes(128))
    refused("a group of the leader after that", E.EIO, form, one, three)
    refused("mapping doorbells of the leader after that", E.EIO, one.page, v.DOORBELLS, 0)
    two = Adi(names[1])
    heir = Driver(two, 0x2000_0000)
    equal("the next owner of the member gets nothing for the leader", flows(sender, one.mac, heir, arrive=False),
          [0])
    equal("it gets frames for itself", flows(sender, two.mac, heir), [FLOWS])
    sender.post(sender.received)
    heir.send(*heir.frame(to=three.mac))
    equal("it sends from its own address", sender.receive(), 60)
    close(leader)
    one = Adi(names[0])
    again = Driver(one, 0x1000_0000)
    equal("the next owner of the leader gets all flows", flows(sender, one.mac, again), [FLOWS])

    # And the other way round.
    close(again), close(heir)
    one, two = map(Adi, names[:2])
    equal("the two can be joined again", outcome(form, two, one), "done")
    two.event(v.REQUEST), one.event(v.REQUEST)
    # Also while all are suspended with the leader.
    two.request(SUSPEND, bytes(4))
    two.close()
    equal("a member is requested back when the leader is closed", one.signalled(v.REQUEST), True)
    refused("a message of the member after that", E.EIO, one.request, v.GET_STATS, bytes(128))
    one.close()
    one, two = map(Adi, names[:2])
    equal("both are as after creation", (outcome(form, one, two), outcome(one.close), outcome(two.close)),
          ("done",) * 3)
    results.done()


def joined(names):
    one, two = map(Adi, names)
    form(one, two)
    member, leader = Member(two, 0x2000_0000), Driver(one, 0x1000_0000)
    spread(one, [0, 1])
    one.event(v.REQUEST), two.event(v.REQUEST)
    print("ready", flush=True)
    return one, two, member, leader


def holder(names):
    _held = joined(names)
    signal.pause()


def reset(names):
    one, two, *_ = held = joined(names)
    assert one.signalled(v.REQUEST) and two.signalled(v.REQUEST)
    assert outcome(one.request, v.GET_STATS, bytes(128)) == "EIO"
    print("lost", flush=True)
    del held


{"owner": owner, "holder": holder, "reset": reset}[sys.argv[1]](sys.argv[2:])
