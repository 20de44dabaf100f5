# SPDX-License-Identifier: Apache-2.0 OR MIT
"""A control plane at the other end of the wire: finsy against the P4Runtime server of a NIC.

controller.py SERVER PORT FOLDER connects to SERVER and takes one request a connection at
127.0.0.1:PORT. FOLDER has a folder for each program, as `adit p4 compile` makes it. A request is
one line; what it printed comes back, and `done` or `failed: WHY` at the end:

  PROGRAM                                       the program, if the NIC has another one
  PROGRAM insert|modify|delete TABLE KEY=VALUE… [priority=N] [to ACTION [PARAMETER=VALUE…]]
  PROGRAM hits TABLE KEY=VALUE… [priority=N]    packets and bytes of an entry
  PROGRAM count COUNTER INDEX                   packets and bytes of a counter

Each is a session of its own: arbitration, the program compared with that of the NIC, the request.
"""

import asyncio
import sys
from pathlib import Path

import finsy as fy


def entry(table, words, counters=False):
    """Table, match, priority and action out of `KEY=VALUE… [to ACTION PARAMETER=VALUE…]`."""
    at = words.index("to") if "to" in words else len(words)
    fields = dict(word.split("=", 1) for word in words[:at])
    priority = int(fields.pop("priority", 0))
    action = None
    if at < len(words):
        values = dict(word.split("=", 1) for word in words[at + 2:])
        action = fy.P4TableAction(words[at + 1], **values)
    return fy.P4TableEntry(
        table, match=fy.P4TableMatch(fields), action=action, priority=priority,
        counter_data=fy.P4CounterData() if counters else None,
    )


async def obey(switch, words):
    match words:
        case []:
            return []
        case ["insert", table, *rest]:
            await switch.insert([entry(table, rest)])
        case ["modify", table, *rest]:
            await switch.modify([entry(table, rest)])
        case ["delete", table, *rest]:
            await switch.delete([entry(table, rest)])
        case ["hits", table, *rest]:
            found = [it.counter_data async for it in switch.read(entry(table, rest, counters=True))]
            return [f"{it.packet_count} {it.byte_count}" for it in found]
        case ["count", counter, index]:
            found = [it.data async for it in switch.read(fy.P4CounterEntry(counter, index=int(index)))]
            return [f"{it.packet_count} {it.byte_count}" for it in found]
        case _:
            raise ValueError(f"no such request: {' '.join(words)}")
    return []


async def session(server, folder, line):
    program, *words = line.split()
    options = fy.SwitchOptions(
        p4info=folder / program / "p4info.txtpb", p4blob=folder / program / "program.p4bin",
        device_id=1, fail_fast=True,
    )
    async with fy.Switch("nic", server, options) as switch:
        return await obey(switch, words)


async def main(server, port, folder):
    async def answer(reader, writer):
        line = (await reader.readline()).decode()
        try:
            lines = await asyncio.wait_for(session(server, Path(folder), line), 60)
            lines.append("done")
        except (Exception, asyncio.CancelledError) as error:  # reported to the test
            lines = [f"failed: {error!r}"]
        writer.write("".join(f"{it}\n" for it in lines).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", int(port)) as listening:
        await listening.serve_forever()


asyncio.run(main(*sys.argv[1:]))
