// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver at the other end of the rings, modelled on Linux's idpf_controlq.c.

use adit_uapi::mailbox::{flags, CtlqDesc};
use adit_uapi::regs::queue_len::{CRIT_M, ENABLE_M};
use adit_uapi::virtchnl2::{CreateVport, VersionInfo, Vport};
use proptest::prelude::*;
use zerocopy::little_endian::{U16, U32};

use adit_uapi::regs::{pf, vf};

use super::*;
use crate::control::mock::MockDataPlane;
use crate::control::Profile;
use crate::layout::MailboxRing::{Arq, Atq};
use crate::layout::RingRegister::{Bah, Bal, Head, Len, Tail};
use crate::memory::{Dma, GuestMemory};
use crate::testing::{ram, RAM, RAM_LEN};

const LEN: u32 = 64;
const ATQ: u64 = RAM;
const ARQ: u64 = RAM + 0x1000;
const REQUESTS: u64 = RAM + 0x1_0000;
const BUFFERS: u64 = RAM + 0x8_0000;
const VERSION: VersionInfo = VersionInfo {
    major: U32::new(2),
    minor: U32::new(0),
};

/// A register of the mailbox.
type Name = (MailboxRing, RingRegister);

struct Driver {
    mailbox: Mailbox,
    control: Control,
    dp: MockDataPlane,
    next_to_send: u32,
    next_to_clean: u32,
    signalled: u32,
    resets: u32,
    layout: RegisterLayout,
}

impl Driver {
    /// A driver that has written its registers in the same order as Linux.
    fn new(layout: RegisterLayout) -> Self {
        let profile = Profile::new(vec![[2, 0, 0, 0, 0, 1]], 2).unwrap();
        let profile = profile.with_layout(layout).unwrap();
        let dp = MockDataPlane::new(&profile, ram());
        let mut driver = Self {
            mailbox: Mailbox::new(layout),
            control: Control::new(profile),
            dp,
            next_to_send: 0,
            next_to_clean: 0,
            signalled: 0,
            resets: 0,
            layout,
        };
        driver.set_up_rings();
        driver
    }

    fn set_up_rings(&mut self) {
        (self.next_to_send, self.next_to_clean) = (0, 0);
        for at in 0..LEN {
            self.post_buffer(at, BUFFERS + u64::from(at) * 4096, 4096);
        }
        self.write((Atq, Head), 0);
        self.write((Atq, Bal), ATQ as u32);
        self.write((Atq, Bah), 0);
        self.write((Atq, Len), LEN | ENABLE_M);
        self.write((Arq, Tail), LEN - 1);
        self.write((Arq, Head), 0);
        self.write((Arq, Bal), ARQ as u32);
        self.write((Arq, Bah), 0);
        self.write((Arq, Len), LEN | ENABLE_M);
    }

    fn memory(&self) -> &GuestMemory {
        &self.dp.memory
    }

    fn read(&self, (ring, register): Name) -> u32 {
        self.mailbox
            .read(self.layout.mailbox_offset(ring, register))
    }

    fn write(&mut self, (ring, register): Name, value: u32) {
        let register = self.layout.mailbox_offset(ring, register);
        if self.mailbox.write(register, value) != MailboxEvent::None {
            self.serve();
        }
    }

    fn serve(&mut self) {
        let served = self.mailbox.serve(&mut self.control, &mut self.dp);
        self.signalled += u32::from(served.posted);
        self.resets += u32::from(served.reset);
    }

    fn post_buffer(&mut self, at: u32, addr: u64, len: u16) {
        let mut desc = CtlqDesc {
            flags: U16::new(flags::BUF | flags::RD),
            datalen: U16::new(len),
            ..CtlqDesc::default()
        };
        desc.set_addr(addr);
        self.memory()
            .write_obj(ARQ + u64::from(at) * 32, &desc)
            .unwrap();
    }

    /// Writes a message to the ring without ringing the doorbell.
    fn put(&mut self, opcode: u32, cookie: u16, payload: &[u8]) -> CtlqDesc {
        let at = self.next_to_send;
        let addr = REQUESTS + u64::from(at) * 4096;
        self.memory().write(addr, payload).unwrap();
        let mut desc = CtlqDesc {
            flags: U16::new(if payload.is_empty() {
                0
            } else {
                flags::BUF | flags::RD
            }),
            opcode: U16::new(0x0801),
            datalen: U16::new(payload.len() as u16),
            v_opcode_dtype: U32::new(opcode),
            sw_cookie: U16::new(cookie),
            ..CtlqDesc::default()
        };
        desc.set_addr(addr);
        self.put_desc(&desc);
        desc
    }

    fn put_desc(&mut self, desc: &CtlqDesc) {
        let at = ATQ + u64::from(self.next_to_send) * 32;
        self.memory().write_obj(at, desc).unwrap();
        self.next_to_send = (self.next_to_send + 1) % LEN;
    }

    fn ring(&mut self) {
        self.write((Atq, Tail), self.next_to_send);
    }

    /// Takes the next message, and reposts its buffer as idpf_ctlq_post_rx_buffs does.
    fn receive(&mut self) -> Option<(CtlqDesc, Vec<u8>)> {
        let at = self.next_to_clean;
        let desc: CtlqDesc = self.memory().read_obj(ARQ + u64::from(at) * 32).unwrap();
        if desc.flags.get() & flags::DD == 0 {
            return None;
        }
        assert_eq!(desc.flags.get() & flags::ERR, 0);
        let mut payload = vec![0; usize::from(desc.datalen.get())];
        self.memory().read(desc.addr(), &mut payload).unwrap();
        self.post_buffer(at, BUFFERS + u64::from(at) * 4096, 4096);
        self.next_to_clean = (at + 1) % LEN;
        self.write((Arq, Tail), at);
        Some((desc, payload))
    }

    /// Sends one request and returns the status and payload of its reply.
    fn request(&mut self, opcode: u32, payload: &[u8]) -> (u32, Vec<u8>) {
        self.put(opcode, 0x1234, payload);
        self.ring();
        let (desc, reply) = self.receive().expect("an answer");
        assert_eq!(
            (desc.v_opcode_dtype.get(), desc.sw_cookie.get()),
            (opcode, 0x1234)
        );
        (desc.v_retval.get(), reply)
    }

    /// Sends a request with the descriptor `desc` and returns the reply's status.
    fn request_desc(&mut self, desc: &CtlqDesc) -> u32 {
        self.put_desc(desc);
        self.ring();
        self.receive().expect("an answer").0.v_retval.get()
    }
}

#[test]
fn a_request_is_answered_and_both_rings_go_on() {
    for layout in RegisterLayout::ALL {
        let mut driver = Driver::new(layout);
        // Three times around both rings.
        for n in 0..3 * LEN {
            assert_eq!(
                driver.request(op::VERSION, VERSION.as_bytes()),
                (0, VERSION.as_bytes().to_vec())
            );
            assert_eq!(driver.signalled, n + 1);
            assert_eq!(driver.read((Atq, Head)), (n + 1) % LEN);
            assert_eq!(driver.read((Arq, Head)), (n + 1) % LEN);
            let at = ATQ + u64::from(n % LEN) * 32;
            let sent: CtlqDesc = driver.memory().read_obj(at).unwrap();
            assert_ne!(sent.flags.get() & flags::DD, 0);
            assert_eq!((sent.flags.get() & flags::ERR, sent.ret_val.get()), (0, 0));
        }
        assert_eq!(driver.mailbox.counters().posted, u64::from(3 * LEN));
    }
}

#[test]
fn the_event_of_an_enabled_vport_comes_before_the_reply() {
    for layout in RegisterLayout::ALL {
        let mut driver = Driver::new(layout);
        assert_eq!(
            driver
                .request(op::CREATE_VPORT, CreateVport::default().as_bytes())
                .0,
            0
        );
        driver.put(op::ENABLE_VPORT, 7, Vport::default().as_bytes());
        driver.ring();
        let (event, payload) = driver.receive().unwrap();
        assert_eq!((event.v_opcode(), payload.len()), (op::EVENT, 16));
        let (reply, _) = driver.receive().unwrap();
        // DPDK discards messages without the opcode of a message to a driver.
        assert_eq!((event.opcode.get(), reply.opcode.get()), (0x0804, 0x0804));
        assert_eq!(
            (reply.v_opcode(), reply.sw_cookie.get()),
            (op::ENABLE_VPORT, 7)
        );
        // A link change is reported without a request.
        driver.control.link_changed(crate::ids::VportId(0));
        driver.serve();
        assert_eq!(driver.receive().unwrap().0.v_opcode(), op::EVENT);
        assert!(driver.receive().is_none());
    }
}

#[test]
fn without_buffers_requests_wait_and_nothing_is_lost() {
    for layout in RegisterLayout::ALL {
        let mut driver = Driver::new(layout);
        driver.write((Arq, Tail), 1);
        for cookie in 0..10 {
            driver.put(op::VERSION, cookie, VERSION.as_bytes());
        }
        driver.ring();
        // One reply is posted, one waits, the other requests have not been taken.
        assert_eq!(driver.read((Atq, Head)), 2);
        assert_eq!(
            (driver.read((Arq, Head)), driver.mailbox.backlog.len()),
            (1, 1)
        );
        driver.write((Arq, Tail), LEN - 1);
        let cookies: Vec<_> = std::iter::from_fn(|| driver.receive())
            .map(|(d, _)| d.sw_cookie.get())
            .collect();
        assert_eq!(cookies, (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn a_reset_leaves_nothing_behind() {
    for layout in RegisterLayout::ALL {
        let mut driver = Driver::new(layout);
        driver.write((Arq, Tail), 0);
        driver.put(op::VERSION, 1, VERSION.as_bytes());
        driver.ring();
        assert_eq!(driver.mailbox.backlog.len(), 1);
        driver.mailbox.reset();
        for &(_, _, register) in layout.mailbox() {
            assert_eq!(driver.mailbox.read(register), 0);
        }
        // The tail of the new ring is the zero from the reset, or old requests would be taken again.
        driver.set_up_rings();
        driver.serve();
        assert!(driver.receive().is_none());
        assert_eq!(driver.request(op::VERSION, VERSION.as_bytes()).0, 0);
    }
}

#[test]
fn a_driver_that_is_loaded_again_without_a_reset_has_an_empty_ring_of_requests() {
    for layout in RegisterLayout::ALL {
        let mut driver = Driver::new(layout);
        assert_eq!(driver.request(op::VERSION, VERSION.as_bytes()).0, 0);
        let before = *driver.mailbox.counters();
        let ring = [0; LEN as usize * 32];
        driver.memory().write(ATQ, &ring).unwrap();
        driver.next_to_send = 0;
        driver.write((Atq, Head), 0);
        driver.write((Atq, Bal), ATQ as u32);
        driver.write((Atq, Bah), 0);
        driver.write((Atq, Len), LEN | ENABLE_M);
        assert_eq!(driver.read((Atq, Tail)), 0);
        assert_eq!(*driver.mailbox.counters(), before);
        assert_eq!(driver.read((Arq, Tail)), 0, "the reposted buffer's");
        // The next buffer is the driver's second one.
        assert_eq!(driver.request(op::VERSION, VERSION.as_bytes()).0, 0);
    }
}

#[test]
fn a_tail_written_before_its_ring_is_enabled_counts() {
    for layout in RegisterLayout::ALL {
        let driver = Driver::new(layout);
        assert_eq!(driver.read((Arq, Tail)), LEN - 1);
        assert_eq!(driver.read((Arq, Len)), LEN | ENABLE_M);
    }
}

#[test]
fn bad_requests_are_answered_and_counted() {
    for layout in RegisterLayout::ALL {
        let mut driver = Driver::new(layout);
        let good = driver.put(op::VERSION, 9, VERSION.as_bytes());
        driver.ring();
        driver.receive().unwrap();
        let foreign = CtlqDesc {
            opcode: U16::new(0x0804),
            ..good
        };
        assert_eq!(driver.request_desc(&foreign), status::ERR_ESRCH);
        let long = CtlqDesc {
            datalen: U16::new(4097),
            ..good
        };
        assert_eq!(driver.request_desc(&long), status::ERR_EINVAL);
        let bare = CtlqDesc {
            flags: U16::new(0),
            ..good
        };
        assert_eq!(driver.request_desc(&bare), status::ERR_EINVAL);
        let mut outside = good;
        outside.set_addr(RAM + RAM_LEN - 4);
        assert_eq!(driver.request_desc(&outside), status::ERR_EIO);
        let empty = CtlqDesc {
            datalen: U16::new(0),
            flags: U16::new(0),
            ..good
        };
        assert_eq!(
            driver.request_desc(&empty),
            status::ERR_EINVAL,
            "VERSION has a payload"
        );
        let unknown = CtlqDesc {
            v_opcode_dtype: U32::new(0x0FFF_FFFF),
            ..good
        };
        assert_eq!(driver.request_desc(&unknown), status::ERR_ESRCH);
        let counters = driver.mailbox.counters();
        assert_eq!(
            (counters.bad_opcode, counters.too_long, counters.no_buffer),
            (1, 1, 1)
        );
        assert_eq!((counters.request_dma_faults, counters.ring_faults), (1, 0));
        assert_eq!(counters.requests, 7);
        assert_eq!(
            driver.request(op::VERSION, VERSION.as_bytes()).0,
            0,
            "it goes on"
        );
    }
}

#[test]
fn a_reply_that_does_not_fit_is_an_error_without_payload() {
    for layout in RegisterLayout::ALL {
        let mut driver = Driver::new(layout);
        driver.post_buffer(0, BUFFERS, 7);
        driver.post_buffer(1, RAM + RAM_LEN - 1, 4096);
        for expected in [(1, 0), (1, 1)] {
            driver.put(op::VERSION, 5, VERSION.as_bytes());
            driver.ring();
            let (desc, payload) = driver.receive().unwrap();
            assert_eq!(
                (desc.v_retval.get(), desc.sw_cookie.get()),
                (status::ERR_EIO, 5)
            );
            assert!(payload.is_empty());
            let counters = driver.mailbox.counters();
            assert_eq!(
                (counters.buffer_too_small, counters.post_dma_faults),
                expected
            );
        }
    }
}

#[test]
fn a_ring_that_cannot_be_used_is_stopped_and_reported() {
    for layout in RegisterLayout::ALL {
        let broken: [(&[(Name, u32)], Name); 5] = [
            (&[((Atq, Bal), 0x10), ((Atq, Tail), 1)], (Atq, Len)),
            (
                &[
                    ((Atq, Bah), 0xFFFF_FFFF),
                    ((Atq, Bal), 0xFFFF_FFF0),
                    ((Atq, Tail), 1),
                ],
                (Atq, Len),
            ),
            (&[((Atq, Tail), LEN)], (Atq, Len)),
            (&[((Atq, Head), 0x3FF), ((Atq, Tail), 1)], (Atq, Len)),
            (
                &[((Atq, Bal), ATQ as u32 + 4), ((Atq, Tail), 1)],
                (Atq, Len),
            ),
        ];
        for (writes, len) in broken {
            let mut driver = Driver::new(layout);
            driver.put(op::VERSION, 1, VERSION.as_bytes());
            for &(register, value) in writes {
                driver.write(register, value);
            }
            assert_eq!(driver.read(len), LEN | CRIT_M, "{writes:x?}");
            assert_eq!(driver.mailbox.counters().ring_faults, 1, "{writes:x?}");
            driver.write((Atq, Tail), 2);
            assert_eq!(
                driver.mailbox.counters().ring_faults,
                1,
                "a stopped ring is left alone"
            );
            // A new setup makes it work again.
            driver.mailbox.reset();
            driver.set_up_rings();
            assert_eq!(driver.request(op::VERSION, VERSION.as_bytes()).0, 0);
        }
        let mut driver = Driver::new(layout);
        driver.write((Atq, Len), ENABLE_M);
        assert_eq!(driver.read((Atq, Len)), CRIT_M, "no length");
        let mut driver = Driver::new(layout);
        driver.write((Arq, Bal), 0);
        driver.put(op::VERSION, 1, VERSION.as_bytes());
        driver.ring();
        assert_eq!(driver.read((Arq, Len)), LEN | CRIT_M);
    }
}

#[test]
fn registers_store_what_is_written_up_to_their_width() {
    let mut mailbox = Mailbox::new(RegisterLayout::Pf);
    for register in (pf::FW_BASE..pf::FW_END).step_by(4) {
        mailbox.write(register, 0x0FFF_FFFF);
    }
    assert_eq!(mailbox.read(pf::FW_ARQBAL), 0x0FFF_FFFF);
    assert_eq!(mailbox.read(pf::FW_ARQT), 0x1FFF);
    assert_eq!(mailbox.read(pf::FW_ATQT), 0x3FF);
    assert_eq!(mailbox.read(pf::FW_ATQLEN), 0x3FF);
    for stray in [0, pf::FW_BASE - 4, pf::FW_BASE + 1, pf::FW_END, u32::MAX] {
        assert_eq!(mailbox.write(stray, u32::MAX), MailboxEvent::None);
        assert_eq!(mailbox.read(stray), 0);
    }
}

#[test]
fn registers_of_a_vf_store_what_is_written_up_to_their_width() {
    let mut mailbox = Mailbox::new(RegisterLayout::Vf);
    for &(_, _, register) in RegisterLayout::Vf.mailbox() {
        mailbox.write(register, 0x0FFF_FFFF);
    }
    assert_eq!(mailbox.read(vf::ARQBAL), 0x0FFF_FFFF);
    assert_eq!(mailbox.read(vf::ARQT), 0x3FF);
    assert_eq!(mailbox.read(vf::ATQT), 0x3FF);
    assert_eq!(mailbox.read(vf::ATQLEN), 0x3FF);
    for stray in [0, vf::ARQBAH - 4, vf::ARQBAH + 1, vf::ATQT + 4, u32::MAX] {
        assert_eq!(mailbox.write(stray, u32::MAX), MailboxEvent::None);
        assert_eq!(mailbox.read(stray), 0);
    }
}

#[test]
fn a_vf_resets_itself_by_a_message_without_an_answer_and_a_pf_does_not() {
    let mut driver = Driver::new(RegisterLayout::Vf);
    driver.put(op::RESET_VF, 1, &[]);
    driver.ring();
    assert_eq!((driver.resets, driver.signalled), (1, 0));
    driver.mailbox.reset();
    driver.set_up_rings();
    assert_eq!(driver.request(op::VERSION, VERSION.as_bytes()).0, 0);
    let mut driver = Driver::new(RegisterLayout::Pf);
    assert_eq!(driver.request(op::RESET_VF, &[]).0, status::ERR_ESRCH);
    assert_eq!(driver.resets, 0);
}

proptest! {
    #[test]
    fn no_register_or_memory_content_breaks_it(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_mailbox(&data);
    }
}
