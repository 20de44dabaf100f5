// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernel flavours that the guest can boot.

use std::fmt;
use std::str::FromStr;

/// Debian's kernel, or one of the same source with debugging checks enabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flavour {
    /// Debian's, unmodified.
    #[default]
    Stock,
    /// With KASAN, lockdep, kmemleak, debug objects and more, and with IOMMUFD
    /// (`guest/debug-kernel/config`).
    Debug,
}

impl Flavour {
    /// Returns the factor by which operations may take longer than with the stock kernel.
    pub fn pace(self) -> u32 {
        match self {
            Self::Stock => 1,
            Self::Debug => 6,
        }
    }

    /// Returns the minimum memory in MiB that it requires for the tests. KASAN takes an eighth for
    /// its shadow, and quarantines freed objects for a while.
    pub fn memory_mib(self) -> u32 {
        match self {
            Self::Stock => 0,
            Self::Debug => 4096,
        }
    }

    /// Returns the arguments on its command line.
    ///
    /// no5lvl: until alternatives are patched, `pgtable_l5_enabled()` is a bit of the boot CPU's
    /// capabilities, which `identify_cpu()` (`arch/x86/kernel/cpu/common.c`) clears and detects
    /// again with interrupts enabled. KASAN uses it to compute the start of its shadow
    /// (`addr_has_metadata()`), so an interrupt in between appears to be at wild addresses; a slow
    /// emulator gets one.
    ///
    /// init_on_alloc, as in Debian: without it, programs found memory that was not cleared.
    pub fn kernel_args(self) -> &'static str {
        match self {
            Self::Stock => "",
            Self::Debug => {
                "no5lvl init_on_alloc=1 kasan_multi_shot preempt=full iommu.debug_pagealloc=1 \
                 watchdog_thresh=60"
            }
        }
    }

    /// Returns the arguments of make(1), for the kernel and for modules.
    pub(crate) fn make_args(self) -> &'static [&'static str] {
        match self {
            Self::Stock => &[],
            Self::Debug => &["CC=clang"],
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stock => "stock",
            Self::Debug => "debug",
        })
    }
}

impl FromStr for Flavour {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Stock, Self::Debug]
            .into_iter()
            .find(|flavour| flavour.to_string() == name)
            .ok_or_else(|| "there are `stock` and `debug`".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for flavour in [Flavour::Stock, Flavour::Debug] {
            assert_eq!(flavour.to_string().parse(), Ok(flavour));
        }
        assert!("Debug ".parse::<Flavour>().is_err());
    }
}
