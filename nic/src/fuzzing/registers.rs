// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The register file: BAR0, configuration space and MSI-X, accessed in any order while the device
//! polls.

use adit_uapi::regs::{adi, pf, vf, RegArray};

use super::rings::accounts;
use super::Choices;
use crate::control::{AdiLimits, Profile};
use crate::function::Function;
use crate::ids::VportId;
use crate::layout::RegisterLayout;
use crate::memory::{Access, Dma};
use crate::pasid::Root;
use crate::pci::DEFAULT_ID;
use crate::testing::{sealed, RAM, RAM_LEN};
use crate::wire::mock::MockPort;
use crate::wire::PortCaps;

/// Bases of registers and register arrays of a PF that are worth accessing.
const PF_BASES: [u32; 8] = [
    pf::FW_BASE,
    pf::FW_BASE + 0x20,
    pf::GEN_CTRL,
    pf::GEN_RSTAT,
    pf::INT_DIR_OICR_ENA,
    pf::BUFQ_TAIL.base,
    pf::QTX_TAIL.base,
    pf::GLINT_DYN_CTL.base,
];

/// Those of a VF.
const VF_BASES: [u32; 8] = [
    vf::BASE,
    vf::INT_DYN_CTL0 & !0xFFF,
    vf::INT_DYN_CTL0,
    vf::GEN_RSTAT,
    vf::INT_ITRN_2K.base,
    vf::QRXB_TAIL.base,
    vf::QTX_TAIL_EXT.base,
    vf::INT_DYN_CTLN_EXT.base,
];

/// A function with one virtual port on an in-memory wire.
fn function(layout: RegisterLayout) -> Option<(Function, crate::wire::mock::FarEnd)> {
    let profile = Profile::new(vec![[2, 0, 0, 0, 0, 1]], 2).ok()?;
    let profile = profile.with_layout(layout).ok()?;
    let profile = match layout.has_adis() {
        true => profile.with_adis(AdiLimits { adis: 2, pairs: 4 }).ok()?,
        false => profile,
    };
    let (port, far) = MockPort::new(PortCaps::default());
    let mut function = Function::new(DEFAULT_ID, profile, vec![Some(Box::new(port))], None).ok()?;
    function
        .datapath_mut()
        .queues_mut()
        .translator
        .tables()
        .set(Root {
            table: RAM,
            requester: 0,
        });
    Some((function, far))
}

/// Runs the actions encoded in `data` on behalf of a client: accesses to registers, writes to
/// memory, mapping and unmapping, resets. The lowest bit of the first byte chooses the register
/// layout: PF or VF. A panic is a bug, and so are an unimplemented register
/// that holds a value, and a frame that is not accounted for.
pub fn registers(data: &[u8]) {
    let Some(mut function) = run(data) else {
        return;
    };
    let rx_tail = u64::from(function.layout().rx_tails().base);
    assert_eq!(function.register_read(rx_tail), 0);
    function.disconnect().unwrap();
    assert!(function.datapath().queues().memory.is_empty());
}

/// Returns the function after the actions in `data`.
pub(super) fn run(data: &[u8]) -> Option<Function> {
    let mut choices = Choices(data);
    let layout = RegisterLayout::ALL[usize::from(choices.u8() & 1)];
    let (mut function, far) = function(layout)?;
    let access = Access {
        read: true,
        write: true,
    };
    let mapped = function.map(RAM, RAM_LEN, access, Some((sealed(RAM_LEN), 0)));
    assert!(mapped.is_ok(), "an empty map");
    let mut now = 1;
    let mut frames = 0;
    while choices.more() {
        let [what, which] = choices.bytes();
        match what % 16 {
            0..=5 => {
                let offset = place(layout, which, &mut choices);
                function.register_write(offset, value(&mut choices));
            }
            6 => {
                let offset = place(layout, which, &mut choices);
                function.register_read(offset);
            }
            7 => {
                let offset = u64::from(choices.u16());
                let mut bytes = choices.bytes::<8>();
                let len = usize::from(which % 9);
                function.config_write(offset, &bytes[..len]);
                function.config_read(offset, &mut bytes[..len]);
            }
            8 => {
                let offset = u64::from(choices.u32());
                let mut bytes = choices.bytes::<8>();
                function.msix_write(offset, &bytes);
                function.msix_read(offset, &mut bytes);
            }
            9..=11 => {
                let at = RAM + u64::from(choices.u32()) % RAM_LEN;
                let bytes = choices.slice(usize::from(which));
                // An access beyond the end faults, which is fine.
                let _ = function.datapath().queues().memory.write(at, bytes);
            }
            12 => {
                let bytes = choices.slice(usize::from(which));
                far.send(bytes, Default::default());
                frames += 1;
            }
            13 if which & 7 == 0 => function.reset(),
            13 if which & 7 == 1 => {
                far.set_up(which & 8 != 0);
                function.links_changed();
            }
            13 if which & 7 == 2 => {
                let (iova, len) = (u64::from(choices.u32()), u64::from(choices.u32()));
                // Fails unless the range covers all of the mapping or none of it.
                let _ = function.unmap(iova, len);
            }
            _ => {
                now += u64::from(choices.u16()) << (which & 0xF);
                function.poll(now, true);
            }
        }
    }
    accounts(
        function.datapath(),
        VportId(0),
        frames - far.waiting() as u64,
    );
    Some(function)
}

/// A register offset, often of an implemented register.
fn place(layout: RegisterLayout, which: u8, choices: &mut Choices<'_>) -> u64 {
    let index = u32::from(which >> 3);
    if index == 31 {
        return u64::from(choices.u32());
    }
    u64::from(match layout {
        _ if which & 7 == 0 => layout.mailbox()[index as usize % 10].2,
        RegisterLayout::Pf => pf_place(which & 7, index),
        // Registers at 4 bytes from each other.
        RegisterLayout::Vf | RegisterLayout::ComposedVf(_) | RegisterLayout::Siov(_) => {
            VF_BASES[usize::from(which & 7)] + index * 4
        }
    })
}

/// The offset of a register of a PF.
fn pf_place(which: u8, index: u32) -> u32 {
    // The last base also stands for the ADI registers.
    let base = match (which, index) {
        (7, 20..=25) => adi::FRAMES.base,
        (7, 26..=30) => adi::KICK.base,
        (which, _) => PF_BASES[usize::from(which)],
    };
    let arrays: [RegArray; 5] = [
        pf::BUFQ_TAIL,
        pf::QTX_TAIL,
        pf::GLINT_DYN_CTL,
        adi::FRAMES,
        adi::KICK,
    ];
    match arrays.iter().find(|array| array.base == base) {
        Some(array) => base + (index % 10) * array.stride + (index / 10) * 4,
        None => base + (index % 10) * 4,
    }
}

/// A register value: an address in memory, a small number, or any number.
fn value(choices: &mut Choices<'_>) -> u32 {
    let value = choices.u32();
    match value >> 30 {
        0 => RAM as u32 + ((value % RAM_LEN as u32) & !0x7F),
        1 => value & 0x1FF,
        2 => 0x8000_0000 | value & 0x1FF,
        _ => value,
    }
}

/// A function whose driver has loaded and enabled its port.
#[cfg(test)]
pub(crate) fn loaded() -> Function {
    run(&super::registers_corpus()[0]).expect("memory for a device")
}
