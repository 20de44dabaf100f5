// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Several packets in flight at once: while the memory that one needs is fetched, others proceed.
//!
//! A packet whose code reaches something that depends on the packets' order (a meter, an entry that
//! packets add, the connection tracker) waits until those before it are complete. Only the tracker is
//! asked earlier, by a packet of a connection that it knows: packets of different connections count
//! as simultaneous, as they do on different cores. So results are those of packets one by one.

use adit_conntrack::ConnectionRef;

use super::{Blocks, Pass};
use crate::p4::environment::Forward;
use crate::p4::lane::{At, Scratch, LANES};
use crate::p4::native::{Leave, Turn, WaitsFor};
use crate::p4::packets::{Input, Output};
use crate::p4::tables::STAGES;

/// The connections of packets that are not complete, and whether any of these packets may still be
/// tracked.
#[derive(Default)]
struct InFlight {
    connections: [Option<ConnectionRef>; LANES],
    count: usize,
    is_open: bool,
}

impl InFlight {
    /// Adds the packet of a lane; `tracks_once`: no pass tracks a packet twice.
    fn add(&mut self, lane: &Scratch, tracks_once: bool) {
        let tracked = lane.local.tracked.as_ref();
        let connection = tracked.and_then(|tracked| tracked.tracked().connection());
        match (lane.is_waiting(), connection) {
            (true, Some(connection)) if tracks_once => {
                self.connections[self.count] = Some(connection);
                self.count += 1;
            }
            (true, _) => self.is_open = true,
            // It is tracked again in its next pass, and so may its answer be.
            (false, _) => {
                let forward = lane.local.requests.forward;
                self.is_open |= matches!(
                    forward,
                    Forward::Again | Forward::AgainInner | Forward::RejectBehind(_)
                );
            }
        }
    }

    /// Returns whether a packet of a connection may be tracked before these are complete.
    fn permit(&self, connection: ConnectionRef) -> bool {
        let others = &self.connections[..self.count];
        !self.is_open && !others.contains(&Some(connection))
    }
}

/// Returns how a suspended packet may go on, if it may; `others` are those before it.
fn leave(
    lane: &mut Scratch,
    input: &Input<'_>,
    has_turn: bool,
    others: &InFlight,
) -> Option<Leave> {
    match lane.waits_for()? {
        WaitsFor::Lookup(_) => Some(Leave::overlapping(has_turn)),
        WaitsFor::Call(_) if has_turn || !others.is_open => {
            match lane.local.locate_connection(input.data) {
                Some(_) if has_turn => Some(Leave::overlapping(true)),
                Some(connection) if others.permit(connection) => Some(Leave {
                    may_wait: true,
                    turn: Turn::Once,
                }),
                _ => has_turn.then_some(Leave::TO_THE_END),
            }
        }
        // While it goes on, the others wait for their turns: it need not wait for lookups.
        WaitsFor::Call(_) | WaitsFor::Table(_) => has_turn.then_some(Leave::TO_THE_END),
    }
}

impl Blocks {
    /// Processes packets, at most one for each lane, of which several are in flight in their first
    /// passes. `emit` gets their outputs in the packets' order.
    pub(in crate::p4) fn process_some(
        &self,
        at: At<'_>,
        lanes: &mut [Scratch],
        inputs: &[Input<'_>],
        emit: &mut impl FnMut(usize, Output<'_>),
    ) {
        let count = inputs.len().min(lanes.len());
        let mut firsts = [Ok(0); LANES];
        // Packets before the first suspended one are complete.
        let (mut through, mut waiting) = (0, 0);
        for (n, (lane, input)) in lanes.iter_mut().zip(inputs).enumerate() {
            self.prepare(lane, input, &Pass::first(input));
            let leave = Leave::overlapping(waiting == 0);
            firsts[n] = lane.begin(at, self.linked.function, input.data, leave);
            waiting += usize::from(lane.is_waiting());
            if waiting == 0 {
                self.complete(at, lane, input, firsts[n], &mut |output| emit(n, output));
                through = n + 1;
            }
        }
        while std::mem::take(&mut waiting) > 0 {
            for stage in 1..STAGES {
                for lane in &mut lanes[through..count] {
                    lane.advance(at, stage);
                }
            }
            let mut others = InFlight::default();
            let pending = through..count;
            for n in pending {
                let (lane, input) = (&mut lanes[n], &inputs[n]);
                if let Some(leave) = leave(lane, input, waiting == 0, &others) {
                    firsts[n] = lane.go_on(at, input.data, leave);
                }
                waiting += usize::from(lane.is_waiting());
                if waiting == 0 {
                    self.complete(at, lane, input, firsts[n], &mut |output| emit(n, output));
                    through = n + 1;
                } else {
                    others.add(lane, self.tracks_once);
                }
            }
        }
    }
}
