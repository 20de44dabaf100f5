// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A function whose driver has loaded and enabled its port, and the effects of resets.

use adit_uapi::regs::{dyn_ctl, pf, rstat, vf};

use super::*;
use crate::fuzzing::loaded;
use crate::ids::VportId;

/// The offset of PCI Express's Device Control in configuration space, and its FLR bit (PCIe
/// 7.5.3.4).
const DEVICE_CONTROL: u64 = 0x68;
const INITIATE_FLR: [u8; 2] = [0, 0x80];

fn read(function: &mut Function, register: u32) -> u32 {
    function.register_read(u64::from(register))
}

fn write(function: &mut Function, register: u32, value: u32) {
    function.register_write(u64::from(register), value);
}

fn asleep(function: &mut Function) {
    for register in [pf::FW_ARQLEN, pf::FW_ATQLEN, pf::FW_ATQT] {
        assert_eq!(read(function, register), 0, "{register:#x}");
    }
    assert_eq!(read(function, pf::QTX_TAIL.base), 0);
    assert_eq!(read(function, pf::BUFQ_TAIL.base), 0);
    assert!(!function.datapath.forwarding(VportId(0)).enabled);
}

#[test]
fn a_driver_loads_and_enables_its_port() {
    let mut function = loaded();
    assert!(function.datapath.forwarding(VportId(0)).enabled);
    assert_ne!(read(&mut function, pf::FW_ARQLEN), 0);
    assert_eq!(read(&mut function, pf::GEN_RSTAT), rstat::COMPLETED);
}

#[test]
fn what_tells_a_vf_from_a_pf_does_not_hold_what_is_written() {
    let mut function = loaded();
    write(&mut function, vf::ARQBAL, 0xFEED_BEEF);
    assert_eq!(read(&mut function, vf::ARQBAL), 0);
    assert_eq!(function.counters().stray_accesses, 2);
}

#[test]
fn a_reset_by_register_puts_everything_to_sleep_and_is_over_at_once() {
    let mut function = loaded();
    write(&mut function, pf::QTX_TAIL.base, 3);
    write(&mut function, pf::BUFQ_TAIL.base, 3);
    write(&mut function, pf::GEN_CTRL, pf::GEN_CTRL_PFSWR_M);
    asleep(&mut function);
    assert_eq!(read(&mut function, pf::GEN_RSTAT), rstat::COMPLETED);
    assert_eq!(function.counters().software_resets, 1);
    assert!(
        !function.datapath.queues().memory.is_empty(),
        "the client's"
    );
}

#[test]
fn a_function_level_reset_takes_configuration_space_along() {
    let mut function = loaded();
    // Memory space and bus mastering.
    function.config_write(4, &[6, 0]);
    function.msix_write(0, &[1, 2, 3, 4]);
    function.config_write(DEVICE_CONTROL, &INITIATE_FLR);
    asleep(&mut function);
    let mut command = [0xFF; 2];
    function.config_read(4, &mut command);
    assert_eq!(command, [0, 0]);
    let mut entry = [0xFF; 4];
    function.msix_read(0, &mut entry);
    assert_eq!(entry, [0; 4]);
    assert_eq!(function.counters().function_resets, 1);
}

#[test]
fn nothing_of_a_client_outlives_it() {
    let mut function = loaded();
    let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let trigger = EventFd::from_client(event.try_clone().unwrap()).unwrap();
    function.set_trigger(MAILBOX_VECTOR, Some(trigger));
    function.disconnect().unwrap();
    asleep(&mut function);
    assert!(function.datapath.queues().memory.is_empty());
    let arm = dyn_ctl::INTENA_M | dyn_ctl::SWINT_TRIG_M;
    write(&mut function, pf::GLINT_DYN_CTL.base, arm);
    function.poll(1, true);
    assert!(rustix::io::read(&event, &mut [0; 8]).is_err());
}

#[test]
fn the_mailbox_interrupts_its_vector() {
    let mut function = loaded();
    let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let trigger = EventFd::from_client(event.try_clone().unwrap()).unwrap();
    function.set_trigger(MAILBOX_VECTOR, Some(trigger));
    function.poll(1, true);
    assert!(rustix::io::read(&event, &mut [0; 8]).is_err(), "not armed");
    write(&mut function, pf::GLINT_DYN_CTL.base, dyn_ctl::INTENA_M);
    function.poll(2, true);
    let mut count = [0; 8];
    assert_eq!(rustix::io::read(&event, &mut count), Ok(8));
    assert_eq!(u64::from_ne_bytes(count), 1);
}

#[test]
fn reads_and_writes_outside_of_everything_are_harmless() {
    let mut function = loaded();
    for offset in [1 << 30, u64::from(u32::MAX) + 1, u64::MAX - 3] {
        function.register_write(offset, 1);
        assert_eq!(function.register_read(offset), 0);
        let mut data = [0; 8];
        function.msix_read(offset, &mut data);
        assert_eq!(data, [0xFF; 8]);
        function.msix_write(offset, &data);
        function.config_write(offset, &data);
        function.config_read(offset, &mut data);
        assert_eq!(data, [0xFF; 8]);
    }
}

#[test]
fn a_vf_is_found_by_its_probe_and_reset_by_a_message() {
    use crate::testing::guest::Guest;
    use adit_uapi::virtchnl2::op;

    let mut guest = Guest::of_layout(RegisterLayout::Vf);
    let function = &mut guest.function;
    write(function, vf::ARQBAL, 0xFEED_BEEF);
    assert_eq!(read(function, vf::ARQBAL), 0xFEED_BEEF);
    assert_eq!(read(function, vf::GEN_RSTAT), rstat::VF_ACTIVE);
    assert_eq!(read(function, pf::GEN_RSTAT), 0);
    assert_eq!(function.counters().stray_accesses, 1);
    guest.start_mailbox();
    assert_eq!(guest.call(op::VERSION, &[2, 0, 0, 0, 0, 0, 0, 0]).0, 0);
    guest.write(vf::QTX_TAIL_EXT.base, 3);
    assert_eq!(guest.read(vf::QTX_TAIL_EXT.base), 3);
    guest.request(op::RESET_VF, &[]);
    assert_eq!(guest.function.counters().software_resets, 1);
    let function = &mut guest.function;
    for register in [vf::ARQLEN, vf::ATQLEN, vf::ATQT, vf::QTX_TAIL_EXT.base] {
        assert_eq!(read(function, register), 0, "{register:#x}");
    }
    assert_eq!(read(function, vf::GEN_RSTAT), rstat::VF_ACTIVE);
    guest.start_mailbox();
    assert_eq!(guest.call(op::VERSION, &[2, 0, 0, 0, 0, 0, 0, 0]).0, 0);
}
