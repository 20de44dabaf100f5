// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry point of the walker's fuzz target.

use super::{AddressSpace, Dma, Pasid, Root, Translator};
use crate::memory::FaultCause;
use crate::testing::{ram, RAM, RAM_LEN};

/// Runs the actions encoded in `data`: a guest writes tables and a device uses them. A panic, an
/// endless loop or an access outside of guest memory is a bug.
pub fn fuzz_walk(data: &[u8]) {
    let memory = ram();
    let mut translator = Translator::new(None);
    let mut rest = data;
    let mut root = Root {
        table: RAM,
        requester: 0x28,
    };
    translator.tables().set(root);
    while let Some((&[action, a, b, c, d, e], after)) = rest.split_first_chunk() {
        rest = after;
        let place = (u64::from(u32::from_le_bytes([a, b, c, 0])) % RAM_LEN) & !7;
        match action & 0x3 {
            // An entry that points into memory, with flags.
            0 | 1 => {
                let target = RAM + u64::from(u16::from_le_bytes([d, e])) % (RAM_LEN >> 12) * 0x1000;
                let word = target | u64::from(action >> 2) << 1 | 1;
                let _ = memory.write(RAM + place, &word.to_le_bytes());
            }
            2 => {
                let len = rest.len().min(8);
                let (bytes, after) = rest.split_at(len);
                rest = after;
                let _ = memory.write(RAM + place, bytes);
            }
            _ if action & 0x80 == 0 => {
                root.requester = u16::from_le_bytes([d, e]);
                root.table = RAM + place;
                translator.tables().set(root);
            }
            _ => {
                let Some(pasid) = Pasid::new(u32::from(action >> 2 & 7) + 1) else {
                    continue;
                };
                let iova = u64::from(u32::from_le_bytes([a, b, c, d])) << (e & 31);
                let space = AddressSpace::new(&memory, &translator, Some(pasid));
                let mut buf = [0; 9000];
                let len = usize::from(e) << 5;
                let read = space.read(iova, &mut buf[..len]);
                if let Err(fault) = read {
                    assert!(
                        matches!(fault.cause, FaultCause::Translation(_)),
                        "{fault}: without a translation there is no access"
                    );
                }
                let _ = space.publish_u64(iova, 0);
                translator.flush();
            }
        }
    }
}
