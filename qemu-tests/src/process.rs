// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Processes besides QEMU that a guest requires.

use std::process::Child;

use anyhow::Result;

use crate::end::End;

/// A process besides QEMU.
#[derive(Debug)]
pub struct Process {
    /// Its name in reports.
    pub name: String,
    /// The name of its log in the run folder.
    pub log: String,
    /// nsenter(1) around it, which exits as it does.
    pub child: Child,
}

impl Process {
    /// Returns its end, if it has exited.
    pub fn ended(&mut self) -> Result<Option<End>> {
        Ok(self.child.try_wait()?.map(|status| End::ProcessDied {
            name: self.name.clone(),
            status,
            log: self.log.clone(),
        }))
    }
}
