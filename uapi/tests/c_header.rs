// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Checks that `include/uapi/linux/adit.h` is the same interface as `uapi/src/vfio/`: a C compiler
//! compares sizes, offsets and numbers with those of this crate.

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::{Command, Stdio};

use adit_uapi::vfio::{
    adi_state, irq, memory_flags, op, region, AdiInfo, Group, GroupMember, MailboxReply,
    MailboxRequest, PageEntry, PagesFd, RegisterMemory, DOORBELLS_PER_PAIR, GROUP, INFO_MAGIC,
    INFO_VERSION, MAX_GROUP, MAX_PAGES, MAX_PAGES_FDS, MAX_PAYLOAD_LEN, NUM_IRQS, NUM_REGIONS,
    PAGES_FD,
};
use adit_uapi::virtchnl2::adi::{
    self, doorbell_flags, fault_flags, fault_reason, queue_state_flags, vector_state_flags,
    AdiFault, AdiLogRange, AdiLogWord, AdiQueueState, AdiQueueStates, AdiVectorState,
    AdiVectorStates, ConfigAdiDoorbells, ReadAdiLog, StartAdiLog, StopAdiLog, SuspendAdi,
    MAX_LOG_RANGES, MAX_LOG_WORDS, MIN_LOG_PAGE,
};

/// Writes C assertions that a struct has the same size and field offsets as in Rust.
macro_rules! same_layout {
    ($out:ident, $rust:ident = $c:literal { $($field:ident),* $(,)? }) => {
        writeln!($out, "_Static_assert(sizeof(struct {}) == {}, \"{}\");",
            $c, size_of::<$rust>(), $c).unwrap();
        // A name that is a keyword in Rust ends in `_` there.
        $(writeln!($out, "_Static_assert(offsetof(struct {}, {f}) == {}, \"{}.{f}\");",
            $c, offset_of!($rust, $field), $c, f = stringify!($field).trim_end_matches('_'))
            .unwrap();)*
        // Every field is listed above: the pattern does not compile if one is missing.
        let $rust { $($field: _),* } = $rust::default();
    };
}

fn layouts() -> String {
    let mut c = String::new();
    same_layout!(c, AdiInfo = "adit_adi_info" {
        magic, version, len, device_adi_id, state, mac, vlan, num_queue_pairs, num_vectors, max_mtu,
        max_ring_len, ring_len_multiple, ring_align, max_payload_len, max_registrations,
        asleep_offset, kick_offset, pad, max_registered_len, iova_first,
        iova_last, dma_iova, dma_len, faults, reserved,
    });
    same_layout!(c, MailboxRequest = "adit_mailbox_request" {
        opcode, payload_len, cookie, reserved,
    });
    same_layout!(c, MailboxReply = "adit_mailbox_reply" {
        opcode, payload_len, cookie, status, reserved,
    });
    same_layout!(c, RegisterMemory = "adit_register_memory" { iova, len, flags, reserved });
    same_layout!(c, AdiFault = "adit_adi_fault" {
        adi_id, flags, reason, count, queue_type, queue_id, address, len, pasid, reserved,
    });
    same_layout!(c, ConfigAdiDoorbells = "adit_config_adi_doorbells" { adi_id, flags });
    same_layout!(c, SuspendAdi = "adit_suspend_adi" { adi_id, pad });
    same_layout!(c, AdiQueueStates = "adit_queue_states" {
        adi_id, num_states, type_, start_queue_id, reserved,
    });
    same_layout!(c, AdiQueueState = "adit_queue_state" { next, flags, reserved });
    same_layout!(c, AdiVectorStates = "adit_vector_states" {
        adi_id, num_states, start_vector_id, reserved,
    });
    same_layout!(c, AdiVectorState = "adit_vector_state" { flags, reserved });
    same_layout!(c, StartAdiLog = "adit_start_log" { adi_id, num_ranges, pad, page_size });
    same_layout!(c, AdiLogRange = "adit_log_range" { iova, len });
    same_layout!(c, StopAdiLog = "adit_stop_log" { adi_id, pad });
    same_layout!(c, ReadAdiLog = "adit_read_log" { adi_id, num_words, page_shift, iova, len });
    same_layout!(c, AdiLogWord = "adit_log_word" { iova, written });
    same_layout!(c, PagesFd = "adit_pages_fd" { argsz, flags, count, reserved });
    same_layout!(c, PageEntry = "adit_page_entry" { source_fd, region, page, reserved });
    same_layout!(c, Group = "adit_group" { argsz, flags, count, reserved });
    same_layout!(c, GroupMember = "adit_group_member" { device_fd, device_adi_id });
    c
}

fn numbers() -> String {
    let numbers: &[(&str, u64)] = &[
        ("ADIT_REGION_INFO", region::INFO.into()),
        ("ADIT_REGION_DOORBELLS", region::DOORBELLS.into()),
        ("ADIT_REGION_INTERRUPTS", region::INTERRUPTS.into()),
        ("ADIT_REGION_KICK", region::KICK.into()),
        ("ADIT_REGION_MAILBOX", region::MAILBOX.into()),
        ("ADIT_REGION_DMA", region::DMA.into()),
        ("ADIT_NUM_REGIONS", NUM_REGIONS.into()),
        ("ADIT_IRQ_VECTORS", irq::VECTORS.into()),
        ("ADIT_IRQ_REQUEST", irq::REQUEST.into()),
        ("ADIT_IRQ_FAULT", irq::FAULT.into()),
        ("ADIT_NUM_IRQS", NUM_IRQS.into()),
        ("ADIT_DOORBELLS_PER_PAIR", DOORBELLS_PER_PAIR.into()),
        ("ADIT_INFO_MAGIC", INFO_MAGIC.into()),
        ("ADIT_INFO_VERSION", INFO_VERSION.into()),
        ("ADIT_STATE_ACTIVE", adi_state::ACTIVE.into()),
        ("ADIT_STATE_DEAD", adi_state::DEAD.into()),
        ("ADIT_OP_REGISTER_MEMORY", op::REGISTER_MEMORY.into()),
        ("ADIT_OP_UNREGISTER_MEMORY", op::UNREGISTER_MEMORY.into()),
        ("ADIT_OP_GET_ADI_FAULT", adi::op::GET_ADI_FAULT.into()),
        (
            "ADIT_OP_CONFIG_ADI_DOORBELLS",
            adi::op::CONFIG_ADI_DOORBELLS.into(),
        ),
        ("ADIT_OP_SUSPEND_ADI", adi::op::SUSPEND_ADI.into()),
        ("ADIT_OP_RESUME_ADI", adi::op::RESUME_ADI.into()),
        (
            "ADIT_OP_GET_ADI_QUEUE_STATE",
            adi::op::GET_ADI_QUEUE_STATE.into(),
        ),
        (
            "ADIT_OP_SET_ADI_QUEUE_STATE",
            adi::op::SET_ADI_QUEUE_STATE.into(),
        ),
        (
            "ADIT_OP_GET_ADI_VECTOR_STATE",
            adi::op::GET_ADI_VECTOR_STATE.into(),
        ),
        (
            "ADIT_OP_SET_ADI_VECTOR_STATE",
            adi::op::SET_ADI_VECTOR_STATE.into(),
        ),
        ("ADIT_OP_START_ADI_LOG", adi::op::START_ADI_LOG.into()),
        ("ADIT_OP_STOP_ADI_LOG", adi::op::STOP_ADI_LOG.into()),
        ("ADIT_OP_READ_ADI_LOG", adi::op::READ_ADI_LOG.into()),
        ("ADIT_MAX_LOG_RANGES", MAX_LOG_RANGES.into()),
        ("ADIT_MAX_LOG_WORDS", MAX_LOG_WORDS.into()),
        ("ADIT_MIN_LOG_PAGE", MIN_LOG_PAGE),
        ("ADIT_QUEUE_ENABLED", queue_state_flags::ENABLED.into()),
        (
            "ADIT_QUEUE_GENERATION",
            queue_state_flags::GENERATION.into(),
        ),
        ("ADIT_QUEUE_STOPPED", queue_state_flags::STOPPED.into()),
        ("ADIT_VECTOR_PENDING", vector_state_flags::PENDING.into()),
        ("ADIT_DOORBELLS_NO_KICK", doorbell_flags::NO_KICK.into()),
        ("ADIT_MAX_PAYLOAD_LEN", MAX_PAYLOAD_LEN as u64),
        ("ADIT_MEMORY_READ", memory_flags::READ.into()),
        ("ADIT_MEMORY_WRITE", memory_flags::WRITE.into()),
        ("ADIT_MEMORY_KEEP_QUEUES", memory_flags::KEEP_QUEUES.into()),
        ("ADIT_FAULT_NONE", fault_reason::NONE.into()),
        ("ADIT_FAULT_NOT_MAPPED", fault_reason::NOT_MAPPED.into()),
        ("ADIT_FAULT_PERMISSION", fault_reason::PERMISSION.into()),
        ("ADIT_FAULT_ALIGNMENT", fault_reason::ALIGNMENT.into()),
        ("ADIT_FAULT_PASID", fault_reason::PASID.into()),
        ("ADIT_FAULT_TABLES", fault_reason::TABLES.into()),
        ("ADIT_FAULT_DESCRIPTOR", fault_reason::DESCRIPTOR.into()),
        ("ADIT_FAULT_TAIL", fault_reason::TAIL.into()),
        (
            "ADIT_FAULT_NO_COMPLETION_QUEUE",
            fault_reason::NO_COMPLETION_QUEUE.into(),
        ),
        ("ADIT_FAULT_CLEAR", fault_flags::CLEAR.into()),
        ("ADIT_FAULT_WRITE", fault_flags::WRITE.into()),
        ("ADIT_PAGES_FD", PAGES_FD.into()),
        ("ADIT_MAX_PAGES", MAX_PAGES.into()),
        ("ADIT_MAX_PAGES_FDS", MAX_PAGES_FDS.into()),
        ("ADIT_GROUP", GROUP.into()),
        ("ADIT_MAX_GROUP", MAX_GROUP.into()),
    ];
    numbers
        .iter()
        .map(|(name, value)| format!("_Static_assert({name} == {value}u, \"{name}\");\n"))
        .collect()
}

/// Returns the C compiler's messages about `source`; empty when it compiles.
fn compile(source: &str) -> String {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/uapi");
    let mut cc = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Werror", "-fsyntax-only", "-I"])
        .arg(include)
        .args(["-x", "c", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a C compiler (cc), which linking needs too");
    let mut stdin = cc.stdin.take().unwrap();
    stdin.write_all(source.as_bytes()).unwrap();
    drop(stdin);
    let out = cc.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.success(), errors.is_empty(), "{errors}");
    errors
}

#[test]
fn the_c_header_says_the_same() {
    let source = format!(
        "#include <stddef.h>\n#include <linux/adit.h>\n{}{}",
        layouts(),
        numbers()
    );
    assert_eq!(compile(&source), "");
}

#[test]
fn the_comparison_can_fail() {
    let errors =
        compile("#include <linux/adit.h>\n_Static_assert(ADIT_NUM_IRQS == 99u, \"99\");\n");
    assert!(errors.contains("99"), "{errors}");
}
