// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages of the program (`log_msg`, failed assertions) in the log of the NIC, at a bounded rate.

use adit_pipeline::p4::events::{escape, LogMessage};
use adit_pipeline::p4::Engine;

/// The maximum number of messages logged per turn; a turn is a quarter of a second.
const MESSAGES: usize = 16;

/// The state of logging for the running program.
#[derive(Debug, Default)]
pub(crate) struct ProgramLog {
    /// The number of lost messages when the program was polled last.
    lost: u64,
}

impl ProgramLog {
    /// Logs the pending messages, and the number of those beyond the bound.
    pub(crate) fn log(&mut self, engine: &Engine) {
        let (messages, beyond) = self.take(engine);
        for LogMessage { place, text } in messages {
            tracing::info!(target: "adit_nic::program", %place, "{text}");
        }
        if beyond > 0 {
            tracing::warn!(target: "adit_nic::program", "{beyond} more messages are not shown");
        }
    }

    /// Takes the pending messages: those to be logged, with control characters escaped, and the
    /// number of those beyond the bound.
    fn take(&mut self, engine: &Engine) -> (Vec<LogMessage>, u64) {
        let waiting = engine.logs().waiting();
        let mut taken = std::iter::from_fn(|| engine.logs().take()).take(waiting);
        let escaped = |message: LogMessage| LogMessage {
            place: escape(&message.place),
            text: escape(&message.text),
        };
        let messages = taken.by_ref().take(MESSAGES).map(escaped).collect();
        let lost = engine.logs().lost();
        // The counter of a program that was swapped in starts at zero.
        let new = lost.checked_sub(self.lost).unwrap_or(lost);
        self.lost = lost;
        (messages, taken.count() as u64 + new)
    }
}

#[cfg(test)]
mod tests {
    use adit_pipeline::p4::events::MAX_EVENTS;
    use adit_pipeline::p4::Input;

    use super::*;
    use crate::program::Program;

    const TEXT: &str = r#"
        #include <adit.p4>
        header h_t { bit<8> a; }
        struct H { h_t h; } struct M {}
        parser P(packet_in pkt, out H h, inout M m, in pna_main_parser_input_metadata_t i) {
            state start { pkt.extract(h.h); transition accept; }
        }
        control C(inout H h, inout M m, in pna_main_input_metadata_t i,
                  inout pna_main_output_metadata_t o) {
            apply { log_msg("a is\n{}.", { h.h.a }); }
        }
        control D(packet_out pkt, in H h, in M m, in pna_main_output_metadata_t o) { apply {} }
        PNA_NIC(P(), C(), D()) main;"#;

    #[test]
    fn messages_of_packets_are_logged_and_bounded() {
        let program = Program::from_text("log.p4", TEXT).unwrap();
        let engine = program.engine().clone();
        let mut worker = Engine::worker(&engine);
        let mut log = ProgramLog::default();
        let mut send = |count: usize| {
            for _ in 0..count {
                let input = Input::new(0, &[7]);
                worker.process(0, &[input], &mut |_, _| {});
            }
        };
        send(2);
        let (messages, beyond) = log.take(&engine);
        let texts: Vec<_> = messages.iter().map(|m| m.text.as_str()).collect();
        assert_eq!((texts, beyond), (vec![r"a is\n7."; 2], 0));
        assert!(messages[0].place.starts_with("log.p4:10:"), "{messages:?}");
        send(MAX_EVENTS + 10);
        let (messages, beyond) = log.take(&engine);
        assert_eq!(messages.len(), MESSAGES);
        assert_eq!(beyond, (MAX_EVENTS + 10 - MESSAGES) as u64);
        assert_eq!(log.take(&engine), (Vec::new(), 0));
    }
}
