// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The source of ADIs that the command line chooses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

#[cfg(feature = "embedded")]
use adit_nic::runtime::Setup;
use adit_vdcm::backend::Provider;
use adit_vdcm::config::Config;
#[cfg(feature = "embedded")]
use adit_vdcm::embedded::EmbeddedNic;
use adit_vfio_user::StopHandle;
#[cfg(feature = "embedded")]
use anyhow::Context;

use crate::args::Args;
use crate::succession::Succession;

/// A source of ADIs, and its failure.
pub(crate) struct Backend {
    pub(crate) provider: Arc<dyn Provider>,
    /// Set once the ADIs are gone with the embedded NIC.
    ended: Arc<AtomicBool>,
    #[cfg(feature = "embedded")]
    pub(crate) nic: Option<Embedded>,
}

/// The embedded NIC, and its options.
#[cfg(feature = "embedded")]
pub(crate) struct Embedded {
    pub(crate) nic: Arc<EmbeddedNic>,
    setup: Setup,
    succession: Succession,
}

impl Backend {
    /// Makes the embedded NIC, if there is one, which does not run yet. Otherwise the ADIs are those
    /// over VFIO, which outlive the process under a keeper, with `notes` of its predecessor.
    pub(crate) fn prepare(
        args: &Args,
        config: &Config,
        succession: Succession,
        notes: Option<&BTreeMap<String, String>>,
    ) -> anyhow::Result<Self> {
        let ended = Arc::<AtomicBool>::default();
        #[cfg(feature = "embedded")]
        if args.embedded.embedded {
            let nic = embedded(args, config, succession)?;
            return Ok(Self {
                provider: nic.nic.clone(),
                ended,
                nic: Some(nic),
            });
        }
        let _ = (args, config);
        Ok(Self {
            provider: over_vfio(&succession, notes)?,
            ended,
            #[cfg(feature = "embedded")]
            nic: None,
        })
    }

    /// Starts the embedded NIC, if there is one; `stop` is used when its engine ends.
    pub(crate) fn run(&self, stop: &StopHandle) -> anyhow::Result<()> {
        #[cfg(feature = "embedded")]
        if let Some(embedded) = &self.nic {
            let at_end = {
                let (ended, stop) = (self.ended.clone(), stop.clone());
                move || {
                    ended.store(true, Ordering::Release);
                    stop.stop();
                }
            };
            let nic = embedded.nic.nic();
            let ran = nic.run(&embedded.setup, &embedded.succession, at_end);
            return ran.context("the embedded NIC");
        }
        let _ = stop;
        Ok(())
    }

    /// Checks that the ADIs are still there.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.ended.load(Ordering::Acquire) {
            anyhow::bail!("the engine of the embedded NIC has ended: all devices are gone");
        }
        Ok(())
    }
}

#[cfg(feature = "embedded")]
fn embedded(args: &Args, config: &Config, succession: Succession) -> anyhow::Result<Embedded> {
    use adit_function::control::AdiLimits;
    use adit_uapi::regs::adi::{MAX_ADIS, MAX_QUEUE_PAIRS};
    use adit_vdcm::protocol::MAX_ADIS as ADIS_OF_A_DEVICE;

    let adis = config.max_devices.saturating_mul(ADIS_OF_A_DEVICE);
    let limits = AdiLimits {
        adis: u32::try_from(adis).map_or(MAX_ADIS, |adis| adis.min(MAX_ADIS)),
        pairs: MAX_QUEUE_PAIRS,
    };
    let setup = args.embedded.nic.clone().setup();
    let nic = adit_nic::embedded::Nic::prepare(&setup, limits, &succession);
    let nic = EmbeddedNic::new(nic.context("the embedded NIC")?);
    Ok(Embedded {
        nic: Arc::new(nic),
        setup,
        succession,
    })
}

#[cfg(feature = "vfio")]
fn over_vfio(
    succession: &Succession,
    notes: Option<&BTreeMap<String, String>>,
) -> anyhow::Result<Arc<dyn Provider>> {
    use adit_vdcm::vfio::{KeptAdis, VfioProvider};

    let kept = notes.map(|notes| KeptAdis::new(succession.store.clone(), notes));
    let provider = kept.map_or_else(VfioProvider::default, VfioProvider::with_keeper);
    Ok(Arc::new(provider))
}

#[cfg(not(feature = "vfio"))]
fn over_vfio(
    _: &Succession,
    _: Option<&BTreeMap<String, String>>,
) -> anyhow::Result<Arc<dyn Provider>> {
    anyhow::bail!("this daemon was built without ADIs over VFIO: use --embedded")
}
