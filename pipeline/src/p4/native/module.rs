// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program's machine code: generation, ownership and execution.

use adit_p4_frontend::ir::{FunctionId, Inst, Program, Slot};
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, Signature, Type, Value};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{default_libcall_names, FuncId, Linkage, Module};

use super::context::{applied_word, end, Bridge, Context, GOING_ON};
use super::emit::{Helpers, Translator};
use super::graph::{Graph, Slots};
use super::helpers;
use super::inline::{Inlined, Node};
use super::liveness::Headers;
use super::source::Source;
use super::verbatim::Verbatim;
use super::{Begin, Borders, Leave, Ran, Untranslated, Waiting};
use crate::p4::effects::Effects;
use crate::p4::environment::Environment;
use crate::p4::externs::{self, Architecture};
use crate::p4::fields::Flat;
use crate::p4::machine::{Machine, Packet};
use crate::p4::packet::Reader;
use crate::p4::tables::{Places, Plan};

type Entry = extern "C" fn(&mut Context<'_, '_>);

/// One block.
struct Code {
    entry: Entry,
    /// The number of steps of a run without back-edges.
    cost: u64,
}

/// The machine code of a program's blocks.
pub(in crate::p4) struct Native {
    /// The memory that holds the code; `None` only during drop.
    module: Option<JITModule>,
    /// The code, indexed by function.
    code: Vec<Option<Code>>,
    others: Vec<Inst>,
    /// Set if no run executes two calls of a tracker's `track`.
    tracks_once: bool,
    /// The largest number of values that the translation of a function kept from ends of blocks.
    #[cfg(test)]
    kept: usize,
}

// SAFETY: after its code is finalized the module is accessed only to free it, which requires
// exclusive access; the code itself is immutable memory, and operates only on its arguments.
unsafe impl Send for Native {}
// SAFETY: as above.
unsafe impl Sync for Native {}

fn refused(error: impl std::fmt::Display) -> Untranslated {
    Untranslated::Refused(error.to_string())
}

/// The helpers: name, parameter types after the context, and return types.
const HELPERS: [(&str, &[Type], &[Type]); 13] = [
    ("apply", &[I32], &[I64]),
    ("external", &[I32], &[]),
    ("count_direct", &[I32], &[]),
    ("other", &[I32], &[I64]),
    ("emit", &[I32, I32], &[]),
    ("copy", &[I32, I32, I32], &[]),
    ("clear", &[I32, I32], &[]),
    ("in_turn", &[I32], &[I64]),
    ("count", &[I32, I64], &[]),
    ("miss", &[I32], &[I64]),
    ("find", &[I32], &[I64]),
    ("reserve", &[I32], &[]),
    ("find_hashed", &[I32, I64], &[I64]),
];

fn address(helper: &str) -> *const u8 {
    match helper {
        "apply" => helpers::apply as *const u8,
        "external" => helpers::external as *const u8,
        "count_direct" => helpers::count_direct as *const u8,
        "other" => helpers::other as *const u8,
        "emit" => helpers::emit as *const u8,
        "copy" => helpers::copy as *const u8,
        "in_turn" => helpers::in_turn as *const u8,
        "count" => helpers::count as *const u8,
        "miss" => helpers::miss as *const u8,
        "find" => helpers::find as *const u8,
        "reserve" => helpers::reserve as *const u8,
        "find_hashed" => helpers::find_hashed as *const u8,
        _ => helpers::clear as *const u8,
    }
}

fn builder() -> Result<JITBuilder, Untranslated> {
    let mut flags = settings::builder();
    let checks = if cfg!(debug_assertions) {
        "true"
    } else {
        "false"
    };
    for (name, value) in [
        ("opt_level", "speed"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        ("enable_verifier", checks),
        ("unwind_info", "false"),
    ] {
        flags.set(name, value).map_err(refused)?;
    }
    let isa = cranelift_native::builder().map_err(refused)?;
    let isa = isa.finish(settings::Flags::new(flags)).map_err(refused)?;
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    for (name, ..) in HELPERS {
        builder.symbol(name, address(name));
    }
    Ok(builder)
}

/// Computes the slots that are never written: their values are constants in the program.
fn constants(program: &Program, borders: &Borders) -> Slots {
    let mut written = Slots::new(program.frame.len());
    let mut given = Slots::new(program.frame.len());
    for inst in program.functions.iter().flat_map(|f| &f.code) {
        let effects = match inst {
            Inst::Apply { table, hit, action } => Effects::of_table(*table, *hit, *action, program),
            _ => Effects::of(inst, program),
        };
        // The results of an extern are initially zero.
        let touched = match inst {
            Inst::Extern { .. } => &mut given,
            _ => &mut written,
        };
        effects.touches.into_iter().for_each(|run| touched.add(run));
        effects.writes.into_iter().for_each(|run| written.add(run));
    }
    borders.given.iter().for_each(|run| written.add(*run));
    let mut constants = Slots::new(program.frame.len());
    for (slot, value) in program.frame.iter().enumerate() {
        let slot = slot as u32;
        if !written.has(slot) && (*value != 0 || !given.has(slot)) {
            constants.add((slot, 1));
        }
    }
    constants
}

/// Returns whether all reads of a block start and end at byte boundaries.
fn is_aligned(code: &Inlined<'_>, layouts: &[Flat]) -> bool {
    code.nodes.iter().all(|node| match node {
        Node::Plain(inst) | Node::Parse { inst, .. } => match inst {
            Inst::Extract { layout, .. } => layouts[*layout as usize].bits % 8 == 0,
            _ => true,
        },
        _ => true,
    })
}

impl Native {
    /// Adds the slots to a program's frame that machine code needs. Returns the first one.
    pub(in crate::p4) fn reserve(program: &mut Program) -> Slot {
        let first = program.frame.len();
        let count = Verbatim::slots(&Headers::new(program));
        program.frame.resize(first + count, 0);
        first as Slot
    }

    pub(in crate::p4) fn new(program: &Program, borders: &Borders) -> Result<Native, Untranslated> {
        if cfg!(miri) {
            return Err(Untranslated::NotBuilt);
        }
        let layouts: Vec<Flat> = program.layouts.iter().map(Flat::new).collect();
        let too_short = program.errors.iter().position(|e| e == "PacketTooShort");
        let source = Source {
            program,
            calls: match program.package.as_str() {
                // Unsupported externs of a program are reported when it is loaded.
                "PNA_NIC" => externs::resolve(program, Architecture::Pna).unwrap_or_default(),
                _ => Vec::new(),
            },
            layouts: &layouts,
            // A table with keys of an unknown kind is refused when it is created.
            plans: program
                .tables
                .iter()
                .map(|table| Plan::of(table).unwrap_or_default())
                .collect(),
            places: program.tables.iter().map(Places::of).collect(),
            constants: constants(program, borders),
            headers: Headers::new(program),
            too_short: too_short.unwrap_or(0) as u32,
        };
        let mut parts = Vec::new();
        for function in &borders.entries {
            if parts
                .iter()
                .all(|part: &(FunctionId, _, _, _)| part.0 != *function)
            {
                let code = Inlined::new(program, *function)?;
                let graph = Graph::new(&code, program)?;
                let verbatim = match borders.places {
                    Some(places) if is_aligned(&code, &layouts) => Verbatim::new(
                        &code,
                        &graph,
                        program,
                        &source.headers,
                        &layouts,
                        &source.constants,
                        places,
                    ),
                    _ => Verbatim::default(),
                };
                parts.push((*function, code, graph, verbatim));
            }
        }
        // Slots that are live at a function's end: those that callers read, and those that any
        // function reads before writing, since it may find values there from an earlier run of
        // itself or another.
        let mut at_end = Slots::new(program.frame.len());
        borders.taken.iter().for_each(|run| at_end.add(*run));
        let mut is_changed = true;
        while is_changed {
            is_changed = false;
            for (_, code, graph, verbatim) in &mut parts {
                graph.live(
                    code,
                    program,
                    &source.headers,
                    &source.constants,
                    verbatim,
                    &at_end,
                );
                is_changed |= at_end.add_all(&graph.blocks[0].live_in);
            }
        }
        let mut native = Native {
            module: None,
            code: program.functions.iter().map(|_| None).collect(),
            others: Vec::new(),
            tracks_once: parts.iter().all(|(_, code, graph, _)| {
                let tracks = |node: &Node<'_>| match node {
                    Node::Plain(Inst::Extern { call }) => source.is_track(*call),
                    _ => false,
                };
                !graph.may_repeat(code, tracks)
            }),
            #[cfg(test)]
            kept: 0,
        };
        let module = native.module.insert(JITModule::new(builder()?));
        let mut made = Vec::new();
        for (function, code, graph, verbatim) in &parts {
            let others = &mut native.others;
            let (id, _kept) = translate(module, &source, code, graph, verbatim, others)?;
            #[cfg(test)]
            {
                native.kept = native.kept.max(_kept);
            }
            made.push((*function, id));
        }
        module.finalize_definitions().map_err(refused)?;
        for (function, id) in made {
            let start = module.get_finalized_function(id);
            // SAFETY: the function was made with this signature: one pointer, to a context.
            let entry = unsafe { std::mem::transmute::<*const u8, Entry>(start) };
            let cost = program.functions[function as usize].code.len() as u64 + 1;
            native.code[function as usize] = Some(Code { entry, cost });
        }
        Ok(native)
    }

    /// Returns whether no run tracks its packet twice.
    pub(in crate::p4) fn tracks_once(&self) -> bool {
        self.tracks_once
    }

    /// Runs a block to its end, or until it suspends. Returns `None` if it has no suitable code. A
    /// suspended block is resumed by passing it back, with the result of its lookup.
    #[inline(always)]
    pub(in crate::p4) fn run(
        &self,
        function: FunctionId,
        machine: &mut Machine,
        host: &mut Environment<'_>,
        packet: &mut Packet<'_, '_>,
        from: Begin,
        leave: Leave,
    ) -> Option<Ran> {
        let code = self.code[function as usize].as_ref()?;
        // Resumed code handles an unaligned read position.
        if !packet.reader.is_aligned() && !matches!(from, Begin::Again(..)) {
            return None;
        }
        let data = packet.reader.data();
        let frame = machine.frame.as_mut_ptr();
        let sums = host.local.sums.as_mut_ptr();
        let key = host.local.key.as_mut_ptr();
        let input_queue = host.local.input_queue.into();
        let tables = host.state.tables.as_ptr();
        let counts = host.local.counts.as_ptr();
        let weight = host.local.weight(None);
        let reached = &raw mut *host.local.applied;
        let (out, out_length, out_room) = packet.writer.space();
        let (end_before, steps, resume, applied) = match from {
            Begin::Start => (GOING_ON, code.cost, 0, None),
            Begin::Again(waited, applied) => (waited.end, waited.steps, waited.resume, applied),
        };
        let mut bridge = Bridge {
            leave,
            waits_for: None,
            machine,
            host,
            writer: packet.writer,
            data,
            others: &self.others,
        };
        let mut context = Context {
            frame,
            data: data.as_ptr(),
            bits: data.len() as u64 * 8,
            next_bit: packet.reader.position() as u64,
            out,
            out_length: out_length as u64,
            out_room: out_room as u64,
            end: end_before,
            steps,
            resume,
            applied: applied.map_or(0, |applied| applied_word(&applied)),
            key,
            sums,
            forward: 0,
            forward_to: 0,
            requested: 0,
            queue: 0,
            flow_id: 0,
            hash: 0,
            input_queue,
            tables,
            reached,
            may_wait: leave.may_wait.into(),
            counts,
            packets: weight.packets,
            bytes: weight.bytes,
            bridge: &mut bridge,
        };
        (code.entry)(&mut context);
        let (word, next_bit) = (context.end, context.next_bit as usize);
        let written = context.out_length as usize;
        let (steps, resume) = (context.steps, context.resume);
        let waits_for = bridge.waits_for;
        context.take_requests(&mut bridge.host.local.requests);
        // SAFETY: the code has written all bytes up to there: it adds a header's bytes to the
        // length after it has stored them, and stores within the capacity that it was passed.
        unsafe { packet.writer.set_written(written) };
        packet.reader = Reader::resume(data, next_bit);
        Some(match waits_for {
            None => Ran::Ended(end(word)),
            Some(what) => Ran::Waits(Waiting {
                what,
                end: word,
                steps,
                resume,
            }),
        })
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.code.clear();
        if let Some(module) = self.module.take() {
            // SAFETY: the entries are gone, and nothing runs: running borrows `self`.
            unsafe { module.free_memory() };
        }
    }
}

fn translate(
    module: &mut JITModule,
    source: &Source<'_>,
    code: &Inlined<'_>,
    graph: &Graph,
    verbatim: &Verbatim,
    others: &mut Vec<Inst>,
) -> Result<(FuncId, usize), Untranslated> {
    let pointer = module.target_config().pointer_type();
    if pointer != I64 {
        return Err(refused("only for pointers of 64 bits"));
    }
    let mut context = module.make_context();
    context.func.signature.params.push(AbiParam::new(pointer));
    let mut helpers = Vec::new();
    for (name, takes, gives) in HELPERS {
        let mut signature = Signature::new(module.target_config().default_call_conv);
        signature.params.push(AbiParam::new(pointer));
        signature
            .params
            .extend(takes.iter().map(|t| AbiParam::new(*t)));
        signature
            .returns
            .extend(gives.iter().map(|t| AbiParam::new(*t)));
        let id = module
            .declare_function(name, Linkage::Import, &signature)
            .map_err(refused)?;
        helpers.push(module.declare_func_in_func(id, &mut context.func));
    }
    let mut room = FunctionBuilderContext::new();
    let mut translator = Translator {
        of: source,
        code,
        graph,
        verbatim,
        b: FunctionBuilder::new(&mut context.func, &mut room),
        blocks: Vec::new(),
        helpers: Helpers {
            apply: helpers[0],
            external: helpers[1],
            count_direct: helpers[2],
            other: helpers[3],
            emit: helpers[4],
            copy: helpers[5],
            clear: helpers[6],
            in_turn: helpers[7],
            count: helpers[8],
            miss: helpers[9],
            find: helpers[10],
            reserve: helpers[11],
            find_hashed: helpers[12],
        },
        context: Value::from_u32(0),
        frame: Value::from_u32(0),
        known: Default::default(),
        failed: None,
        too_long: None,
        resumes: Vec::new(),
        resumed: 0,
        others,
        is_aligned: is_aligned(code, source.layouts),
    };
    let kept = translator.translate();
    translator.b.finalize();
    let id = module
        .declare_anonymous_function(&context.func.signature)
        .map_err(refused)?;
    module
        .define_function(id, &mut context)
        .map_err(|error| refused(format!("{error:?}")))?;
    module.clear_context(&mut context);
    Ok((id, kept))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use adit_p4_frontend::source::NoIncludes;
    use adit_p4_frontend::{compile, Options};

    use super::super::ends::MAX_KEPT_IN_ALL;
    use crate::p4::engine::Blocks;

    /// A control plane may load a program with many fields that are known at the ends of many blocks.
    #[test]
    fn the_values_that_a_translation_keeps_are_bounded() {
        for (fields, joins) in [(1500, 1000), (500, 1000)] {
            let (mut members, mut first, mut then, mut last) = Default::default();
            let made: [&mut String; 4] = [&mut members, &mut first, &mut then, &mut last];
            let [members, first, then, last] = made;
            for n in 0..fields {
                write!(members, "bit<32> x_{n};").unwrap();
                write!(first, "m.x_{n} = m.x_{n} + (bit<32>) h.first.value;").unwrap();
                write!(last, "m.sum = m.sum ^ m.x_{n};").unwrap();
            }
            for n in 0..joins {
                let bit = n % 8;
                let x = n % fields;
                write!(
                    then,
                    "if (h.first.value[{bit}:{bit}] == 1) {{ m.x_{x} = {n}; }}"
                )
                .unwrap();
            }
            let text = format!(
                "#include <adit.p4>
                header byte_t {{ bit<8> value; }}
                struct headers_t {{ byte_t first; }}
                struct meta_t {{ bit<32> sum; {members} }}
                parser P(packet_in pkt, out headers_t h, inout meta_t m,
                         in pna_main_parser_input_metadata_t istd) {{
                    state start {{ pkt.extract(h.first); transition accept; }}
                }}
                control C(inout headers_t h, inout meta_t m, in pna_main_input_metadata_t istd,
                          inout pna_main_output_metadata_t ostd) {{
                    apply {{ {first} {then} {last} send_to_port((PortId_t) m.sum); }}
                }}
                control D(packet_out pkt, in headers_t h, in meta_t m,
                          in pna_main_output_metadata_t ostd) {{ apply {{ pkt.emit(h); }} }}
                PNA_NIC(P(), C(), D()) main;"
            );
            let compiled = compile("test.p4", &text, &NoIncludes, &Options::default());
            let rendered = compiled.diagnostics.render(&compiled.sources);
            let mut program = compiled.program.unwrap_or_else(|| panic!("{rendered}"));
            let (_, native) = Blocks::translated(&mut program).unwrap();
            let native = native.unwrap();
            // Those of the block before a condition, and of the one that it guards.
            assert!(native.kept <= 4 * 1024, "{fields}: {}", native.kept);
            assert!(native.kept <= MAX_KEPT_IN_ALL);
        }
    }
}
