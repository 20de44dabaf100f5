// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traces of the packets of a NIC on loopback.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adit_conntrack::Time;
use adit_pipeline::p4::{self, Engine, Input, Output, Worker, FIRST_HOST_PORT};
use adit_trace::{Dropped, Injection, Record, Refused, Seen, Sent, Tap, Watcher, SNAP};

use crate::nic::{direction, Clock};

/// The clients of a NIC's traces, and a worker for packets that they inject.
pub(crate) struct Taps {
    engine: Arc<Engine>,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    worker: Worker,
    clients: Vec<(u64, Watcher)>,
    numbered: u64,
}

/// The service's side.
#[derive(Clone)]
pub(crate) struct Handle(pub(crate) Arc<Taps>);

impl Taps {
    pub(crate) fn new(engine: &Arc<Engine>, clock: &Clock) -> Arc<Taps> {
        Arc::new(Taps {
            engine: engine.clone(),
            clock: clock.clone(),
            state: Mutex::new(State {
                worker: Engine::worker(engine),
                clients: Vec::new(),
                numbered: 0,
            }),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes a packet. If a client wants it, it is traced.
    pub(crate) fn process(
        &self,
        worker: &mut Worker,
        now: u64,
        input: &Input<'_>,
        out: &mut dyn FnMut(Output<'_>),
    ) {
        let mut state = self.state();
        let tracker = self.engine.tracker();
        let tracker = tracker.map(|it| (&**it, Time::from_nanos(now)));
        let seen = Seen::new(input.port, input.data, tracker);
        let wants = |client: &mut (u64, Watcher)| {
            let passes = seen.as_ref().is_some_and(|seen| client.1.passes(seen));
            passes && client.1.take(now)
        };
        let wanting = state.clients.iter_mut().map(wants).collect::<Vec<_>>();
        if !wanting.contains(&true) {
            drop(state);
            return worker.process(now, &[*input], &mut |_, output| out(output));
        }
        let record = Arc::new(self.trace(worker, now, input, out));
        let pairs = state.clients.iter_mut().zip(wanting);
        let takers = pairs.filter(|(_, wants)| *wants);
        takers.for_each(|((_, client), _)| client.give(&record));
    }

    fn trace(
        &self,
        worker: &mut Worker,
        now: u64,
        input: &Input<'_>,
        out: &mut dyn FnMut(Output<'_>),
    ) -> Record {
        let mut record = Record {
            engine: Some(self.engine.clone()),
            time_ns: now,
            port: input.port,
            length: input.length,
            data: input.data[..input.data.len().min(SNAP)].to_vec(),
            ..Record::default()
        };
        record.events = worker.process_traced(now, input, &mut |_, output| {
            match &output {
                Output::Sent(sent) => record.outputs.push(Sent::new(sent, input.data)),
                Output::Dropped(p4::DropReason::UnknownSession) => {}
                Output::Dropped(reason) => record.dropped = Some(Dropped::Engine(*reason)),
            }
            out(output);
        });
        record
    }
}

impl Tap for Handle {
    fn add(&self, watcher: Watcher) -> Result<u64, Refused> {
        let mut state = self.0.state();
        state.numbered += 1;
        let number = state.numbered;
        state.clients.push((number, watcher));
        Ok(number)
    }

    fn remove(&self, client: u64) {
        let mut state = self.0.state();
        state.clients.retain(|(number, _)| *number != client);
    }

    fn inject(&self, injection: &Injection) -> Result<Record, Refused> {
        let input = Input {
            direction: direction(injection.port),
            queue: match injection.port < FIRST_HOST_PORT {
                true => p4::NO_QUEUE,
                false => injection.queue,
            },
            ..Input::new(injection.port, &injection.data)
        };
        let State { worker, .. } = &mut *self.0.state();
        Ok(self
            .0
            .trace(worker, self.0.clock.now_ns(), &input, &mut |_| {}))
    }

    fn start_date(&self) -> Duration {
        adit_conntrack_rpc::Clock::start_date(&self.0.clock)
    }
}
