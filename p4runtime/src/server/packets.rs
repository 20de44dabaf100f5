// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets from and to clients, with the controller header in front of the packet.

use super::fault::{Fault, Result};
use super::names::listed;
use super::pipeline::Pipeline;
use super::texts::Unknown;
use crate::bytes::{limbs, shortest};
use crate::p4info::id_of;
use crate::proto::config::ControllerPacketMetadata;
use crate::proto::v1;

/// The maximum size of a packet from a client.
const MAX_PACKET: usize = 64 << 10;

/// A reader of fields that are not byte-aligned.
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, at: 0 }
    }

    /// Returns the next bits as the shortest byte string; bits beyond the end are 0.
    pub(crate) fn take(&mut self, width: u32) -> Vec<u8> {
        let mut out = vec![0u8; (width as usize).div_ceil(8).max(1)];
        let first = out.len() * 8 - width as usize;
        for n in 0..width as usize {
            let byte = self.bytes.get((self.at + n) / 8).copied().unwrap_or(0);
            let bit = byte >> (7 - (self.at + n) % 8) & 1;
            out[(first + n) / 8] |= bit << (7 - (first + n) % 8);
        }
        self.at += width as usize;
        shortest(&out).to_vec()
    }
}

impl Pipeline {
    fn header(&self, name: &str) -> Option<&ControllerPacketMetadata> {
        let mut headers = self.p4info.controller_packet_metadata.iter();
        headers.find(|h| h.preamble.as_ref().is_some_and(|p| p.name == name))
    }

    /// Returns the width of a controller header's field in packets.
    fn width(&self, header: &str, field: &str, shown: i32) -> u32 {
        let headers = &self.engine.program().control.headers;
        let header = headers.iter().find(|h| h.name == header);
        let field = header.and_then(|h| h.fields.iter().find(|f| f.name == field));
        field.map_or(shown.max(0) as u32, |f| f.width)
    }

    /// Converts a client's packet for the data path.
    pub(crate) fn packet_out(&self, packet: &v1::PacketOut) -> Result<Vec<u8>> {
        if packet.payload.len() > MAX_PACKET {
            return Err(Fault::invalid(format!(
                "the packet has {} bytes: {MAX_PACKET} are the most",
                packet.payload.len()
            )));
        }
        let Some(header) = self.header("packet_out") else {
            return match packet.metadata.is_empty() {
                true => Ok(packet.payload.clone()),
                false => Err(Fault::invalid(
                    "metadata is given, and the program has no controller header packet_out",
                )),
            };
        };
        let there = || {
            header
                .metadata
                .iter()
                .map(|field| (field.name.as_str(), field.id))
        };
        let mut given = packet.metadata.iter();
        if let Some(other) = given.find(|m| there().all(|(_, id)| id != m.metadata_id)) {
            return Err(Fault::invalid(format!(
                "metadata {} of packet_out does not exist; metadata: {}",
                other.metadata_id,
                listed(there())
            )));
        }
        if packet.metadata.len() > header.metadata.len() {
            return Err(Fault::invalid(
                "a metadata field of packet_out is given twice",
            ));
        }
        let mut bits = Vec::new();
        for field in &header.metadata {
            let width = self.width("packet_out", &field.name, field.bitwidth);
            let given = packet.metadata.iter().find(|m| m.metadata_id == field.id);
            let Some(given) = given else {
                return Err(Fault::invalid(format!(
                    "metadata `{}` ({}) of packet_out is missing",
                    field.name, field.id
                )));
            };
            let place = (id_of(&header.preamble), field.id);
            let texts = &self.texts;
            let value = texts.number(place, &field.name, &given.value, Unknown::Missing)?;
            let value = limbs(&value, width).map_err(|error| Fault::of(&field.name, error))?;
            bits.extend(
                (0..width)
                    .rev()
                    .map(|n| value[n as usize / 64] >> (n % 64) & 1 == 1),
            );
        }
        let mut bytes = vec![0u8; bits.len().div_ceil(8)];
        for (n, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
            bytes[n / 8] |= 0x80 >> (n % 8);
        }
        bytes.extend_from_slice(&packet.payload);
        Ok(bytes)
    }

    /// Converts a packet for clients.
    pub(crate) fn packet_in(&self, data: &[u8]) -> v1::PacketIn {
        let mut bits = Bits::new(data);
        let mut metadata = Vec::new();
        if let Some(header) = self.header("packet_in") {
            for field in &header.metadata {
                let width = self.width("packet_in", &field.name, field.bitwidth);
                let place = (id_of(&header.preamble), field.id);
                metadata.push(v1::PacketMetadata {
                    metadata_id: field.id,
                    value: self.texts.shown(place, bits.take(width)),
                });
            }
        }
        let header = bits.at.div_ceil(8).min(data.len());
        v1::PacketIn {
            payload: data[header..].to_vec(),
            metadata,
        }
    }
}
