// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages of NFLOG: rules of nftables that packets have met.

use anyhow::{Context, Result};
use netlink_packet_netfilter::nflog::{
    config_request, ConfigCmd, ConfigMode, ConfigNla, PacketNla, ULogMessage,
};
use netlink_packet_netfilter::{NetfilterMessageInner, NetfilterProtoFamily};

use crate::netlink::Netlink;
use crate::router::LOG_GROUP;

/// The messages of the group [`LOG_GROUP`].
pub struct Log(Netlink);

impl Log {
    /// Listens in the network namespace of the thread.
    pub fn open() -> Result<Self> {
        let netlink = Netlink::open()?;
        let bind = config_request(
            NetfilterProtoFamily::Unspec,
            LOG_GROUP,
            vec![
                ConfigCmd::Bind.into(),
                ConfigMode::META.into(),
                ConfigNla::QThresh(1),
            ],
        );
        netlink.request_built(&bind).context("NFLOG")?;
        Ok(Log(netlink))
    }

    /// The prefixes of the messages since the last call.
    pub fn prefixes(&self) -> Result<Vec<String>> {
        let mut prefixes = Vec::new();
        self.0.drain(&mut |message| {
            if let NetfilterMessageInner::ULog(ULogMessage::Packet(attributes)) = message {
                let prefix = attributes.iter().find_map(|attribute| match attribute {
                    PacketNla::Prefix(prefix) => prefix.to_str().ok(),
                    _ => None,
                });
                prefixes.push(prefix.unwrap_or_default().to_owned());
            }
            Ok(())
        })?;
        Ok(prefixes)
    }
}
