// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The registers of a PF and of a VF, as their drivers use them from load to reset.

use adit_uapi::mailbox::{flags, CtlqDesc};
use adit_uapi::regs::queue_len::ENABLE_M;
use adit_uapi::regs::{pf, rstat, vf};
use adit_uapi::virtchnl2::op;
use zerocopy::little_endian::U16;

use super::*;
use crate::control::mock::MockDataPlane;
use crate::layout::MailboxRing::{self, Arq, Atq};
use crate::layout::RingRegister::{self, Bal, Head, Len, Tail};
use crate::memory::Dma;
use crate::pci::{BAR2_LEN, DEFAULT_ID};
use crate::testing::{driver, ram, RAM};

const LEN: u32 = 32;
const ARQ: u64 = RAM + 0x1000;
const REQUEST: u64 = RAM + 0x2000;
const REPLIES: u64 = RAM + 0x8000;

/// A function without a driver, and its data plane.
fn function(layout: RegisterLayout) -> (SlowPath, MockDataPlane) {
    let profile = driver::profile(1, 2).with_layout(layout).unwrap();
    let dp = MockDataPlane::new(&profile, ram());
    let vectors = profile.vectors().into();
    let config = ConfigSpace::idpf(DEFAULT_ID, vectors, layout).unwrap();
    (SlowPath::new(config, BAR2_LEN as usize, profile), dp)
}

fn at(function: &SlowPath, ring: MailboxRing, register: RingRegister) -> u32 {
    function.layout().mailbox_offset(ring, register)
}

/// Sets up the mailbox's rings, with buffers for replies.
fn load(function: &mut SlowPath, dp: &MockDataPlane) {
    for n in 0..u64::from(LEN) {
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD),
            datalen: U16::new(4096),
            ..CtlqDesc::default()
        };
        desc.set_addr(REPLIES + n * 4096);
        dp.memory
            .write_obj(ARQ + n * CtlqDesc::LEN as u64, &desc)
            .unwrap();
    }
    for (ring, register, value) in [
        (Atq, Bal, RAM as u32),
        (Atq, Len, LEN | ENABLE_M),
        (Arq, Bal, ARQ as u32),
        (Arq, Tail, LEN - 1),
        (Arq, Len, LEN | ENABLE_M),
    ] {
        let offset = at(function, ring, register);
        assert!(function.register_write(offset, value).is_some());
    }
}

/// Sends the message `n` of the ring.
fn send(function: &mut SlowPath, dp: &mut MockDataPlane, n: u32, v_opcode: u32) -> Served {
    let payload = [2, 0, 0, 0, 0, 0, 0, 0];
    dp.memory.write(REQUEST, &payload).unwrap();
    let mut desc = CtlqDesc {
        flags: U16::new(flags::BUF | flags::RD),
        opcode: U16::new(adit_uapi::mailbox::opcode::SEND_MSG_TO_CP),
        datalen: U16::new(8),
        v_opcode_dtype: v_opcode.into(),
        ..CtlqDesc::default()
    };
    desc.set_addr(REQUEST);
    let place = RAM + u64::from(n) * CtlqDesc::LEN as u64;
    dp.memory.write_obj(place, &desc).unwrap();
    let tail = at(function, Atq, Tail);
    let effect = function.register_write(tail, n + 1);
    assert_eq!(effect, Some(WriteEffect::Serve));
    function.serve(dp)
}

#[test]
fn a_driver_loads_and_is_answered() {
    for layout in RegisterLayout::ALL {
        let (mut function, mut dp) = function(layout);
        load(&mut function, &dp);
        let posted = Served {
            posted: true,
            reset: false,
        };
        assert_eq!(send(&mut function, &mut dp, 0, op::VERSION), posted);
        let mut version = [0; 8];
        dp.memory.read(REPLIES, &mut version).unwrap();
        assert_eq!(version, [2, 0, 0, 0, 0, 0, 0, 0], "{layout}");
        let heads = [Atq, Arq].map(|ring| function.register_read(at(&function, ring, Head)));
        assert_eq!(heads, [Some(1); 2]);
    }
}

#[test]
fn each_kind_of_function_is_reset_in_its_own_way() {
    let (mut pf, mut dp) = function(RegisterLayout::Pf);
    assert_eq!(pf.register_read(pf::GEN_RSTAT), Some(rstat::COMPLETED));
    load(&mut pf, &dp);
    assert_eq!(pf.register_write(pf::GEN_CTRL, 0), Some(WriteEffect::None));
    let reset = pf.register_write(pf::GEN_CTRL, pf::GEN_CTRL_PFSWR_M);
    assert_eq!(reset, Some(WriteEffect::Reset));
    assert!(!send(&mut pf, &mut dp, 0, op::RESET_VF).reset);

    let (mut vf, mut dp) = function(RegisterLayout::Vf);
    assert_eq!(vf.register_read(vf::GEN_RSTAT), Some(rstat::VF_ACTIVE));
    load(&mut vf, &dp);
    assert_eq!(vf.register_write(pf::GEN_CTRL, pf::GEN_CTRL_PFSWR_M), None);
    assert!(send(&mut vf, &mut dp, 0, op::RESET_VF).reset);

    for mut function in [pf, vf] {
        function.reset_state();
        // A length of 0 is how drivers see the reset.
        for (ring, register) in [(Arq, Len), (Atq, Len), (Atq, Tail)] {
            let offset = at(&function, ring, register);
            assert_eq!(function.register_read(offset), Some(0));
        }
    }
}

#[test]
fn a_vf_stores_what_drivers_probe_with_and_a_pf_does_not() {
    let (mut pf, _) = function(RegisterLayout::Pf);
    assert_eq!(pf.register_write(vf::ARQBAL, 0xFEED_BEEF), None);
    assert_eq!(pf.register_read(vf::ARQBAL), None);
    let (mut vf, _) = function(RegisterLayout::Vf);
    let written = vf.register_write(vf::ARQBAL, 0xFEED_BEEF);
    assert_eq!(written, Some(WriteEffect::None));
    assert_eq!(vf.register_read(vf::ARQBAL), Some(0xFEED_BEEF));
}

#[test]
fn a_function_level_reset_takes_configuration_space_and_the_table_along() {
    for layout in RegisterLayout::ALL {
        let (mut function, _) = function(layout);
        function.config_write(4, &[6, 0]);
        function.msix_write(0, &[1, 2, 3, 4]);
        let effect = function.config_write(0x68, &[0, 0x80]);
        assert_eq!(effect, ConfigEffect::FunctionLevelReset);
        function.reset();
        let (mut command, mut entry) = ([0xFF; 2], [0xFF; 4]);
        function.config_read(4, &mut command);
        function.msix_read(0, &mut entry);
        assert_eq!((command, entry), ([0; 2], [0; 4]));
        for offset in [BAR2_LEN - 3, u64::MAX - 1] {
            function.msix_write(offset, &[0; 4]);
            function.msix_read(offset, &mut entry);
            assert_eq!(entry, [0xFF; 4]);
        }
    }
}
