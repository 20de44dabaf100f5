// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Composes a configuration space: identity, BARs and a chain of capabilities.

use thiserror::Error;

use super::{ConfigSpace, PciId, CONFIG_LEN, CONVENTIONAL_LEN, MAX_VECTORS};

/// The alignment of capabilities in bytes.
const ALIGN: usize = 0x20;
/// The offset of the first capability, after the header.
const FIRST: usize = 0x40;
/// The offset of the first extended capability.
const FIRST_EXTENDED: usize = 0x100;

/// A capability of a function (PCI Express Base 7.5.2 to 7.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// MSI-X.
    Msix {
        /// The number of vectors.
        vectors: u32,
        /// The BAR of the table and of the pending bits.
        bar: u8,
        /// The offset of the table in the BAR.
        table: u32,
        /// The offset of the pending bits in the BAR.
        pending: u32,
    },
    /// PCI Express, of an endpoint.
    Express {
        /// Set if the function can be reset by Device Control (FLR).
        function_level_reset: bool,
        /// Set if requests can carry prefixes (End-End TLP), which PASIDs are.
        prefixes: bool,
    },
    /// Power management: D0 and D3hot, without a reset in between and without PME.
    PowerManagement,
    /// Device Serial Number.
    SerialNumber(u64),
    /// PASIDs of this many bits.
    Pasid {
        /// The width of PASIDs in bits, at most 20.
        width: u8,
    },
    /// Address translation services, with page-aligned requests.
    Ats,
}

/// The reason why a configuration space cannot be composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The number of vectors is 0 or larger than MSI-X supports.
    #[error("{0} vectors: MSI-X has 1 to {MAX_VECTORS}")]
    Vectors(u32),
    /// The MSI-X table has no space for the vectors before the pending bits.
    #[error("{vectors} vectors: the layout has space for {most}")]
    TableVectors {
        /// The number of vectors.
        vectors: u32,
        /// The number for which there is space.
        most: u32,
    },
    /// The size of a BAR is not a power of two from 16 bytes on.
    #[error("BAR{index} has {len:#x} bytes: the size must be a power of two from 16 on")]
    BarLen {
        /// The BAR.
        index: u8,
        /// Its size in bytes.
        len: u64,
    },
    /// There is no such BAR, or no two registers for its address.
    #[error("BAR{0} cannot hold a 64-bit address: use 0 to 4")]
    BarIndex(u8),
    /// One of the two registers of a BAR is another BAR's.
    #[error("BAR{index} takes the registers {index} and {}, of which another BAR has one", index + 1)]
    BarOverlap {
        /// The BAR.
        index: u8,
    },
    /// A conventional space has an extended capability.
    #[error("a conventional configuration space has no extended capabilities: restrict it first")]
    Conventional,
    /// PASIDs have at most 20 bits.
    #[error("PASIDs of {0} bits: they have 1 to 20")]
    PasidWidth(u8),
    /// The capabilities do not fit.
    #[error("{0:?} does not fit into the configuration space")]
    NoSpace(Capability),
}

/// A configuration space under construction. Capabilities are chained in the order in which they
/// are added.
pub struct ConfigBuilder {
    bytes: Box<[u8; CONFIG_LEN]>,
    writable: Box<[u8; CONFIG_LEN]>,
    len: usize,
    device_control: Option<usize>,
    /// The offset of the byte with the next capability's offset, and that of the next one.
    link: usize,
    next: usize,
    /// The offset of the last extended capability, and that of the next one.
    last_extended: Option<usize>,
    next_extended: usize,
    error: Option<ConfigError>,
}

impl ConfigBuilder {
    /// A type-0 header of a function of class 02 00 01: an Ethernet controller with the IDPF
    /// programming interface. The subsystem's id is the vendor's, with device 1.
    #[must_use]
    pub fn new(id: PciId) -> Self {
        let mut b = Self {
            bytes: Box::new([0; CONFIG_LEN]),
            writable: Box::new([0; CONFIG_LEN]),
            len: CONFIG_LEN,
            device_control: None,
            link: 0x34,
            next: FIRST,
            last_extended: None,
            next_extended: FIRST_EXTENDED,
            error: None,
        };
        b.put16(0x00, id.vendor);
        b.put16(0x02, id.device);
        b.writable(0x04, &[0x46, 0x05]); // command: memory, bus master, parity, SERR, INTx off
        b.put16(0x06, 0x0010); // status: has capabilities
        b.writable(0x3C, &[0xFF]);
        let subsystem = PciId {
            vendor: id.vendor,
            device: 1,
        };
        b.class(0x02_0001).subsystem(subsystem)
    }

    /// Sets the class code: class, subclass and programming interface.
    #[must_use]
    pub fn class(mut self, class: u32) -> Self {
        self.put32(0x08, class << 8); // revision 0
        self
    }

    /// Sets the ids of the subsystem.
    #[must_use]
    pub fn subsystem(mut self, id: PciId) -> Self {
        self.put16(0x2C, id.vendor);
        self.put16(0x2E, id.device);
        self
    }

    /// Restricts the space to the 256 bytes of conventional PCI.
    #[must_use]
    pub fn conventional(mut self) -> Self {
        if self.last_extended.is_some() {
            return self.fail(ConfigError::Conventional);
        }
        self.len = CONVENTIONAL_LEN;
        self
    }

    /// Adds a 64-bit prefetchable memory BAR, which takes the register `index` and the one after it.
    #[must_use]
    pub fn bar64(mut self, index: u8, len: u64) -> Self {
        if index > 4 {
            return self.fail(ConfigError::BarIndex(index));
        }
        if !len.is_power_of_two() || len < 16 {
            return self.fail(ConfigError::BarLen { index, len });
        }
        let at = 0x10 + 4 * usize::from(index);
        if self.writable[at..at + 8].iter().any(|&mask| mask != 0) {
            return self.fail(ConfigError::BarOverlap { index });
        }
        self.put32(at, 0xC);
        // The address bits above its size are writable, which is also how software probes its size.
        self.writable(at, &(!(len - 1)).to_le_bytes());
        self
    }

    /// Adds a capability.
    #[must_use]
    pub fn capability(mut self, capability: Capability) -> Self {
        let len = match capability {
            Capability::Msix { .. } | Capability::SerialNumber(_) => 12,
            Capability::Express { .. } => 0x3C,
            Capability::PowerManagement | Capability::Pasid { .. } | Capability::Ats => 8,
        };
        let at = match capability {
            Capability::Msix { .. } | Capability::Express { .. } | Capability::PowerManagement => {
                self.chain(len)
            }
            Capability::SerialNumber(_) | Capability::Pasid { .. } | Capability::Ats => {
                self.chain_extended(len)
            }
        };
        match at {
            Some(at) => self.fill(at, capability),
            None => self.fail(ConfigError::NoSpace(capability)),
        }
    }

    /// Composes the space.
    ///
    /// # Errors
    /// When one of the parts is invalid or does not fit: the first such part.
    pub fn build(self) -> Result<ConfigSpace, ConfigError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(ConfigSpace {
                initial: self.bytes.clone(),
                bytes: self.bytes,
                writable: self.writable,
                len: self.len,
                device_control: self.device_control,
            }),
        }
    }

    /// The place of a capability of `len` bytes, linked into the chain.
    fn chain(&mut self, len: usize) -> Option<usize> {
        let at = self.next;
        if at + len > CONVENTIONAL_LEN {
            return None;
        }
        self.bytes[self.link] = at as u8; // below 256
        self.link = at + 1;
        self.next = (at + len).next_multiple_of(ALIGN);
        Some(at)
    }

    /// The place of an extended capability of `len` bytes, linked into the chain.
    fn chain_extended(&mut self, len: usize) -> Option<usize> {
        let at = self.next_extended;
        if at + len > self.len {
            return None;
        }
        if let Some(last) = self.last_extended {
            // Bits 31:20 of the header have the next one's offset.
            let link = (at as u16) << 4;
            self.bytes[last + 2] |= link as u8;
            self.bytes[last + 3] = (link >> 8) as u8;
        }
        self.last_extended = Some(at);
        self.next_extended = (at + len).next_multiple_of(ALIGN);
        Some(at)
    }

    fn fill(mut self, at: usize, capability: Capability) -> Self {
        match capability {
            Capability::Msix {
                vectors,
                bar,
                table,
                pending,
            } => {
                if !(1..=MAX_VECTORS).contains(&vectors) {
                    return self.fail(ConfigError::Vectors(vectors));
                }
                self.put8(at, 0x11);
                self.put16(at + 2, (vectors - 1) as u16);
                self.writable(at + 2, &[0x00, 0xC0]); // enable, function mask
                self.put32(at + 4, table | u32::from(bar));
                self.put32(at + 8, pending | u32::from(bar));
            }
            Capability::Express {
                function_level_reset,
                prefixes,
            } => {
                self.put8(at, 0x10);
                self.put16(at + 2, 0x0002); // version 2, endpoint
                let flr = u32::from(function_level_reset) << 28;
                self.put32(at + 4, flr | 1 << 15 | 1); // role-based errors, 256-byte payload
                self.writable(at + 8, &[0xFF, 0x7F]);
                self.device_control = function_level_reset.then_some(at + 8);
                // End-End TLP prefixes (2), completion timeouts.
                let prefixes = if prefixes { 1 << 21 | 2 << 22 } else { 0 };
                self.put32(at + 0x24, prefixes | 0x1F);
                self.writable(at + 0x28, &[0xFF, 0x80]);
            }
            Capability::PowerManagement => {
                self.put8(at, 0x01);
                self.put16(at + 2, 0x0003); // version 3
                self.put8(at + 4, 1 << 3); // No_Soft_Reset
                self.writable(at + 4, &[0x03]);
            }
            Capability::SerialNumber(number) => {
                self.put32(at, 0x0001_0003);
                self.put32(at + 4, number as u32);
                self.put32(at + 8, (number >> 32) as u32);
            }
            Capability::Pasid { width } => {
                if !(1..=20).contains(&width) {
                    return self.fail(ConfigError::PasidWidth(width));
                }
                self.put32(at, 0x0001_001B);
                self.put16(at + 4, u16::from(width) << 8);
                self.writable(at + 6, &[0x01]);
            }
            Capability::Ats => {
                self.put32(at, 0x0001_000F);
                self.put16(at + 4, 0x0020); // page-aligned requests
                self.writable(at + 6, &[0x1F, 0x80]);
            }
        }
        self
    }

    fn fail(mut self, error: ConfigError) -> Self {
        self.error.get_or_insert(error);
        self
    }

    fn put8(&mut self, at: usize, v: u8) {
        self.bytes[at] = v;
    }

    fn put16(&mut self, at: usize, v: u16) {
        self.bytes[at..at + 2].copy_from_slice(&v.to_le_bytes());
    }

    fn put32(&mut self, at: usize, v: u32) {
        self.bytes[at..at + 4].copy_from_slice(&v.to_le_bytes());
    }

    fn writable(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigEffect, DEFAULT_ID};
    use super::*;

    fn read32(c: &ConfigSpace, at: u64) -> u32 {
        let mut b = [0; 4];
        c.read(at, &mut b);
        u32::from_le_bytes(b)
    }

    const MSIX: Capability = Capability::Msix {
        vectors: 5,
        bar: 3,
        table: 0,
        pending: 0x2000,
    };

    #[test]
    fn a_composed_device_chooses_its_capabilities() {
        let mut c = ConfigBuilder::new(DEFAULT_ID)
            .bar64(0, 1 << 26)
            .bar64(3, 1 << 14)
            .capability(MSIX)
            .capability(Capability::PowerManagement)
            .capability(Capability::SerialNumber(0x0123_4567_89AB_CDEF))
            .capability(Capability::Ats)
            .build()
            .unwrap();
        assert_eq!(c.len(), CONFIG_LEN);
        assert_eq!(read32(&c, 0x34) & 0xFF, 0x40);
        assert_eq!((read32(&c, 0x40), read32(&c, 0x48)), (0x0004_6011, 0x2003));
        assert_eq!(read32(&c, 0x60), 0x0003_0001);
        c.write(0x64, &[0xFF; 4]);
        assert_eq!(read32(&c, 0x64), 0x0B, "D3hot, and the state is kept");
        assert_eq!(read32(&c, 0x100), 0x1201_0003);
        let serial = (read32(&c, 0x104), read32(&c, 0x108));
        assert_eq!(serial, (0x89AB_CDEF, 0x0123_4567));
        assert_eq!(read32(&c, 0x120), 0x0001_000F);
    }

    #[test]
    fn a_conventional_space_ends_at_256_bytes_and_no_reset_is_without_its_capability() {
        let id = "8086:0dd5".parse().unwrap();
        let mut c = ConfigBuilder::new(id)
            .class(0x02_0000)
            .conventional()
            .bar64(0, 1 << 26)
            .capability(MSIX)
            .build()
            .unwrap();
        assert_eq!((c.len(), read32(&c, 0)), (256, 0x0DD5_8086));
        assert_eq!(read32(&c, 8), 0x0200_0000);
        assert_eq!(read32(&c, 0x40) & 0xFF00, 0, "the only capability");
        assert_eq!(read32(&c, 256), u32::MAX);
        c.write(256, &[0xFF; 8]);
        for at in 0..256 {
            assert_eq!(c.write(at, &[0xFF]), ConfigEffect::None);
        }
    }

    #[test]
    fn invalid_parts_are_named() {
        let id = DEFAULT_ID;
        let error = |b: ConfigBuilder| b.build().err();
        let bar = |index, len| error(ConfigBuilder::new(id).bar64(index, len));
        assert_eq!(bar(5, 16), Some(ConfigError::BarIndex(5)));
        for len in [0, 8, 24] {
            assert_eq!(bar(0, len), Some(ConfigError::BarLen { index: 0, len }));
        }
        for (first, second) in [(0, 0), (0, 1), (1, 0)] {
            let both = ConfigBuilder::new(id).bar64(first, 16).bar64(second, 16);
            assert_eq!(error(both), Some(ConfigError::BarOverlap { index: second }));
        }
        let late = ConfigBuilder::new(id).capability(Capability::Ats);
        assert_eq!(error(late.conventional()), Some(ConfigError::Conventional));
        let one = |capability| error(ConfigBuilder::new(id).capability(capability));
        for vectors in [0, 2049] {
            let msix = Capability::Msix {
                vectors,
                bar: 2,
                table: 0,
                pending: 0x8000,
            };
            assert_eq!(one(msix), Some(ConfigError::Vectors(vectors)));
        }
        let wide = Capability::Pasid { width: 21 };
        assert_eq!(one(wide), Some(ConfigError::PasidWidth(21)));
        let conventional = ConfigBuilder::new(id).conventional();
        let ats = Capability::Ats;
        assert_eq!(
            error(conventional.capability(ats)),
            Some(ConfigError::NoSpace(ats))
        );
        let many = (0..10).fold(ConfigBuilder::new(id), |b, _| b.capability(MSIX));
        assert_eq!(error(many), Some(ConfigError::NoSpace(MSIX)));
    }
}
