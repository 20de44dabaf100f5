// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Seed inputs for the fuzz targets: a well-behaved driver, for a fuzzer to mutate.

use adit_uapi::desc::tx_flex::sched_cmd;
use adit_uapi::mailbox::{flags, opcode, CtlqDesc};
use adit_uapi::virtchnl2::{op, queue_model, CreateVport, VersionInfo, Vport};
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use crate::layout::RegisterLayout;
use crate::testing::RAM;

/// A TCP frame over IPv4 with a payload of four bytes, addressed to the port.
const FRAME: [u8; 58] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 44, 0, 1, 0x40, 0, 64, 6, 0x26, 0xC9, 10,
    0, 0, 1, 10, 0, 0, 2, 1, 2, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0, 1, 2,
    3, 4,
];

/// Seeds for [`rings`](super::rings): buffers are posted, frames are received and sent.
#[must_use]
pub fn rings_corpus() -> Vec<Vec<u8>> {
    [0x00, 0x04, 0x33, 0x73, 0xB0, 0xFF]
        .into_iter()
        .flat_map(|shape| [0x01, 0xC3].map(|sizes| rings_input(shape, sizes)))
        .collect()
}

fn rings_input(shape: u8, sizes: u8) -> Vec<u8> {
    let mut input = vec![shape, sizes, 1];
    for entry in 0..16_u8 {
        for queue in 0..2 {
            // A buffer, followed by a header buffer.
            input.extend([2, entry << 1 | queue, entry, 2, entry, 4]);
        }
    }
    input.extend([3, 0b01, 12, 3, 0b11, 12]);
    for meta in [[0, 0, 0, 0], [2, 0, 0, 0], [1 | 4, 34, 2, 54]] {
        input.extend([4, FRAME.len() as u8]);
        input.extend(meta);
        input.extend(FRAME);
    }
    input.extend([7, 0, 1, 0]);
    // The frame is written to memory, then posted twice: unchanged, and for segmentation.
    let frame_at = [0, 1];
    let unused = [0, 0];
    input.extend([0, 7 << 1, 0, frame_at[0], frame_at[1], unused[0], unused[1]]);
    input.push(FRAME.len() as u8);
    input.extend(FRAME);
    let mut descriptor = |kind: u8, entry: u8, len: u8, flags: u8| {
        input.extend([0, kind << 1, entry, frame_at[0], frame_at[1], len, 0, flags]);
    };
    let (all, cut) = (FRAME.len() as u8, 5);
    descriptor(0, 0, all, sched_cmd::EOP | sched_cmd::RE);
    descriptor(cut, 1, 4, 54);
    input.extend([2, 0]);
    let mut descriptor = |entry: u8, flags: u8| {
        input.extend([0, 0, entry, frame_at[0], frame_at[1], all, 0, flags]);
    };
    descriptor(2, sched_cmd::EOP | sched_cmd::CS_EN);
    input.extend([3, 0, 3, 7, 0, 1, 0]);
    // All queues are disabled, then enabled again.
    for kind in 0..4 {
        input.extend([5, kind << 1, 5, 0x80 | kind << 1]);
    }
    input.extend([7, 15, 255, 255]);
    input
}

/// Seeds for [`registers`](super::registers): a driver that loads and brings up a port, of a PF
/// (first) and of a VF.
#[must_use]
pub fn registers_corpus() -> Vec<Vec<u8>> {
    let layouts = (0..RegisterLayout::ALL.len() as u8).flat_map(registers_seeds);
    layouts.collect()
}

/// Those for the register layout with an index.
fn registers_seeds(layout: u8) -> [Vec<u8>; 2] {
    const ATQ: u64 = 0;
    const ARQ: u64 = 0x1000;
    const BUFFERS: u64 = 0x1_0000;
    let mut input = vec![layout];
    for at in 0..8 {
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD),
            datalen: U16::new(4096),
            ..CtlqDesc::default()
        };
        desc.set_addr(RAM + BUFFERS + at * 4096);
        memory(&mut input, ARQ + at * 32, desc.as_bytes());
    }
    let version = VersionInfo {
        major: U32::new(2),
        minor: U32::new(0),
    };
    let create = CreateVport {
        txq_model: U16::new(queue_model::SPLIT),
        rxq_model: U16::new(queue_model::SPLIT),
        num_tx_q: U16::new(2),
        num_tx_complq: U16::new(2),
        num_rx_q: U16::new(2),
        num_rx_bufq: U16::new(4),
        ..CreateVport::default()
    };
    let enable = Vport::default();
    let messages: [(u32, &[u8]); 4] = [
        (op::VERSION, version.as_bytes()),
        (op::GET_CAPS, &[0; 80]),
        (op::CREATE_VPORT, create.as_bytes()),
        (op::ENABLE_VPORT, enable.as_bytes()),
    ];
    for (at, (request, payload)) in (0..).zip(messages) {
        let addr = BUFFERS + (8 + at) * 4096;
        memory(&mut input, addr, payload);
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD),
            opcode: U16::new(opcode::SEND_MSG_TO_CP),
            datalen: U16::new(payload.len() as u16),
            v_opcode_dtype: U32::new(request),
            ..CtlqDesc::default()
        };
        desc.set_addr(RAM + addr);
        memory(&mut input, ATQ + at * 32, desc.as_bytes());
    }
    // Registers by their index among the mailbox registers, and values as the target decodes them.
    const SMALL: u32 = 1 << 30;
    const ENABLE: u32 = 2 << 30;
    let writes = [
        (5, ATQ as u32),
        (6, SMALL),
        (7, ENABLE | 16),
        (4, SMALL | 7),
        (0, ARQ as u32),
        (1, SMALL),
        (2, ENABLE | 16),
        (9, SMALL | 4),
    ];
    for (register, value) in writes {
        input.extend([0, register << 3]);
        input.extend(u32::to_le_bytes(value));
    }
    let loaded = input.clone();
    input.extend([12, FRAME.len() as u8]);
    input.extend(FRAME);
    input.extend([15, 0, 1, 0]);
    // PFSWR, the first register of the third base of a PF; then FLR.
    input.extend([0, 2]);
    input.extend(u32::to_le_bytes(SMALL | 1));
    input.extend([13, 0]);
    [loaded, input]
}

fn memory(input: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    for (n, piece) in bytes.chunks(128).enumerate() {
        input.extend([9, piece.len() as u8]);
        input.extend(u32::to_le_bytes(at as u32 + n as u32 * 128));
        input.extend(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::DataPlane;
    use crate::ids::VportId;

    #[test]
    fn the_drivers_come_as_far_as_they_should() {
        let seeds = registers_corpus();
        for (layout, input) in RegisterLayout::ALL.into_iter().zip(seeds.iter().step_by(2)) {
            let function = super::super::registers::run(input);
            let function = function.expect("memory for a device");
            assert_eq!(function.layout(), layout);
            assert_eq!(function.control().counters().requests, 4);
            assert_eq!(function.mailbox().counters().posted, 5, "with the link");
            let refused: u64 = function.control().counters().refused().map(|r| r.1).sum();
            assert_eq!(refused, 0);
        }

        let dp = super::super::rings::run(&rings_corpus()[0]).expect("memory for a device");
        let seen = dp.counters(VportId(0));
        assert!(seen.rx_unicast >= 2 && seen.tx_unicast == 3, "{seen:?}");
        assert_eq!(dp.faults(), (0, None));
    }
}
