// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Data that the device does not interpret, but stores and returns: metadata of entries.

use prost::Message;
use tonic::Code;

use super::fault::{Fault, Result};
use crate::proto::v1::{
    self, action_profile_action_set::ActionSelectionMode, action_profile_action_set::SizeSemantics,
    table_action::Type,
};

/// The maximum size of an entry's metadata in bytes.
pub(crate) const MAX_METADATA: usize = 1000;

/// The data kept with a table entry, as a message that has only these fields.
#[derive(Clone, Default)]
pub(crate) struct Kept(v1::TableEntry);

/// Returns metadata, unless it is too long.
pub(crate) fn metadata(given: &[u8]) -> Result<Vec<u8>> {
    if given.len() > MAX_METADATA {
        return Err(Fault::new(
            Code::ResourceExhausted,
            format!(
                "metadata has {} bytes: {MAX_METADATA} are kept with an entry",
                given.len()
            ),
        ));
    }
    Ok(given.to_vec())
}

impl Kept {
    #[allow(deprecated, reason = "the standard still has controller_metadata")]
    pub(crate) fn of(given: &v1::TableEntry) -> Result<Kept> {
        let mut kept = v1::TableEntry {
            controller_metadata: given.controller_metadata,
            metadata: metadata(&given.metadata)?,
            ..Default::default()
        };
        let action = given.action.as_ref().and_then(|a| a.r#type.as_ref());
        if let Some(Type::ActionProfileActionSet(set)) = action {
            let (mode, size) = (set.action_selection_mode, set.size_semantics);
            if mode != ActionSelectionMode::DefaultModeDeterminedByActionSelector as i32
                || size != SizeSemantics::DefaultSizeDeterminedByActionSelector as i32
            {
                let said = v1::ActionProfileActionSet {
                    action_selection_mode: mode,
                    size_semantics: size,
                    ..Default::default()
                };
                kept.action = Some(v1::TableAction {
                    r#type: Some(Type::ActionProfileActionSet(said)),
                });
            }
        }
        Ok(Kept(kept))
    }

    /// Encodes the data; it is empty if there is none.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    /// Decodes the result of [`Kept::to_bytes`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Kept {
        match bytes {
            [] => Kept::default(),
            bytes => Kept(v1::TableEntry::decode(bytes).unwrap_or_default()),
        }
    }

    /// Restores the fields of an entry.
    #[allow(deprecated, reason = "the standard still has controller_metadata")]
    pub(crate) fn show(self, entry: &mut v1::TableEntry) {
        entry.controller_metadata = self.0.controller_metadata;
        entry.metadata = self.0.metadata;
        let set = |action: &mut v1::TableAction| match action.r#type.take() {
            Some(Type::ActionProfileActionSet(set)) => Some(set),
            other => {
                action.r#type = other;
                None
            }
        };
        let said = self.0.action.and_then(|mut action| set(&mut action));
        let shown = entry.action.as_mut().and_then(|a| a.r#type.as_mut());
        if let (Some(said), Some(Type::ActionProfileActionSet(shown))) = (said, shown) {
            shown.action_selection_mode = said.action_selection_mode;
            shown.size_semantics = said.size_semantics;
        }
    }
}
