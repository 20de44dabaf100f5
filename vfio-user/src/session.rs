// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A session with one client, from its first message to its last.

mod features;
mod state;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use zerocopy::IntoBytes;

use crate::device::{Device, DmaMap};
use crate::dma::Window;
use crate::error::ProtocolError;
use crate::header::{Command, Header};
use crate::migration::MigrationState;
use crate::reply::Reply;
use crate::request::{max_payload, parse, DmaUnmap, Request};
use crate::stats::Stats;
use crate::transport::{End, ReceivedFds, Transport};
use crate::version::{self, Capabilities};
use crate::{checks, wire, Config, Errno};

pub(crate) use state::{Agreed, State};

/// A client, its device, and the state of their session.
pub(crate) struct Session<'a, T, D: ?Sized> {
    transport: T,
    device: &'a mut D,
    config: &'a Config,
    stats: &'a Stats,
    state: State,
    /// The payload of the current message; grows to the maximum message length.
    payload: Vec<u8>,
    reply: Reply,
}

/// A file descriptor to send with a reply.
type ReplyFd = Option<Arc<OwnedFd>>;

impl<'a, T: Transport, D: Device + ?Sized> Session<'a, T, D> {
    pub(crate) fn new(
        transport: T,
        device: &'a mut D,
        config: &'a Config,
        stats: &'a Stats,
        state: State,
    ) -> Self {
        Self {
            transport,
            device,
            config,
            stats,
            state,
            payload: Vec::new(),
            reply: Reply::default(),
        }
    }

    /// Serves the client until it disconnects or is handed over. Returns the transport and, for a
    /// client that is handed over, the state of its session; otherwise the device has been told of
    /// the end.
    pub(crate) fn run(mut self) -> (End, T, State) {
        let end = loop {
            if let Err(end) = self.message() {
                break end;
            }
        };
        if self.state.agreed.is_some() && end != End::HandedOver {
            self.device.disconnected();
        }
        (end, self.transport, self.state)
    }

    /// Serves one message.
    fn message(&mut self) -> Result<(), End> {
        let mut fds = ReceivedFds::default();
        let mut header = Header::default();
        // A client that connects and sends nothing would block others.
        let timeout = (self.state.agreed.is_none()).then_some(self.config.message_timeout);
        self.transport
            .receive_first(header.as_mut_bytes(), &mut fds, timeout)?;
        self.stats.count_messages(1);

        let max = self.config.max_message();
        let len = match header.payload_len() {
            Some(len) if len <= max - Header::SIZE => len,
            _ => {
                self.refuse(
                    &header,
                    &ProtocolError::Size {
                        size: header.size,
                        max,
                    },
                )?;
                return Err(End::Protocol);
            }
        };
        let command = match self.admit(&header, len) {
            Ok(Some(command)) => command,
            Ok(None) => {
                self.stats.count_stray_replies(1);
                self.drain(len, &mut fds)?;
                return self.may_go_on();
            }
            Err(error) => {
                self.drain(len, &mut fds)?;
                self.refuse(&header, &error)?;
                return self.may_go_on();
            }
        };

        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(len, 0);
        let received = self.transport.receive_more(&mut payload, &mut fds);
        let outcome = received.map(|()| self.answer(&header, command, &payload, &mut fds));
        self.payload = payload;
        match outcome? {
            Ok(fd) if header.no_reply() => drop(fd),
            Ok(fd) => {
                let fd = fd.as_ref().map(|fd| fd.as_fd());
                self.transport
                    .send(self.reply.finish(&header), fd.as_slice())?;
            }
            Err(error) => {
                self.refuse(&header, &error)?;
                return self.may_go_on();
            }
        }
        Ok(())
    }

    /// Ends the session if the client's first message was not a valid version message.
    fn may_go_on(&self) -> Result<(), End> {
        match self.state.agreed {
            Some(_) => Ok(()),
            None => Err(End::Protocol),
        }
    }

    /// Checks that the message must be read. Returns `None` for a reply, which is ignored.
    fn admit(&mut self, header: &Header, len: usize) -> Result<Option<Command>, ProtocolError> {
        match header.message_type() {
            Header::TYPE_COMMAND => {}
            Header::TYPE_REPLY => return Ok(None),
            other => return Err(ProtocolError::Type(other)),
        }
        let command = Command::from_number(header.command)
            .ok_or(ProtocolError::UnknownCommand(header.command))?;
        if self.state.agreed.is_none() && command != Command::Version {
            return Err(ProtocolError::NotNegotiated(command));
        }
        if !command.is_supported() || !self.device_supports(command) {
            return Err(ProtocolError::Unsupported(command));
        }
        let expected = max_payload(command, self.config.max_data_xfer_size);
        if len > expected {
            return Err(ProtocolError::Length {
                command,
                len,
                expected,
            });
        }
        Ok(Some(command))
    }

    /// Reads and discards the rest of a message.
    fn drain(&mut self, mut len: usize, fds: &mut ReceivedFds) -> Result<(), End> {
        let mut scratch = [0; 4096];
        while len > 0 {
            let n = len.min(scratch.len());
            self.transport.receive_more(&mut scratch[..n], fds)?;
            len -= n;
        }
        self.stats.count_fds_closed(fds.take().len() as u64);
        Ok(())
    }

    /// Sends an error reply, unless the client requested no reply.
    fn refuse(&mut self, header: &Header, error: &ProtocolError) -> Result<(), End> {
        self.stats.count_refused(error.reason());
        tracing::debug!(id = header.id, command = header.command, %error, "message refused");
        if header.no_reply() {
            return Ok(());
        }
        self.transport
            .send(self.reply.finish_error(header, error.errno()), &[])
    }

    /// Executes the request and prepares the reply.
    fn answer(
        &mut self,
        header: &Header,
        command: Command,
        payload: &[u8],
        fds: &mut ReceivedFds,
    ) -> Result<ReplyFd, ProtocolError> {
        self.reply.clear();
        let excess = fds.has_excess();
        let fds = fds.take();
        let came = fds.len() as u64;
        if excess {
            self.stats.count_fds_closed(came);
            return Err(ProtocolError::TooManyFds);
        }
        let request = parse(command, payload, fds).inspect_err(|_| {
            self.stats.count_fds_closed(came);
        })?;
        tracing::trace!(id = header.id, ?request);
        match request {
            Request::RegionRead(access) => {
                checks::access(&*self.device, self.config, &access, |r| r.readable)?;
                self.reply.push(&access);
                let data = self.reply.push_zeroed(access.count as usize);
                self.device
                    .region_read(access.region, access.offset, data)
                    .map_err(refused)?;
            }
            Request::RegionWrite { access, data } => {
                checks::access(&*self.device, self.config, &access, |r| r.writable)?;
                self.device
                    .region_write(access.region, access.offset, data)
                    .map_err(refused)?;
                self.reply.push(&access);
            }
            Request::RegionWriteMulti(writes) => self.write_multi(command, writes)?,
            Request::Version {
                major,
                minor,
                capabilities,
            } => {
                self.negotiate(major, minor, &capabilities)?;
            }
            Request::DmaMap(map) => self.dma_map(map)?,
            Request::DmaUnmap(unmap) => {
                let device = &mut *self.device;
                match unmap {
                    DmaUnmap::All => self
                        .state
                        .windows
                        .clear(|iova, size| device.dma_unmap(iova, size)),
                    DmaUnmap::Range { iova, size } => {
                        self.state
                            .windows
                            .remove(iova, size, |iova, size| device.dma_unmap(iova, size))?
                    }
                }
                self.reply.push(payload);
            }
            Request::DeviceGetInfo => self.reply.push(&wire::DeviceInfo {
                argsz: wire::DeviceInfo::SIZE as u32,
                flags: self.device.info().flags,
                num_regions: self.device.regions().len() as u32,
                num_irqs: self.device.irqs().len() as u32,
            }),
            Request::GetRegionInfo { argsz, index } => {
                let regions = self.device.regions();
                let region = regions.get(index as usize).ok_or(ProtocolError::NoRegion {
                    region: index,
                    regions: regions.len(),
                })?;
                let all = self.reply.push_region_info(index, region, argsz);
                return Ok(region.mmap.as_ref().filter(|_| all).map(|m| m.fd.clone()));
            }
            Request::GetIrqInfo { index } => {
                let info = *checks::irq(&*self.device, index)?;
                self.reply.push(&wire::IrqInfo {
                    argsz: wire::IrqInfo::SIZE as u32,
                    flags: info.flags,
                    index,
                    count: info.count,
                });
            }
            Request::SetIrqs(set) => {
                let request = checks::irq_request(&*self.device, set)?;
                self.device.set_irqs(request).map_err(refused)?;
            }
            Request::DeviceReset => {
                self.device.reset().map_err(refused)?;
                self.state.migration = MigrationState::Running;
            }
            Request::Feature(feature) => self.feature(feature, payload)?,
            Request::MigDataRead { size } => self.mig_data_read(size)?,
            Request::MigDataWrite(data) => self.mig_data_write(data)?,
        }
        Ok(None)
    }

    fn negotiate(
        &mut self,
        major: u16,
        minor: u16,
        theirs: &Capabilities,
    ) -> Result<(), ProtocolError> {
        if self.state.agreed.is_some() {
            return Err(ProtocolError::VersionAgain);
        }
        if major != version::MAJOR {
            return Err(ProtocolError::Major(major));
        }
        let migrates = self.device.migration().is_some() || self.device.dirty_log().is_some();
        let capabilities = theirs.agree(self.config, migrates)?;
        let minor = minor.min(version::MINOR);
        self.reply.push(&wire::Version { major, minor });
        self.reply.push(capabilities.to_version_data().as_slice());
        self.state.agreed = Some(Agreed {
            minor,
            capabilities,
        });
        self.device.connected();
        Ok(())
    }

    /// Executes several writes. All of them are validated before the first is executed.
    fn write_multi(
        &mut self,
        command: Command,
        writes: &[wire::WriteOne],
    ) -> Result<(), ProtocolError> {
        let agreed = self.state.agreed.as_ref();
        if agreed.is_none_or(|a| a.capabilities.write_multiple != Some(true)) {
            return Err(ProtocolError::Unsupported(command));
        }
        for write in writes {
            let access = write.access();
            let max = write.data.len() as u32;
            if access.count > max {
                return Err(ProtocolError::TransferSize {
                    count: access.count,
                    max,
                });
            }
            checks::access(&*self.device, self.config, &access, |r| r.writable)?;
        }
        for write in writes {
            let wire::RegionAccess {
                offset,
                region,
                count,
            } = write.access();
            let data = &write.data[..count as usize];
            self.device
                .region_write(region, offset, data)
                .map_err(refused)?;
        }
        self.reply.push(&wire::WriteMulti {
            wr_cnt: writes.len() as u64,
        });
        Ok(())
    }

    fn dma_map(&mut self, map: DmaMap) -> Result<(), ProtocolError> {
        let DmaMap {
            iova,
            size,
            offset,
            prot,
            ..
        } = map;
        let windows = &mut self.state.windows;
        windows.check(iova, size)?;
        if let Some(fd) = &map.fd {
            checks::backing(fd, offset, size)?;
        }
        let file = windows.keep(map.fd.as_ref()).map_err(refused)?;
        if let Err(errno) = self.device.dma_map(map) {
            windows.release(file);
            return Err(refused(errno));
        }
        let window = Window {
            size,
            offset,
            prot,
            file,
        };
        windows.insert(iova, window);
        Ok(())
    }
}

fn refused(errno: Errno) -> ProtocolError {
    ProtocolError::Device(errno)
}

/// The default timeout for a client's message: equal to QEMU's timeout for a reply.
pub(crate) const DEFAULT_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);
