# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Drives adit-nic with p4runtime-shell: shell_client.py ADDRESS P4INFO P4BLOB"""

import os
import sys

import p4runtime_sh.shell as sh
from p4runtime_sh.p4runtime import P4RuntimeWriteException


def check(condition, what):
    if not condition:
        # The shell's threads would not let go of the process.
        print(f"FAILED: {what}", flush=True)
        os._exit(1)
    print(f"ok - {what}")


address, p4info, blob = sys.argv[1:]
sh.setup(
    device_id=1, grpc_addr=address, election_id=(1, 0),
    config=sh.FwdPipeConfig(p4info, blob), verbose=False,
)
check(True, "connected, the program is set")

entry = sh.TableEntry("TestControl.stations")(action="TestControl.forward")
entry.match["h.ethernet.dst"] = "02:00:00:00:00:01"
entry.action["port"] = "7"
entry.insert()
found = list(sh.TableEntry("TestControl.stations").read())
check(len(found) == 1, "an entry that was inserted is read")
try:
    entry.insert()
    check(False, "the same entry again is refused")
except P4RuntimeWriteException as error:
    check("ALREADY_EXISTS" in str(error), "the same entry again is refused")
entry.action["port"] = "8"
entry.modify()

route = sh.TableEntry("TestControl.routes")(action="TestControl.forward")
route.match["h.ipv4.dst"] = "10.0.0.0/8"
route.action["port"] = "3"
route.insert()
rule = sh.TableEntry("TestControl.rules")(action="TestControl.count")
rule.match["h.ethernet.src"] = "02:00:00:00:00:00 &&& ff:00:00:00:00:00"
rule.action["index"] = "2"
rule.priority = 5
rule.insert()
check(len(list(rule.read())) == 1, "a rule with a mask is read")

default = sh.TableEntry("TestControl.stations")(action="TestControl.forward", is_default=True)
default.action["port"] = "1"
default.modify()
reset = sh.TableEntry("TestControl.stations")(is_default=True)
reset.modify()
check(True, "the default action is set and reset")

counter = sh.CounterEntry("TestControl.seen")
counter.index = 3
counter.packet_count = 5
counter.modify()
check(len(list(sh.CounterEntry("TestControl.seen").read())) == 8, "counters are read")

group = sh.MulticastGroupEntry(5)
group.add(1, 1)
group.add(2, 1)
group.insert()
check(True, "a multicast group is made")
group.delete()

digest = sh.DigestEntry("TestControl.learn")
digest.ack_timeout_ns = 0
digest.max_timeout_ns = 0
digest.max_list_size = 1
digest.insert()
check(True, "a digest is configured")

def path(name, **params):
    action = sh.Action(f"TestControl.{name}")
    for key, value in params.items():
        action[key] = value
    return action


way = sh.TableEntry("TestControl.ways")
way.match["h.ethernet.src"] = "02:00:00:00:00:01"
way.oneshot = sh.Oneshot("TestControl.ways")
way.oneshot.add(path("forward", port="1"), weight=3)
way.oneshot.add(path("forward", port="2"), weight=1, watch_port=b"\x05")
way.metadata = b"blue"
way.insert()
found = list(sh.TableEntry("TestControl.ways").read())


def shown(oneshot):
    # The device's numbers are as short as can be, the shell's are not.
    return [(one.action.action_name, int.from_bytes(one.action.msg().params[0].value, "big"),
             one.weight, one.watch_port) for one in oneshot.actions]


check(len(found) == 1 and shown(found[0].oneshot) == shown(way.oneshot),
      f"a one-shot set is read as it was: {shown(found[0].oneshot)}")
check(found[0].metadata == b"blue", "so is an entry's metadata")
way.oneshot = sh.Oneshot("TestControl.ways").add(path("drop"), weight=1)
way.modify()
found = list(sh.TableEntry("TestControl.ways").read())
check(len(found) == 1 and len(found[0].oneshot.actions) == 1, "a set is modified")
member = sh.ActionProfileMember("TestControl.paths")(member_id=1, action="TestControl.drop")
try:
    member.insert()
    check(False, "members beside sets are refused")
except P4RuntimeWriteException as error:
    check("INVALID_ARGUMENT" in str(error), "members beside sets are refused")
way.delete()
member.insert()
member.delete()
check(True, "without sets there are members")

for one in (entry, route, rule):
    one.delete()
check(not list(sh.TableEntry("TestControl.stations").read()), "all is deleted")
sh.teardown()
