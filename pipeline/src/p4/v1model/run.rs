// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stages of packet processing.

use super::places::Places;
use super::{instance, Entering, Packet, Passing, MAX_DEPTH, MAX_PASSES};
use crate::p4::environment::Requests;
use crate::p4::machine::End;
use crate::p4::packet::Reader;
use crate::p4::packets::{DropReason, Output, Sent, SentKind, DROP_PORT};
use crate::p4::replication::{Copies, Replica};
use crate::p4::round::Round;

impl Packet<'_, '_> {
    /// Processes a packet from the parser on, and all packets derived from it.
    pub(super) fn enter(&mut self, packet: &Entering<'_>) {
        if let Err(reason) = self.ingress(packet) {
            (self.emit)(Output::Dropped(reason));
        }
    }

    /// Counts a pass through ingress or egress.
    fn pass(&mut self, depth: u32) -> Result<(), DropReason> {
        if depth >= MAX_DEPTH || self.passes >= MAX_PASSES {
            return Err(DropReason::TooManyPasses);
        }
        self.passes += 1;
        Ok(())
    }

    /// Runs a block that does not parse; the payload is input for checksums.
    fn run(&mut self, function: u32, data: &[u8], payload: usize) -> Result<(), DropReason> {
        let payload = data.get(payload..).unwrap_or_default();
        self.scratch.run_control(self.at, function, payload)
    }

    /// Runs the parser through the end of ingress, and continues from there.
    fn ingress(&mut self, packet: &Entering<'_>) -> Result<(), DropReason> {
        self.pass(packet.depth)?;
        let blocks = self.blocks;
        let Entering { data, round, .. } = *packet;
        let payload = self.parse(packet)?;
        self.hand_over(blocks.parser, blocks.verify);
        self.scratch.local.begin(round.length() as u64);
        self.scratch.local.checksum_error = false;
        self.run(blocks.verify.function, data, payload)?;
        self.hand_over(blocks.verify, blocks.ingress);
        self.copy_standard(blocks.parser, blocks.ingress);
        if self.scratch.local.checksum_error {
            self.set(blocks.ingress, |s| &s.checksum_error, 1);
        }
        self.scratch.local.requests = Requests::default();
        self.run(blocks.ingress.function, data, payload)?;
        let requests = self.scratch.local.requests;
        let clone = requests.clone_ingress;
        let clone = clone.and_then(|(id, list)| Some((self.at.session(id)?, list)));
        if let Some((copies, list)) = clone {
            // The clone is parsed into the slots of the packet's own values.
            let mut values = self.scratch.values.take();
            self.save(blocks.ingress, &mut values);
            let cloned = self.clone_ingress(packet, copies, list, &values);
            self.restore(&values, blocks.ingress);
            self.scratch.values.give(values);
            cloned?;
        }
        if let Some(list) = requests.resubmit {
            self.resubmit(packet, list);
            return Ok(());
        }
        if requests.drop {
            return Err(DropReason::Program);
        }
        let group = self.get(blocks.ingress, |s| &s.mcast_grp);
        let spec = self.get(blocks.ingress, |s| &s.egress_spec);
        let passing = Passing {
            data,
            round,
            payload,
            instance: self.get(blocks.ingress, |s| &s.instance_type),
            original_length: round.length() as u64,
            truncate: requests.truncate.and_then(|n| usize::try_from(n).ok()),
            depth: packet.depth + 1,
        };
        if group != 0 {
            let replicated = Passing {
                instance: instance::REPLICATED,
                ..passing
            };
            self.copy_to_egress(blocks.ingress, self.at.group(group)?, &replicated);
        } else if spec == DROP_PORT {
            return Err(DropReason::Program);
        } else {
            let one = Replica {
                port: spec,
                instance: 0,
            };
            self.copy_to_egress(blocks.ingress, &[one], &passing);
        }
        Ok(())
    }

    /// Clears all values and parses. Returns the offset of the payload.
    fn parse(&mut self, packet: &Entering<'_>) -> Result<usize, DropReason> {
        let parser = self.blocks.parser;
        self.clear(parser);
        if let Some((values, list)) = packet.kept {
            self.blocks.lists.copy(list, values, self.metadata(parser));
        }
        let now = self.scratch.local.now_ns / 1000;
        self.set(parser, |s| &s.ingress_port, packet.port);
        self.set(parser, |s| &s.instance_type, packet.instance);
        let length = packet.round.length() as u64;
        self.set(parser, |s| &s.packet_length, length);
        self.set(parser, |s| &s.ingress_timestamp, now);
        let mut reader = Reader::new(packet.data);
        let end = self
            .scratch
            .run(self.at, parser.function, &mut reader, &[])?;
        if let End::Rejected(error) = end {
            self.set(parser, |s| &s.parser_error, error.into());
        }
        Ok(packet.data.len() - reader.rest().len())
    }

    /// Clones the packet as received, with the preserved metadata fields as they are now.
    fn clone_ingress(
        &mut self,
        packet: &Entering<'_>,
        copies: Copies<'_>,
        list: Option<u32>,
        values: &[u64],
    ) -> Result<(), DropReason> {
        let blocks = self.blocks;
        let clone = Entering {
            instance: instance::INGRESS_CLONE,
            kept: None,
            ..*packet
        };
        let payload = self.parse(&clone)?;
        if let Some(list) = list {
            let kept = self.saved_metadata(values);
            blocks.lists.copy(list, kept, self.metadata(blocks.parser));
        }
        let passing = Passing {
            data: packet.data,
            round: packet.round,
            payload,
            instance: instance::INGRESS_CLONE,
            original_length: packet.round.length() as u64,
            truncate: copies.truncate,
            depth: packet.depth + 1,
        };
        self.copy_to_egress(blocks.parser, copies.replicas, &passing);
        Ok(())
    }

    /// Processes the packet again as received.
    fn resubmit(&mut self, packet: &Entering<'_>, list: u32) {
        let mut kept = self.scratch.values.take();
        kept.extend_from_slice(self.metadata(self.blocks.ingress));
        self.enter(&Entering {
            instance: instance::RESUBMITTED,
            kept: Some((&kept, list)),
            depth: packet.depth + 1,
            ..*packet
        });
        self.scratch.values.give(kept);
    }

    /// Sends copies to egress, with the values of another block. At the limit of passes, the
    /// remaining copies are dropped and counted as one: each pass may create as many.
    fn copy_to_egress(&mut self, from: Places, to: &[Replica], packet: &Passing<'_>) {
        let egress = self.blocks.egress;
        let mut values = self.scratch.values.take();
        if to.len() > 1 {
            self.save(from, &mut values);
        }
        for copy in to {
            if let Err(reason) = self.pass(packet.depth) {
                (self.emit)(Output::Dropped(reason));
                break;
            }
            if to.len() > 1 {
                self.restore(&values, egress);
            } else {
                self.hand_over(from, egress);
                self.copy_standard(from, egress);
            }
            if let Err(reason) = self.egress(packet, copy) {
                (self.emit)(Output::Dropped(reason));
            }
        }
        self.scratch.values.give(values);
    }

    /// Runs egress and deparser, for a packet whose values are set.
    fn egress(&mut self, packet: &Passing<'_>, copy: &Replica) -> Result<(), DropReason> {
        let egress = self.blocks.egress;
        self.set(egress, |s| &s.instance_type, packet.instance);
        self.set(egress, |s| &s.egress_port, copy.port);
        self.set(egress, |s| &s.egress_rid, copy.instance);
        self.set(egress, |s| &s.egress_spec, 0);
        let now = self.scratch.local.now_ns / 1000;
        self.set(egress, |s| &s.egress_timestamp, now);
        self.scratch.local.begin(packet.original_length);
        self.run(egress.function, packet.data, packet.payload)?;
        let requests = self.scratch.local.requests;
        let clone = requests.clone_egress;
        let clone = clone.and_then(|(id, list)| Some((self.at.session(id)?, list)));
        let mut values = self.scratch.values.take();
        if clone.is_some() || requests.recirculate.is_some() {
            self.save(egress, &mut values);
        }
        let left = self.leave(packet, copy, &requests, &values);
        if let Some((copies, list)) = clone {
            // Headers are restored; metadata is cleared except for the fields of the list.
            self.restore(&values, egress);
            let lists = &self.blocks.lists;
            lists.retain(list, self.metadata(egress));
            let clone = Passing {
                instance: instance::EGRESS_CLONE,
                truncate: copies.truncate,
                depth: packet.depth + 1,
                ..*packet
            };
            self.copy_to_egress(egress, copies.replicas, &clone);
        }
        self.scratch.values.give(values);
        left
    }

    /// Completes egress: the packet is sent, or recirculated with the preserved metadata in
    /// `values`.
    fn leave(
        &mut self,
        packet: &Passing<'_>,
        copy: &Replica,
        requests: &Requests,
        values: &[u64],
    ) -> Result<(), DropReason> {
        let blocks = self.blocks;
        if requests.drop || self.get(blocks.egress, |s| &s.egress_spec) == DROP_PORT {
            return Err(DropReason::Program);
        }
        let port = self.get(blocks.egress, |s| &s.ingress_port);
        self.hand_over(blocks.egress, blocks.compute);
        self.run(blocks.compute.function, packet.data, packet.payload)?;
        self.hand_over(blocks.compute, blocks.deparser);
        self.scratch.writer.clear();
        self.run(blocks.deparser.function, packet.data, packet.payload)?;
        let (data, taken) = (packet.data, packet.payload);
        let writer = &mut self.scratch.writer;
        let whole = packet.round.leave(self.input, data, taken, writer);
        let asked = requests.truncate.and_then(|n| usize::try_from(n).ok());
        let limits = [asked, packet.truncate, whole.truncate];
        let sent = Sent {
            port: copy.port as u32,
            kind: match packet.instance {
                instance::REPLICATED => SentKind::Multicast,
                instance::INGRESS_CLONE | instance::EGRESS_CLONE => SentKind::Clone,
                _ => SentKind::Packet,
            },
            truncate: limits.into_iter().flatten().min(),
            receive: requests.receive,
            ..whole
        };
        let Some(list) = requests.recirculate else {
            (self.emit)(Output::Sent(sent));
            return Ok(());
        };
        let mut data = self.scratch.bytes.take();
        let round = Round::again(&sent, self.input, &mut data);
        self.enter(&Entering {
            data: &data,
            round,
            port,
            instance: instance::RECIRCULATED,
            kept: Some((self.saved_metadata(values), list)),
            depth: packet.depth + 1,
        });
        self.scratch.bytes.give(data);
        Ok(())
    }
}
