// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A netlink socket of netfilter's family: requests with acknowledgement, dumps, and messages that
//! arrive unrequested.

use std::io;

use anyhow::{bail, Context, Result};
use netlink_packet_core::{
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

/// Above what the kernel sends at once: 32 KiB.
const BUFFER: usize = 64 * 1024;

/// A socket.
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    /// Opens a socket in the network namespace of the thread.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER).context("netlink of netfilter")?;
        socket.bind_auto().context("netlink of netfilter")?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .context("netlink of netfilter")?;
        Ok(Self { socket })
    }

    /// Sends a request and waits for its acknowledgement. Missing objects are no error.
    pub fn request(
        &self,
        family: NetfilterProtoFamily,
        message: impl Into<NetfilterMessageInner>,
    ) -> Result<()> {
        self.send(family, message.into(), NLM_F_REQUEST | NLM_F_ACK)?;
        self.receive(0, &mut |_| Ok(()))
    }

    /// Sends a request that was built with a header of its own, and waits for its acknowledgement.
    pub fn request_built(&self, message: &NetlinkMessage<NetfilterMessage>) -> Result<()> {
        self.send_built(message)?;
        self.receive(0, &mut |_| Ok(()))
    }

    /// Calls `each` with the messages of a dump.
    pub fn dump(
        &self,
        message: impl Into<NetfilterMessageInner>,
        each: &mut dyn FnMut(NetfilterMessageInner) -> Result<()>,
    ) -> Result<()> {
        let family = NetfilterProtoFamily::Unspec;
        self.send(family, message.into(), NLM_F_REQUEST | NLM_F_DUMP)?;
        self.receive(0, each)
    }

    /// Calls `each` with the messages that have arrived.
    pub fn drain(&self, each: &mut dyn FnMut(NetfilterMessageInner) -> Result<()>) -> Result<()> {
        self.receive(libc::MSG_DONTWAIT, each)
    }

    fn send(
        &self,
        family: NetfilterProtoFamily,
        message: NetfilterMessageInner,
        flags: u16,
    ) -> Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        self.send_built(&message)
    }

    fn send_built(&self, message: &NetlinkMessage<NetfilterMessage>) -> Result<()> {
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        self.send_octets(&buffer)
    }

    /// Sends messages as they are.
    pub fn send_octets(&self, messages: &[u8]) -> Result<()> {
        self.socket.send(messages, 0).context("netlink send")?;
        Ok(())
    }

    /// Receives until an acknowledgement, the end of a dump, or, without waiting, the last message.
    fn receive(
        &self,
        flags: i32,
        each: &mut dyn FnMut(NetfilterMessageInner) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, flags) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("netlink receive"),
            }
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest)
                    .context("netlink message")?;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => match error.code.map(i32::from) {
                        None => return Ok(()),
                        Some(code) if code == -libc::ENOENT => return Ok(()),
                        Some(_) => bail!("netfilter refuses: {}", error.to_io()),
                    },
                    NetlinkPayload::InnerMessage(message) => each(message.inner)?,
                    _ => {}
                }
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
}
