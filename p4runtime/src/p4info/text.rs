// SPDX-License-Identifier: Apache-2.0 OR MIT
//! P4Info in protobuf text format, as in `*.p4info.txtpb` files.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};

use crate::proto::{config::P4Info, DESCRIPTORS};

/// The name of the P4Info message.
const MESSAGE: &str = "p4.config.v1.P4Info";

/// The descriptors of all messages.
pub(crate) static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

/// The error for text that is not P4Info.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no P4Info: {0}")]
pub struct TextError(String);

impl TextError {
    fn of(error: impl ToString) -> TextError {
        TextError(error.to_string())
    }
}

fn dynamic() -> Result<DynamicMessage, TextError> {
    let message = POOL
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(MESSAGE));
    let message = message.ok_or_else(|| TextError::of("its description is missing"))?;
    Ok(DynamicMessage::new(message))
}

/// Formats P4Info as text.
pub fn to_text(info: &P4Info) -> Result<String, TextError> {
    let mut message = dynamic()?;
    message
        .merge(info.encode_to_vec().as_slice())
        .map_err(TextError::of)?;
    let options = prost_reflect::text_format::FormatOptions::new().pretty(true);
    let body = message.to_text_format_with_options(&options);
    Ok(format!(
        "# proto-file: p4/config/v1/p4info.proto\n# proto-message: {MESSAGE}\n\n{body}\n"
    ))
}

/// Parses P4Info from text.
pub fn from_text(text: &str) -> Result<P4Info, TextError> {
    let mut message = dynamic()?;
    message.merge_text_format(text).map_err(TextError::of)?;
    P4Info::decode(message.encode_to_vec().as_slice()).map_err(TextError::of)
}
