// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that need not be executed.

use std::sync::Arc;

use adit_p4_frontend::ir::{Inst, Program};
use adit_pipeline::p4::Receive;
use adit_pipeline::p4::{Direction, Engine, Input, Output, SentKind};

use crate::ids::P4Port;

/// Returns whether a program passes every frame unchanged to the layer 2 stage: it does nothing but
/// move values and select the destination, and has the same result for frames that have nothing in
/// common.
pub(super) fn is_switch(engine: &Arc<Engine>) -> bool {
    if !looks_at_nothing(engine.program()) {
        return false;
    }
    let mut worker = Engine::worker(engine);
    let probes = [
        (0, Direction::NetToHost, &[][..]),
        (0x5A5A_5A5A, Direction::HostToNet, &[0xA5; 64][..]),
    ];
    probes.into_iter().all(|(port, direction, data)| {
        let input = Input {
            direction,
            ..Input::new(port, data)
        };
        let mut outputs = 0;
        let mut is_whole = false;
        worker.process(port.into(), &[input], &mut |_, output| {
            outputs += 1;
            is_whole = matches!(output, Output::Sent(sent)
                if (sent.port, sent.kind, sent.receive)
                    == (P4Port::SWITCH.0, SentKind::Packet, Receive::default())
                && sent.headers.is_empty()
                && sent.payload_offset == 0
                && sent.truncate.is_none());
        });
        outputs == 1 && is_whole
    })
}

/// Returns whether values in the program are constants or provided by the architecture, as they are
/// without packets, tables, conditions and arithmetic.
fn looks_at_nothing(program: &Program) -> bool {
    let moves = |inst: &Inst| {
        matches!(
            inst,
            Inst::Move { .. }
                | Inst::Zero { .. }
                | Inst::Jump { .. }
                | Inst::IfEnding { .. }
                | Inst::Call { .. }
                | Inst::Return
                // Between blocks.
                | Inst::EndBlock { .. }
                // In the `reject` state, which every parser has.
                | Inst::Reject { .. }
                | Inst::Extern { .. }
        )
    };
    let code = program.functions.iter().flat_map(|f| &f.code);
    program.tables.is_empty()
        && program.externs.is_empty()
        && program
            .calls
            .iter()
            .all(|c| c.object.is_none() && c.name == "send_to_port")
        && code.into_iter().all(moves)
}

#[cfg(test)]
mod tests {
    use super::super::Program;

    fn with(apply: &str) -> Program {
        let text = include_str!("../../../p4/default.p4");
        let text = text.replace("send_to_port(ADIT_PORT_SWITCH);", apply);
        Program::from_text("test.p4", &text).unwrap()
    }

    #[test]
    fn the_default_program_is_not_run() {
        assert!(Program::standard().unwrap().is_switch());
    }

    #[test]
    fn what_depends_on_anything_is_run() {
        for apply in [
            "",
            "drop_packet();",
            "send_to_port(istd.input_port);",
            "send_to_port((PortId_t) 0);",
            "send_to_port(ADIT_PORT_SWITCH); drop_packet();",
            "send_to_port(ADIT_PORT_SWITCH); set_queue(1);",
            "if (istd.input_port == (PortId_t) 7) { send_to_port((PortId_t) 3); } else { send_to_port(ADIT_PORT_SWITCH); }",
        ] {
            assert!(!with(apply).is_switch(), "{apply}");
        }
    }
}
