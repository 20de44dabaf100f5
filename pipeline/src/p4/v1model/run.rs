// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a packet goes through.

use super::{instance, Data, Egress, Packet, Work};
use crate::p4::externs::{Requests, DROP_PORT};
use crate::p4::machine::End;
use crate::p4::metadata;
use crate::p4::packet::Reader;
use crate::p4::packets::{DropReason, Output, Sent, SentKind};
use crate::p4::replication::Copies;

impl Packet<'_, '_> {
    fn bytes<'d>(&'d self, data: &'d Data) -> &'d [u8] {
        match data {
            Data::Input => self.input.data,
            Data::Made(data) => data,
        }
    }

    fn length(&self, data: &Data) -> u64 {
        match data {
            Data::Input => self.input.length as u64,
            Data::Made(data) => data.len() as u64,
        }
    }

    /// Runs a block that does not parse; the payload is for checksums.
    fn run(&mut self, function: u32, data: &Data, payload: usize) -> Result<(), DropReason> {
        let bytes = match data {
            Data::Input => self.input.data,
            Data::Made(data) => data,
        };
        let payload = bytes.get(payload..).unwrap_or_default();
        self.scratch.run_control(self.at, function, payload)
    }

    /// Parser to the end of ingress.
    pub(super) fn ingress(
        &mut self,
        data: Data,
        port: u64,
        instance: u64,
        kept: Option<(Vec<u64>, u32)>,
    ) -> Result<(), DropReason> {
        let blocks = self.blocks;
        let payload = self.parse(&data, port, instance, kept.as_ref())?;
        let length = self.length(&data);
        self.hand_over(blocks.parser, blocks.verify);
        self.scratch.local.begin(length);
        self.scratch.local.checksum_error = false;
        self.run(blocks.verify.function, &data, payload)?;
        self.hand_over(blocks.verify, blocks.ingress);
        self.copy_standard(blocks.parser, blocks.ingress);
        if self.scratch.local.checksum_error {
            self.set(blocks.ingress, |s| &s.checksum_error, 1);
        }
        self.scratch.local.requests = Requests::default();
        self.run(blocks.ingress.function, &data, payload)?;
        let requests = self.scratch.local.requests;
        let values = self.save(blocks.ingress);
        if let Some((session, list)) = requests.clone_ingress {
            self.clone_ingress(&data, port, session, list, &values)?;
            // The clone was parsed where the packet's own values are.
            self.restore(&values, blocks.ingress);
        }
        if let Some(list) = requests.resubmit {
            self.work.push_back(Work::Ingress {
                data,
                port,
                instance: instance::RESUBMITTED,
                kept: Some((self.metadata_of(&values), list)),
            });
            return Ok(());
        }
        let group = self.get(blocks.ingress, |s| &s.mcast_grp);
        let spec = self.get(blocks.ingress, |s| &s.egress_spec);
        let one = Egress {
            values,
            data,
            payload,
            port: spec,
            rid: 0,
            instance: self.get(blocks.ingress, |s| &s.instance_type),
            original_length: length,
            truncate: None,
        };
        if group != 0 {
            for copy in self.at.group(group)? {
                self.work.push_back(Work::Egress(Egress {
                    port: copy.port,
                    rid: copy.instance,
                    instance: instance::REPLICATED,
                    ..one.clone()
                }));
            }
        } else if spec == DROP_PORT {
            return Err(DropReason::Program);
        } else {
            self.work.push_back(Work::Egress(one));
        }
        Ok(())
    }

    /// Clears all values and parses; gives where the payload begins.
    fn parse(
        &mut self,
        data: &Data,
        port: u64,
        instance: u64,
        kept: Option<&(Vec<u64>, u32)>,
    ) -> Result<usize, DropReason> {
        let parser = self.blocks.parser;
        self.clear(parser);
        self.keep(kept);
        let now = self.scratch.local.now_ns / 1000;
        self.set(parser, |s| &s.ingress_port, port);
        self.set(parser, |s| &s.instance_type, instance);
        self.set(parser, |s| &s.packet_length, self.length(data));
        self.set(parser, |s| &s.ingress_timestamp, now);
        let bytes = match data {
            Data::Input => self.input.data,
            Data::Made(data) => data,
        };
        let mut reader = Reader::new(bytes);
        let end = self
            .scratch
            .run(self.at, parser.function, &mut reader, &[])?;
        let payload = bytes.len() - reader.rest().len();
        if let End::Rejected(error) = end {
            self.set(parser, |s| &s.parser_error, error.into());
        }
        Ok(payload)
    }

    /// Puts fields that are kept into the parser's metadata.
    fn keep(&mut self, kept: Option<&(Vec<u64>, u32)>) {
        if let (Some((values, list)), Some(base)) = (kept, self.blocks.parser.metadata) {
            let layout = &self.blocks.metadata_layout;
            let limbs = layout.limbs() as usize;
            let to = &mut self.scratch.machine.frame[base as usize..][..limbs];
            metadata::keep(layout, *list, values, to);
        }
    }

    fn clone_ingress(
        &mut self,
        data: &Data,
        port: u64,
        session: u64,
        list: Option<u32>,
        values: &[u64],
    ) -> Result<(), DropReason> {
        let Some(Copies { replicas, truncate }) = self.at.session(session) else {
            return Ok(());
        };
        // The packet as it came, with some of the metadata as it is now.
        let kept = list.map(|list| (self.metadata_of(values), list));
        let payload = self.parse(data, port, instance::INGRESS_CLONE, None)?;
        self.keep(kept.as_ref());
        let clone = self.save(self.blocks.parser);
        for copy in replicas {
            self.work.push_back(Work::Egress(Egress {
                values: clone.clone(),
                data: data.clone(),
                payload,
                port: copy.port,
                rid: copy.instance,
                instance: instance::INGRESS_CLONE,
                original_length: self.length(data),
                truncate,
            }));
        }
        Ok(())
    }

    /// Egress to the wire.
    pub(super) fn egress(&mut self, packet: Egress) -> Result<(), DropReason> {
        let blocks = self.blocks;
        let egress = blocks.egress;
        self.restore(&packet.values, egress);
        self.set(egress, |s| &s.instance_type, packet.instance);
        self.set(egress, |s| &s.egress_port, packet.port);
        self.set(egress, |s| &s.egress_rid, packet.rid);
        self.set(egress, |s| &s.egress_spec, 0);
        let now = self.scratch.local.now_ns / 1000;
        self.set(egress, |s| &s.egress_timestamp, now);
        self.scratch.local.begin(packet.original_length);
        self.run(egress.function, &packet.data, packet.payload)?;
        let requests = self.scratch.local.requests;
        let values = self.save(egress);
        if let Some((session, list)) = requests.clone_egress {
            self.clone_egress(&packet, session, list, &values);
        }
        if self.get(egress, |s| &s.egress_spec) == DROP_PORT {
            return Err(DropReason::Program);
        }
        self.hand_over(egress, blocks.compute);
        self.run(blocks.compute.function, &packet.data, packet.payload)?;
        self.hand_over(blocks.compute, blocks.deparser);
        self.scratch.writer.clear();
        self.run(blocks.deparser.function, &packet.data, packet.payload)?;
        let limits = requests.truncate.and_then(|n| usize::try_from(n).ok());
        let truncate = match (limits, packet.truncate) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(list) = requests.recirculate {
            let mut bytes = self.scratch.writer.bytes().to_vec();
            let rest = self.bytes(&packet.data).get(packet.payload..);
            bytes.extend_from_slice(rest.unwrap_or_default());
            bytes.truncate(truncate.unwrap_or(usize::MAX));
            let field = &blocks.standard.ingress_port;
            let port = field.of(&values, blocks.standard_offset());
            self.work.push_back(Work::Ingress {
                data: Data::Made(bytes.into()),
                port,
                instance: instance::RECIRCULATED,
                kept: Some((self.metadata_of(&values), list)),
            });
            return Ok(());
        }
        let payload_offset = match &packet.data {
            Data::Input => packet.payload,
            Data::Made(data) => {
                let rest = data.get(packet.payload..).unwrap_or_default();
                self.scratch.writer.append(rest);
                self.input.data.len()
            }
        };
        (self.emit)(Output::Sent(Sent {
            port: packet.port as u32,
            kind: match packet.instance {
                instance::REPLICATED => SentKind::Multicast,
                instance::INGRESS_CLONE | instance::EGRESS_CLONE => SentKind::Clone,
                _ => SentKind::Packet,
            },
            headers: self.scratch.writer.bytes(),
            payload_offset,
            truncate,
            receive: requests.receive,
        }));
        Ok(())
    }

    fn clone_egress(&mut self, of: &Egress, session: u64, list: Option<u32>, values: &[u64]) {
        let Some(Copies { replicas, truncate }) = self.at.session(session) else {
            return;
        };
        // Headers as they are, metadata cleared but for the fields of the list.
        let mut clone = values.to_vec();
        let from = self.blocks.headers_limbs as usize;
        let to = self.blocks.standard_offset() as usize;
        clone[from..to].fill(0);
        if let Some(list) = list {
            let kept = self.metadata_of(values);
            let layout = &self.blocks.metadata_layout;
            metadata::keep(layout, list, &kept, &mut clone[from..to]);
        }
        for copy in replicas {
            self.work.push_back(Work::Egress(Egress {
                values: clone.clone(),
                port: copy.port,
                rid: copy.instance,
                instance: instance::EGRESS_CLONE,
                truncate,
                ..of.clone()
            }));
        }
    }
}
