// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The answers of a function in reset, which the relay gives while there is no worker.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::message::Reply;
use super::record::{is_config, Record};
use crate::error::ProtocolError;
use crate::header::Command;
use crate::request::{parse, Request};
use crate::{wire, Config, Errno};

/// The outcome of a message without a worker.
pub(super) enum Answer {
    /// The reply.
    Reply(Reply),
    /// The message waits for a worker.
    Hold,
}

/// Answers a message.
pub(super) fn answer(
    record: &mut Record,
    config: &Config,
    command: Command,
    payload: &[u8],
    fds: &[Arc<OwnedFd>],
) -> Answer {
    if let Some(reply) = record.description(command, payload) {
        return Answer::Reply(reply);
    }
    match command {
        Command::Version
        | Command::DeviceGetInfo
        | Command::DeviceGetRegionInfo
        | Command::DeviceGetIrqInfo => Answer::Hold,
        _ => execute(record, config, command, payload, fds).unwrap_or_else(|error| {
            tracing::debug!(%error, "message refused");
            Answer::Reply(Err(error.errno()))
        }),
    }
}

fn execute(
    record: &mut Record,
    config: &Config,
    command: Command,
    payload: &[u8],
    fds: &[Arc<OwnedFd>],
) -> Result<Answer, ProtocolError> {
    let done = |payload: Vec<u8>| Ok(Answer::Reply(Ok((payload, None))));
    match command {
        Command::DmaMap | Command::DmaUnmap | Command::DeviceSetIrqs => {
            record.apply(command, payload, fds)?;
            // The reply to an unmap repeats it.
            let unmap = command == Command::DmaUnmap;
            return done(payload[..if unmap { payload.len() } else { 0 }].to_vec());
        }
        _ => {}
    }
    match parse(command, payload, Vec::new())? {
        Request::RegionRead(access) => {
            let (count, max) = (access.count, config.max_data_xfer_size);
            if count == 0 || count > max {
                return Err(ProtocolError::TransferSize { count, max });
            }
            let mut data = vec![0; count as usize];
            if is_config(access.region) {
                read_config(&record.config_space, access.offset, &mut data);
            }
            done([access.as_bytes(), &data].concat())
        }
        Request::RegionWrite { access, data } => {
            if is_config(access.region) && !record.keep_config_write(access.offset, data) {
                return Ok(Answer::Hold);
            }
            done(access.as_bytes().to_vec())
        }
        Request::RegionWriteMulti(writes) => {
            for write in writes {
                let access = write.access();
                let data = write.data.get(..access.count as usize);
                let data = data.ok_or(ProtocolError::TransferSize {
                    count: access.count,
                    max: write.data.len() as u32,
                })?;
                if is_config(access.region) && !record.keep_config_write(access.offset, data) {
                    tracing::warn!("a write to configuration space is lost: too many wait");
                }
            }
            let wr_cnt = writes.len() as u64;
            done(wire::WriteMulti { wr_cnt }.as_bytes().to_vec())
        }
        Request::DeviceReset => done(Vec::new()),
        // A version and descriptions wait; windows and interrupts are done above.
        Request::Version { .. }
        | Request::DeviceGetInfo
        | Request::GetRegionInfo { .. }
        | Request::GetIrqInfo { .. }
        | Request::DmaMap(_)
        | Request::DmaUnmap(_)
        | Request::SetIrqs(_) => Ok(Answer::Hold),
        Request::Feature(_) | Request::MigDataRead { .. } | Request::MigDataWrite(_) => {
            Err(ProtocolError::Device(Errno::AGAIN))
        }
    }
}

/// Reads configuration space; bytes outside of it are ones.
fn read_config(space: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0xFF);
    let known = usize::try_from(offset).ok().and_then(|at| space.get(at..));
    if let Some(known) = known {
        let len = known.len().min(data.len());
        data[..len].copy_from_slice(&known[..len]);
    }
}
