// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages of the service, generated from `proto/`, where they are documented.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated; the file in proto/ has the documentation"
)]

tonic::include_proto!("adit.v1");
