// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The source of ADIs over VFIO.

use std::sync::Arc;

use adit_adi::VfioDevice;

use super::{failed, KeptAdis, VfioAdi};
use crate::backend::{Adi, AdiError, AdiSpec, KeptAdi, Provider};

/// The ADIs that `adit_vfio` offers in this system.
#[derive(Clone, Default)]
pub struct VfioProvider {
    kept: Option<Arc<KeptAdis>>,
}

impl VfioProvider {
    /// ADIs that stay open for a successor of this process.
    #[must_use]
    pub fn with_keeper(kept: KeptAdis) -> Self {
        let kept = Some(Arc::new(kept));
        Self { kept }
    }
}

impl Provider for VfioProvider {
    fn list(&self) -> Result<Vec<String>, AdiError> {
        adit_adi::list().map_err(|source| AdiError::Io {
            what: "listing ADIs",
            source,
        })
    }

    fn open(&self, name: &str) -> Result<Box<dyn Adi>, AdiError> {
        let device = VfioDevice::open(name).map_err(failed("opening an ADI"))?;
        let mut adi = VfioAdi::new(name, Box::new(device))?;
        if let Some(kept) = &self.kept {
            adi.keep(kept)?;
        }
        Ok(Box::new(adi))
    }

    fn create(&self, _: &AdiSpec) -> Result<Box<dyn Adi>, AdiError> {
        Err(AdiError::Limit {
            what: "creating an ADI",
            reason: "over VFIO, ADIs are created with `adit adi create` or devlink".into(),
        })
    }

    fn inherit(&self, adi: &KeptAdi, runs: bool) -> Result<Box<dyn Adi>, AdiError> {
        let Some(kept) = &self.kept else {
            return Err(AdiError::Gone);
        };
        let left = kept.take(adi).map_err(|source| AdiError::Io {
            what: "continuing with an ADI",
            source,
        });
        let inherited = left.and_then(|left| {
            let mut adi = VfioAdi::inherited(&adi.name, left.ok_or(AdiError::Gone)?)?;
            if !runs {
                adi.begin_anew()?;
            }
            Ok(adi)
        });
        match inherited {
            Ok(adi) => Ok(Box::new(adi)),
            Err(error) => {
                // It is closed, unless it is the predecessor's still.
                if !runs {
                    kept.forget(adi);
                }
                Err(error)
            }
        }
    }

    fn close(&self, adi: &KeptAdi) {
        if let Some(kept) = &self.kept {
            kept.forget(adi);
        }
    }

    fn close_left(&self) {
        if let Some(kept) = &self.kept {
            kept.forget_left();
        }
    }
}
