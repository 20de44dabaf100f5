// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Registers of a virtual function that is composed out of ADIs (8086:0dd5), in Intel's layout
//! (siov_regs.h in DPDK's base code, and the out-of-tree driver): a page for each doorbell and
//! vector.
//!
//! The mailbox is as that driver has it since 2024, with the ring to the driver first.

use super::RegArray;

/// Length of BAR0 in bytes.
pub const BAR0_LEN: u32 = 64 << 20;
/// Length of BAR3 in bytes, with the MSI-X table at 0 and the pending bits at [`BAR3_PBA`].
pub const BAR3_LEN: u32 = 16 << 10;
/// Offset of the pending bits in BAR3.
pub const BAR3_PBA: u32 = 0x2000;

/// Base address of the ring to the driver, bits 31:0.
pub const ARQBAL: u32 = 0x2_0000;
/// Base address of the ring to the driver, bits 63:32.
pub const ARQBAH: u32 = 0x2_0004;
/// Length and state of the ring to the driver.
pub const ARQLEN: u32 = 0x2_0008;
/// Head of the ring to the driver.
pub const ARQH: u32 = 0x2_000C;
/// Tail of the ring to the driver.
pub const ARQT: u32 = 0x2_0010;
/// Base address of the ring to the device, bits 31:0.
pub const ATQBAL: u32 = 0x2_0014;
/// Base address of the ring to the device, bits 63:32.
pub const ATQBAH: u32 = 0x2_0018;
/// Length and state of the ring to the device.
pub const ATQLEN: u32 = 0x2_001C;
/// Head of the ring to the device.
pub const ATQH: u32 = 0x2_0020;
/// Tail of the ring to the device.
pub const ATQT: u32 = 0x2_0024;

/// State of the function's reset, where the driver reads it.
pub const GEN_RSTAT: u32 = super::vf::GEN_RSTAT;
/// State of the function's reset, where the header has it.
pub const GEN_RSTAT_HEADER: u32 = 0x2_1000;
/// Interrupt causes of the mailbox's vector, enable bits.
pub const ICR_ENA: u32 = super::vf::INT_ICR0_ENA1;

/// Tails of transmit queues.
pub const QTX_TAIL: RegArray = RegArray {
    base: 0x110_0000,
    stride: 0x1000,
    count: 2048,
};
/// DYN_CTL of the mailbox's vector; its throttling registers follow.
pub const INT_DYN_CTL_MAILBOX: u32 = 0x210_0000;
/// DYN_CTL of the other vectors, each followed by its throttling registers.
pub const INT_DYN_CTL: RegArray = RegArray {
    base: 0x210_1000,
    stride: 0x1000,
    count: 2048,
};

const _: () = assert!(INT_DYN_CTL.end() <= BAR0_LEN as u64);
