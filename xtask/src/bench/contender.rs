// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The NICs that are compared.

use std::path::Path;

use adit_qemu_tests::nic::Nic;

use super::results::Column;

/// A NIC, in one configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contender {
    /// Its name in tables and figures.
    pub(crate) name: &'static str,
    /// Its index among the guest's NICs: that of the wire and the PCI slot.
    pub(crate) index: usize,
    /// `true` if the NIC is ours.
    pub(crate) ours: bool,
    /// `true` for receive coalescing in the device, which idpf leaves off; measured for streams to
    /// the guest only, as nothing else is coalesced.
    pub(crate) gro_hw: bool,
}

/// The contenders, in the order of the table.
pub(crate) const CONTENDERS: [Contender; 5] = [
    Contender::ours("adit", false),
    Contender::ours("adit gro-hw", true),
    Contender::peer("virtio-net", 1),
    Contender::peer("igb", 2),
    Contender::peer("e1000e", 3),
];

/// Number of NICs in the guest.
pub(crate) const NICS: usize = 4;

impl Contender {
    const fn ours(name: &'static str, gro_hw: bool) -> Self {
        Self {
            name,
            index: 0,
            ours: true,
            gro_hw,
        }
    }

    /// Returns its column in the table.
    pub(crate) const fn column(&self) -> Column {
        Column {
            name: self.name,
            ours: self.ours,
        }
    }

    const fn peer(name: &'static str, index: usize) -> Self {
        Self {
            name,
            index,
            ours: false,
            gro_hw: false,
        }
    }
}

/// Returns the NICs to boot with, in the order of [`Contender::index`].
pub(crate) fn nics(adit_nic: &Path) -> [Nic; NICS] {
    let model = |device: &str| Nic::Qemu {
        device: device.into(),
    };
    [
        Nic::Adit {
            binary: adit_nic.into(),
            args: Vec::new(),
        },
        model("virtio-net-pci"),
        model("igb"),
        model("e1000e"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_contender_has_a_nic() {
        let nics = nics(Path::new("adit-nic"));
        for it in CONTENDERS {
            assert_eq!(
                matches!(nics[it.index], Nic::Adit { .. }),
                it.ours,
                "{}",
                it.name
            );
        }
    }
}
