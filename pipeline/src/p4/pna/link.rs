// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Links a program's blocks into one function: before each block, code that initialises its
//! parameters, then the block. So a pass of a packet is one run, and machine code can keep the
//! values passed between blocks in registers, or eliminate them.

use adit_p4_frontend::ir::{
    Block, BlockParameter, Function, FunctionId, Inst, Layout, Op, Program, Slot,
};

use crate::p4::bits;
use crate::p4::effects::SlotRange;
use crate::p4::load_error::MainError;

/// Name of the linked function; a program's functions cannot have it.
const NAME: &str = "all blocks";

/// Packet attributes supplied by the architecture, one limb each: the names of their metadata
/// fields, and their widths in bits. The parser error is computed by the function itself.
const GIVEN: [(&[&str], u32); 5] = [
    (&["direction"], 1),
    (&["pass"], 3),
    // The names in the older form, and in 0.7.
    (&["loopedback", "recirculated"], 1),
    (&["input_port"], 32),
    (&["timestamp"], 64),
];

/// The linked function, and the slots of its input attributes.
#[derive(Clone, Copy, Debug)]
pub(in crate::p4) struct Linked {
    pub(in crate::p4) function: FunctionId,
    given: Slot,
}

impl Linked {
    /// The run of slots to be written before the function runs.
    pub(in crate::p4) fn given(&self) -> SlotRange {
        (self.given, GIVEN.len() as u32)
    }

    /// Writes the attributes, in the order of [`GIVEN`].
    #[inline]
    pub(super) fn give(&self, frame: &mut [u64], values: [u64; GIVEN.len()]) {
        frame[self.given as usize..][..GIVEN.len()].copy_from_slice(&values);
    }
}

/// A parameter of a block.
#[derive(Clone, Copy)]
struct Parameter<'a>(&'a Block, usize);

impl<'a> Parameter<'a> {
    fn get(self) -> Result<&'a BlockParameter, MainError> {
        let found = self.0.parameters.get(self.1);
        found.ok_or_else(|| MainError::Block(self.0.name.clone()))
    }

    fn run(self) -> Result<SlotRange, MainError> {
        let found = self.get()?;
        Ok((found.slot, found.layout.limbs()))
    }
}

/// State of the linker.
struct Linker<'p> {
    program: &'p mut Program,
    code: Vec<Inst>,
    given: Slot,
    /// The slot of the parser's error.
    error: Slot,
    /// A dummy slot for errors of blocks that cannot have any.
    unused: Slot,
}

/// Adds the linked function to a program.
pub(in crate::p4) fn link(program: &mut Program) -> Result<Linked, MainError> {
    let find = |role: &str| program.blocks.iter().find(|b| b.role == role).cloned();
    let need = |role: &str| find(role).ok_or_else(|| MainError::Block(role.to_owned()));
    let (parser, control) = (need("main_parser")?, need("main_control")?);
    let (deparser, pre) = (need("main_deparser")?, find("pre_control"));

    let given = program.frame.len() as Slot;
    let error = given + GIVEN.len() as Slot;
    program.frame.resize(error as usize + 2, 0);
    let mut linker = Linker {
        program,
        code: Vec::new(),
        given,
        error,
        unused: error + 1,
    };
    // All values are zero at the start of each pass.
    linker.clear(Parameter(&parser, 0))?;
    linker.clear(Parameter(&parser, 1))?;
    linker.fill(Parameter(&parser, 2))?;
    linker.call(&parser, error);
    if let Some(pre) = &pre {
        linker.hand_over(Parameter(&parser, 0), Parameter(pre, 0))?;
        linker.hand_over(Parameter(&parser, 1), Parameter(pre, 1))?;
        linker.fill(Parameter(pre, 2))?;
        linker.clear(Parameter(pre, 3))?;
        linker.call(pre, linker.unused);
    }
    linker.hand_over(Parameter(&parser, 0), Parameter(&control, 0))?;
    linker.hand_over(Parameter(&parser, 1), Parameter(&control, 1))?;
    // The user metadata written by the pre-control, if it has the same type.
    if let Some(pre) = &pre {
        let (from, to) = (Parameter(pre, 1), Parameter(&control, 1));
        if from.get()?.layout == to.get()?.layout {
            linker.hand_over(from, to)?;
        }
    }
    linker.fill(Parameter(&control, 2))?;
    linker.clear(Parameter(&control, 3))?;
    linker.call(&control, linker.unused);
    linker.hand_over(Parameter(&control, 0), Parameter(&deparser, 0))?;
    linker.hand_over(Parameter(&control, 1), Parameter(&deparser, 1))?;
    linker.hand_over(Parameter(&control, 3), Parameter(&deparser, 2))?;
    linker.call(&deparser, linker.unused);
    linker.code.push(Inst::Return);

    let Linker { program, code, .. } = linker;
    let function = program.functions.len() as FunctionId;
    program.functions.push(Function {
        name: NAME.to_owned(),
        code,
        labels: Vec::new(),
    });
    Ok(Linked { function, given })
}

impl Linker<'_> {
    fn zero(&mut self, (dst, limbs): SlotRange) {
        // Adjacent runs are cleared with one instruction.
        match self.code.last_mut() {
            Some(Inst::Zero {
                dst: last,
                limbs: count,
            }) if *last + *count == dst => *count += limbs,
            _ => self.code.push(Inst::Zero { dst, limbs }),
        }
    }

    fn clear(&mut self, parameter: Parameter<'_>) -> Result<(), MainError> {
        let run = parameter.run()?;
        self.zero(run);
        Ok(())
    }

    /// Initialises a parameter from another block's, or with zeros if the types differ.
    fn hand_over(&mut self, from: Parameter<'_>, to: Parameter<'_>) -> Result<(), MainError> {
        let ((src, _), (dst, limbs)) = (from.run()?, to.run()?);
        if src == dst {
            // The parameters share their slots.
        } else if from.get()?.layout == to.get()?.layout {
            self.code.push(Inst::Move { dst, src, limbs });
        } else {
            self.zero((dst, limbs));
        }
        Ok(())
    }

    /// Fills a metadata structure from the architecture; unknown fields are zero.
    fn fill(&mut self, parameter: Parameter<'_>) -> Result<(), MainError> {
        let (slot, limbs) = parameter.run()?;
        let Layout::Struct(list) = &parameter.get()?.layout else {
            return Err(MainError::Block(parameter.0.name.clone()));
        };
        self.zero((slot, limbs));
        for field in list.fields.iter().filter(|f| f.layout.limbs() == 1) {
            let (src, width) = match field.name.as_str() {
                "parser_error" => (self.error, 32),
                name => match GIVEN.iter().position(|known| known.0.contains(&name)) {
                    Some(n) => (self.given + n as u32, GIVEN[n].1),
                    None => continue,
                },
            };
            let (dst, room) = (slot + field.offset, field.layout.bits());
            let inst = match width <= room {
                true => Inst::Move { dst, src, limbs: 1 },
                false => Inst::Binary {
                    op: Op::And,
                    dst,
                    a: src,
                    b: self.constant(bits::mask(room)),
                    width: 64,
                },
            };
            self.code.push(inst);
        }
        Ok(())
    }

    fn constant(&mut self, value: u64) -> Slot {
        self.program.frame.push(value);
        self.program.frame.len() as Slot - 1
    }

    fn call(&mut self, block: &Block, error: Slot) {
        let function = block.function;
        self.code.push(Inst::Call { function });
        self.code.push(Inst::EndBlock { error });
    }
}
