# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Drives adit-nic with finsy: finsy_client.py ADDRESS P4INFO P4BLOB"""

import asyncio
import sys
from pathlib import Path

import finsy as fy
from finsy.p4entity import P4ValueSetMember


def check(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")
    print(f"ok - {what}")


async def all_of(found):
    return [entity async for entity in found]


async def drive(sw):
    check(sw.is_primary, "this client is the primary")
    check(str(sw.p4runtime_version).startswith("1."), f"API version {sw.p4runtime_version}")

    await sw.delete_all()
    station = fy.P4TableEntry(
        "stations", match=fy.P4TableMatch({"h.ethernet.dst": 0x020000000001}),
        action=fy.P4TableAction("forward", port=7),
    )
    await sw.insert([station])
    found = await all_of(sw.read(fy.P4TableEntry("stations")))
    check(len(found) == 1 and found[0].action.args["port"] == 7, "an entry that was inserted is read")

    await sw.modify([fy.P4TableEntry("stations", match=station.match, action=fy.P4TableAction("drop"))])
    found = await all_of(sw.read(fy.P4TableEntry("stations")))
    check(found[0].action.name.endswith("drop"), "it was modified")

    route = fy.P4TableEntry(
        "routes", match=fy.P4TableMatch({"h.ipv4.dst": "10.1.0.0/16"}),
        action=fy.P4TableAction("forward", port=3),
    )
    rule = fy.P4TableEntry(
        "rules",
        match=fy.P4TableMatch({"h.ethernet.src": (0x020000000000, 0xff0000000000), "h.ethernet.type": (0x800, 0x8ff)}),
        action=fy.P4TableAction("count", index=2), priority=10,
    )
    await sw.write([+route, +rule])
    everything = await all_of(sw.read(fy.P4TableEntry()))
    check(len(everything) == 3, "a wildcard reads all tables")

    try:
        again = fy.P4TableEntry("routes", match=route.match, action=route.action)
        await sw.write([+again, +fy.P4TableEntry(
            "routes", match=fy.P4TableMatch({"h.ipv4.dst": "10.2.0.0/16"}),
            action=fy.P4TableAction("forward", port=4))])
        check(False, "a mixed batch fails")
    except fy.P4ClientError as error:
        codes = {index: detail.canonical_code for index, detail in error.details.items()}
        check(codes == {0: fy.GRPCStatusCode.ALREADY_EXISTS}, f"a mixed batch says what failed: {codes}")
    found = await all_of(sw.read(fy.P4TableEntry("routes")))
    check(len(found) == 2, "what was right in it was done")

    many = [
        +fy.P4TableEntry("stations", match=fy.P4TableMatch({"h.ethernet.dst": 0x030000000000 + n}),
                         action=fy.P4TableAction("forward", port=n % 8))
        for n in range(20000)
    ]
    for at in range(0, len(many), 1000):
        await sw.write(many[at:at + 1000])
    found = await all_of(sw.read(fy.P4TableEntry("stations")))
    check(len(found) == 20001, "20,000 entries are written and read")

    default = fy.P4TableEntry("stations", is_default_action=True, action=fy.P4TableAction("forward", port=1))
    await sw.modify([default])
    found = await all_of(sw.read(fy.P4TableEntry("stations", is_default_action=True)))
    check(found[0].action.args["port"] == 1, "the default action is another")
    await sw.modify([fy.P4TableEntry("stations", is_default_action=True)])
    found = await all_of(sw.read(fy.P4TableEntry("stations", is_default_action=True)))
    check(found[0].action.name.endswith("drop"), "the default action is reset")

    await sw.modify([fy.P4CounterEntry("seen", index=3, data=fy.P4CounterData(packet_count=5, byte_count=500))])
    found = await all_of(sw.read(fy.P4CounterEntry("seen")))
    check(len(found) == 8 and found[3].data.packet_count == 5, "counters are set and read")
    await sw.modify([fy.P4RegisterEntry("marks", index=1, data=0xABCD)])
    found = await all_of(sw.read(fy.P4RegisterEntry("marks")))
    check(len(found) == 4 and found[1].data == 0xABCD, "registers are set and read")
    await sw.modify([fy.P4ValueSetEntry("routed", members=[P4ValueSetMember(0x800)])])
    found = await all_of(sw.read(fy.P4ValueSetEntry("routed", members=[])))
    check(len(found[0].members) == 1, "a value set has its member")
    await sw.insert([fy.P4MulticastGroupEntry(5, replicas=[1, 2, 3])])
    found = await all_of(sw.read(fy.P4MulticastGroupEntry()))
    check(len(found) == 1 and len(found[0].replicas) == 3, "a multicast group is there")
    await sw.insert([fy.P4CloneSessionEntry(2, replicas=[1])])
    found = await all_of(sw.read(fy.P4CloneSessionEntry()))
    check(len(found) == 1, "a clone session is there")
    await sw.insert([fy.P4DigestEntry("learn", max_list_size=1, max_timeout_ns=0, ack_timeout_ns=0)])
    found = await all_of(sw.read(fy.P4DigestEntry()))
    check(len(found) == 1, "a digest is configured")
    match = fy.P4TableMatch({"h.ethernet.src": 1})
    paths = [(3, fy.P4TableAction("forward", port=1)), ((1, 5), fy.P4TableAction("forward", port=2)),
             (1, fy.P4TableAction("drop"))]
    way = fy.P4TableEntry("ways", match=match, action=fy.P4IndirectAction(paths), metadata=b"blue\x00")
    await sw.insert([way])
    found = await all_of(sw.read(fy.P4TableEntry("ways")))
    check(len(found) == 1 and str(found[0].action) == str(way.action), f"a one-shot set is read as it was: {found}")
    check(found[0].metadata == b"blue\x00", "so is an entry's metadata")
    way.action = fy.P4IndirectAction(paths[:1])
    await sw.modify([way])
    found = await all_of(sw.read(fy.P4TableEntry("ways", metadata=b"blue\x00")))
    check(len(found) == 1 and len(found[0].action.action_set) == 1, "a set is modified")
    member = fy.P4ActionProfileMember("paths", member_id=1, action=fy.P4TableAction("drop"))
    try:
        await sw.insert([member])
        check(False, "members beside sets are refused")
    except fy.P4ClientError as error:
        codes = [detail.canonical_code for detail in error.details.values()]
        check(codes == [fy.GRPCStatusCode.INVALID_ARGUMENT], "members beside sets are refused")
    await sw.delete([way])
    group = fy.P4ActionProfileGroup("paths", group_id=2, members=[fy.P4Member(1, weight=2)])
    await sw.insert([member])
    await sw.insert([group])
    way.action = fy.P4IndirectAction(group_id=2)
    await sw.insert([way])
    found = await all_of(sw.read([fy.P4ActionProfileMember(), fy.P4ActionProfileGroup(), fy.P4TableEntry("ways")]))
    check(len(found) == 3 and found[2].action.group_id == 2, "without sets there are members and groups")

    await sw.delete_all()
    found = await all_of(sw.read(fy.P4TableEntry()))
    check(not found, "all is deleted")


async def main(address, p4info, blob):
    options = fy.SwitchOptions(
        p4info=Path(p4info), p4blob=Path(blob), device_id=1, initial_election_id=10,
    )
    async with fy.Switch("nic", address, options) as sw:
        await drive(sw)


asyncio.run(main(*sys.argv[1:]))
