// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The function's configuration space: its identity and its capabilities.
//!
//! One type-0 header and a chain of capabilities ([`ConfigBuilder`]). [`ConfigSpace::idpf`] has what
//! Linux needs to drive the function: MSI-X and PCI Express with function-level reset; and for ADIs
//! End-End TLP prefixes, PASID and ATS.

mod builder;

pub use builder::{Capability, ConfigBuilder, ConfigError};

use adit_uapi::regs::siov;

use crate::layout::RegisterLayout;

/// The size of an extended configuration space in bytes.
pub const CONFIG_LEN: usize = 4096;
/// The size of a configuration space of conventional PCI in bytes.
pub const CONVENTIONAL_LEN: usize = 256;
/// The size of BAR2 in bytes, with the MSI-X table and pending bits.
pub const BAR2_LEN: u64 = 0x1_0000;
/// The maximum number of vectors of MSI-X.
pub const MAX_VECTORS: u32 = 2048;
/// The default vendor and device id: the first of the ids that Red Hat reserves for experiments
/// without registration (QEMU, docs/specs/pci-ids.rst). Drivers find the function by its class.
pub const DEFAULT_ID: PciId = PciId {
    vendor: 0x1AF4,
    device: 0x10F0,
};

/// The vendor and device id that Intel's driver knows a composed device by.
pub const SIOV_ID: PciId = PciId {
    vendor: 0x8086,
    device: 0x0DD5,
};

const PBA_OFFSET: u32 = 0x8000;
/// The ids of the subsystem.
const SUBSYSTEM: std::ops::Range<usize> = 0x2C..0x30;
/// The length of an entry of the MSI-X table in bytes.
const MSIX_ENTRY_LEN: u32 = 16;
const DEVICE_CONTROL_FLR: u8 = 0x80;

/// A vendor and a device id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciId {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
}

impl std::fmt::Display for PciId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl std::str::FromStr for PciId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let digits = |s: &str| s.len() == 4 && s.bytes().all(|b| b.is_ascii_hexdigit());
        let hex = |s: &str| digits(s).then(|| u16::from_str_radix(s, 16).ok()).flatten();
        s.split_once(':')
            .and_then(|(v, d)| {
                Some(Self {
                    vendor: hex(v)?,
                    device: hex(d)?,
                })
            })
            .ok_or_else(|| format!("`{s}` is not VVVV:DDDD, two ids of four hexadecimal digits"))
            .and_then(|id: Self| match id.vendor {
                // Reads of a slot without a function return all ones.
                0 | 0xFFFF => Err(format!("`{s}`: vendor ids are from 0001 to fffe")),
                _ => Ok(id),
            })
    }
}

/// The bus, device and function number of a function, as its requests carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequesterId(pub u16);

impl std::str::FromStr for RequesterId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let number = |s: &str, digits: usize, max: u16| {
            let fits = s.len() == digits && s.bytes().all(|b| b.is_ascii_hexdigit());
            let value = fits.then(|| u16::from_str_radix(s, 16).ok()).flatten();
            value.filter(|&value| value <= max)
        };
        let parts = s.split_once(':').and_then(|(bus, rest)| {
            let (device, function) = rest.split_once('.')?;
            Some(number(bus, 2, 0xFF)? << 8 | number(device, 2, 31)? << 3 | number(function, 1, 7)?)
        });
        parts.map(Self).ok_or_else(|| {
            format!("`{s}` is not BB:DD.F, bus, device and function as lspci has them")
        })
    }
}

/// The action that a write to the configuration space requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigEffect {
    /// Nothing beyond the space itself.
    None,
    /// A function-level reset.
    FunctionLevelReset,
}

/// The configuration space, and the mask of the bits that software may write.
pub struct ConfigSpace {
    bytes: Box<[u8; CONFIG_LEN]>,
    writable: Box<[u8; CONFIG_LEN]>,
    initial: Box<[u8; CONFIG_LEN]>,
    /// The size in bytes; the rest of the arrays is not accessible.
    len: usize,
    /// The offset of Device Control, if it can reset the function.
    device_control: Option<usize>,
}

impl ConfigSpace {
    /// The space of an IDPF function with `vectors` vectors, whose BAR0 has the registers and whose
    /// BAR2 has the MSI-X table. It supports PASIDs if the layout of the registers has space for
    /// ADIs.
    ///
    /// # Errors
    /// When MSI-X does not support that many vectors.
    pub fn idpf(id: PciId, vectors: u32, layout: RegisterLayout) -> Result<Self, ConfigError> {
        let space = Self::express(id, vectors, layout);
        let space = match layout.has_adis() {
            true => space
                .capability(Capability::Pasid { width: 20 })
                .capability(Capability::Ats),
            false => space,
        };
        space.build()
    }

    /// The part that functions with PCI Express have in common: BAR0, and MSI-X with its table in
    /// BAR2.
    fn express(id: PciId, vectors: u32, layout: RegisterLayout) -> ConfigBuilder {
        ConfigBuilder::new(id)
            .bar64(0, layout.bar0_len())
            .bar64(2, BAR2_LEN)
            .capability(Capability::Msix {
                vectors,
                bar: 2,
                table: 0,
                pending: PBA_OFFSET,
            })
            .capability(Capability::Express {
                function_level_reset: true,
                prefixes: layout.has_adis(),
            })
    }

    /// The space of a device composed out of ADIs, with `vectors` vectors. It has the class, the
    /// BARs and the capabilities that the drivers of its layout know: in that of a VF, MSI-X,
    /// PCI Express with function-level reset, power management and a serial number; in Intel's only
    /// MSI-X, in 256 bytes.
    ///
    /// # Errors
    /// When the MSI-X table has no space for that many vectors.
    pub fn composed(
        id: PciId,
        vectors: u32,
        layout: RegisterLayout,
        serial: u64,
    ) -> Result<Self, ConfigError> {
        let RegisterLayout::Siov(_) = layout else {
            return Self::express(id, vectors, layout)
                .capability(Capability::PowerManagement)
                .capability(Capability::SerialNumber(serial))
                .build();
        };
        let most = siov::BAR3_PBA / MSIX_ENTRY_LEN;
        if vectors > most {
            return Err(ConfigError::TableVectors { vectors, most });
        }
        ConfigBuilder::new(id)
            .bar64(0, layout.bar0_len())
            .class(0x02_0000)
            .subsystem(PciId { device: 0, ..id })
            .conventional()
            .bar64(3, siov::BAR3_LEN.into())
            .capability(Capability::Msix {
                vectors,
                bar: 3,
                table: 0,
                pending: siov::BAR3_PBA,
            })
            .build()
    }

    /// The size of the space in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a space is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Reads; bytes outside of the space read as ones.
    pub fn read(&self, offset: u64, buf: &mut [u8]) {
        for (i, byte) in buf.iter_mut().enumerate() {
            let at = usize::try_from(offset).ok().and_then(|o| o.checked_add(i));
            *byte = at
                .and_then(|at| self.bytes[..self.len].get(at))
                .copied()
                .unwrap_or(0xFF);
        }
    }

    /// Writes the writable bits; the others are ignored, as PCI requires.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> ConfigEffect {
        let mut effect = ConfigEffect::None;
        for (i, &value) in data.iter().enumerate() {
            let Some(at) = usize::try_from(offset).ok().and_then(|o| o.checked_add(i)) else {
                break;
            };
            let Some(byte) = self.bytes[..self.len].get_mut(at) else {
                break;
            };
            let mask = self.writable[at];
            *byte = (*byte & !mask) | (value & mask);
            let control = self.device_control.is_some_and(|control| at == control + 1);
            if control && value & DEVICE_CONTROL_FLR != 0 {
                effect = ConfigEffect::FunctionLevelReset;
            }
        }
        effect
    }

    /// The content of the space.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.bytes[..self.len].to_vec()
    }

    /// Returns the offset of the first byte in which another space differs that this one cannot take
    /// over: its length, or a bit that software cannot write. The subsystem's ids may differ: no driver
    /// depends on them, and those of composed devices have not always been the present ones.
    #[must_use]
    pub fn difference(&self, saved: &[u8]) -> Option<usize> {
        if saved.len() != self.len {
            return Some(saved.len().min(self.len));
        }
        let own = self.initial.iter().zip(&self.writable[..]);
        let mut bytes = own.zip(saved).enumerate();
        bytes.find_map(|(at, ((own, mask), saved))| {
            let differs = (own ^ saved) & !mask != 0 && !SUBSYSTEM.contains(&at);
            differs.then_some(at)
        })
    }

    /// Takes over the content of a space without a [difference](Self::difference). Bits that
    /// software cannot write are kept.
    pub fn restore(&mut self, saved: &[u8]) {
        let own = self.bytes[..self.len].iter_mut().zip(&self.writable[..]);
        for ((byte, mask), saved) in own.zip(saved) {
            *byte = (*byte & !mask) | (saved & mask);
        }
    }

    /// Restores the state after power-on.
    pub fn reset(&mut self) {
        self.bytes.copy_from_slice(&self.initial[..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Frames;

    const DEVICE_CONTROL: usize = 0x68;

    fn read32(c: &ConfigSpace, at: u64) -> u32 {
        let mut b = [0; 4];
        c.read(at, &mut b);
        u32::from_le_bytes(b)
    }

    #[test]
    fn it_is_an_idpf_by_class_and_its_bars_report_their_sizes() {
        let mut c = ConfigSpace::idpf(DEFAULT_ID, 18, RegisterLayout::Pf).unwrap();
        assert_eq!(read32(&c, 8) >> 8, 0x02_0001);
        c.write(0x10, &[0xFF; 16]);
        assert_eq!(read32(&c, 0x10), 0xC000_000C);
        assert_eq!(read32(&c, 0x14), 0xFFFF_FFFF);
        assert_eq!(read32(&c, 0x18), 0xFFFF_000C);
        c.reset();
        assert_eq!(read32(&c, 0x10), 0xC);
    }

    #[test]
    fn capabilities_chain_and_only_what_may_be_written_is() {
        let mut c = ConfigSpace::idpf(DEFAULT_ID, 18, RegisterLayout::Pf).unwrap();
        assert_eq!(read32(&c, 0x40), 0x0011_6011);
        assert_eq!(read32(&c, 0x60) & 0xFFFF, 0x10);
        assert_eq!(read32(&c, 0x100), 0x1201_001B);
        assert_eq!(read32(&c, 0x120), 0x0001_000F);
        let before = read32(&c, 0);
        assert_eq!(c.write(0, &[0; 4]), ConfigEffect::None);
        assert_eq!(read32(&c, 0), before);
        c.write(0x42, &[0xFF, 0xFF]);
        assert_eq!(read32(&c, 0x40) >> 16, 0xC011);
    }

    #[test]
    fn without_space_for_adis_there_are_no_pasids() {
        let vf = ConfigSpace::idpf(DEFAULT_ID, 18, RegisterLayout::Vf).unwrap();
        assert_eq!(read32(&vf, 0x100), 0, "no extended capability");
        let prefixes = 1 << 21;
        assert_eq!(read32(&vf, 0x84) & prefixes, 0);
        let pf = ConfigSpace::idpf(DEFAULT_ID, 18, RegisterLayout::Pf).unwrap();
        assert_eq!(read32(&pf, 0x84) & prefixes, prefixes);
        for at in (0x40..0x68).step_by(4) {
            assert_eq!(read32(&vf, at), read32(&pf, at), "{at:#x}");
        }
    }

    #[test]
    fn composed_devices_have_the_capabilities_of_their_layouts() {
        let frames = Frames {
            adis: 1,
            rx_queues: 1,
            pairs: 1,
            vectors: 1,
        };
        let serial = 0x0200_00FF_FE00_0001;
        let vf = RegisterLayout::ComposedVf(frames);
        let mut vf = ConfigSpace::composed(DEFAULT_ID, 3, vf, serial).unwrap();
        assert_eq!((vf.len(), read32(&vf, 8) >> 8), (CONFIG_LEN, 0x02_0001));
        let ids = [0x40, 0x60, 0xA0].map(|at| read32(&vf, at) & 0xFF);
        assert_eq!(ids, [0x11, 0x10, 0x01]);
        assert_eq!(read32(&vf, 0x100), 0x0001_0003);
        assert_eq!(read32(&vf, 0x108), (serial >> 32) as u32);
        vf.write(0x10, &[0xFF; 16]);
        assert_eq!(
            (read32(&vf, 0x10), read32(&vf, 0x18)),
            (0xFC00_000C, 0xFFFF_000C)
        );

        let siov = RegisterLayout::Siov(frames);
        let mut c = ConfigSpace::composed(SIOV_ID, 3, siov, serial).unwrap();
        assert_eq!((c.len(), read32(&c, 0)), (256, 0x0DD5_8086));
        assert_eq!(
            (read32(&c, 8) >> 8, read32(&c, 0x40)),
            (0x02_0000, 0x0002_0011)
        );
        assert_eq!((read32(&c, 0x44), read32(&c, 0x48)), (3, 0x2003));
        assert_eq!(read32(&c, 0x2C), 0x8086, "the subsystem: 8086:0000");
        c.write(0x1C, &[0xFF; 4]);
        assert_eq!(read32(&c, 0x1C), 0xFFFF_C00C);
        let mut saved = c.save();
        saved[0x2E] = 1;
        assert_eq!(c.difference(&saved), None, "a state of an earlier build");
        c.restore(&saved);
        assert_eq!(read32(&c, 0x2C), 0x8086, "it is kept");
        saved[0x30] ^= 1;
        assert_eq!(c.difference(&saved), Some(0x30));
        let many = ConfigSpace::composed(SIOV_ID, 513, siov, serial).err();
        let (vectors, most) = (513, 512);
        assert_eq!(many, Some(ConfigError::TableVectors { vectors, most }));
    }

    #[test]
    fn a_function_level_reset_is_requested_in_device_control() {
        let mut c = ConfigSpace::idpf(DEFAULT_ID, 1, RegisterLayout::Pf).unwrap();
        let flr = ConfigEffect::FunctionLevelReset;
        assert_eq!(c.write(DEVICE_CONTROL as u64, &[0, 0x80]), flr);
        assert_eq!(c.write(DEVICE_CONTROL as u64 + 1, &[0x80]), flr);
        assert_eq!(
            read32(&c, DEVICE_CONTROL as u64) & 0x8000,
            0,
            "it reads as zero"
        );
        assert_eq!(
            c.write(DEVICE_CONTROL as u64, &[0x80, 0]),
            ConfigEffect::None
        );
    }

    #[test]
    fn accesses_outside_are_ones_or_nothing() {
        let mut c = ConfigSpace::idpf(DEFAULT_ID, 1, RegisterLayout::Pf).unwrap();
        let mut b = [0; 4];
        c.read(CONFIG_LEN as u64 - 2, &mut b);
        assert_eq!(b, [0, 0, 0xFF, 0xFF]);
        c.read(u64::MAX, &mut b);
        assert_eq!(b, [0xFF; 4]);
        c.write(u64::MAX, &[1, 2]);
        c.write(CONFIG_LEN as u64, &[1]);
    }

    #[test]
    fn a_requester_is_bus_device_and_function() {
        assert_eq!("00:05.0".parse(), Ok(RequesterId(0x28)));
        assert_eq!("ff:1f.7".parse(), Ok(RequesterId(0xFFFF)));
        for bad in ["", "5", "00:20.0", "00:05.8", "0:05.0", "00:05", "00:+5.0"] {
            assert!(bad.parse::<RequesterId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_two_times_four_digits() {
        assert_eq!(
            "8086:1452".parse(),
            Ok(PciId {
                vendor: 0x8086,
                device: 0x1452
            })
        );
        for bad in [
            "",
            "8086",
            "8086:",
            "80861452",
            "808:1452",
            "+086:1452",
            "8086:1452:",
        ] {
            assert!(bad.parse::<PciId>().is_err(), "{bad}");
        }
    }
}
