// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program's blocks become one function: before each block, what the architecture puts where;
//! then the block. So a packet's way is one run, and machine code keeps in registers, or leaves out,
//! what one block hands to the next.

use adit_p4_frontend::ir::{
    Block, BlockParameter, Function, FunctionId, Inst, Layout, Op, Program, Slot,
};

use crate::p4::bits;
use crate::p4::effects::Run;
use crate::p4::engine::MainError;

/// What the linked function is called: no program's own has such a name.
const NAME: &str = "all blocks";

/// What the architecture says of a packet, one limb each: the fields of metadata that have it, and
/// how many bits it needs. A parser's error is the function's own.
const GIVEN: [(&[&str], u32); 5] = [
    (&["direction"], 1),
    (&["pass"], 3),
    // In the older form, and in 0.7.
    (&["loopedback", "recirculated"], 1),
    (&["input_port"], 32),
    (&["timestamp"], 64),
];

/// The linked function, and where it finds what is said of a packet.
#[derive(Clone, Copy, Debug)]
pub(in crate::p4) struct Linked {
    pub(in crate::p4) function: FunctionId,
    given: Slot,
}

impl Linked {
    /// What is written before the function runs.
    pub(in crate::p4) fn given(&self) -> Run {
        (self.given, GIVEN.len() as u32)
    }

    /// Says it, in the order of [`GIVEN`].
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

    fn run(self) -> Result<Run, MainError> {
        let found = self.get()?;
        Ok((found.slot, found.layout.limbs()))
    }
}

/// The function on its way.
struct Linker<'p> {
    program: &'p mut Program,
    code: Vec<Inst>,
    given: Slot,
    /// The error that the parser ended with.
    error: Slot,
    /// Where errors of blocks go that cannot have any.
    unused: Slot,
}

/// Adds the function to a program.
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
    // All values begin as zeros in each pass.
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
    // What the pre-control wrote of the user metadata, if it has the same type of it.
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
    fn zero(&mut self, (dst, limbs): Run) {
        // What lies side by side is cleared at once.
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

    /// A parameter begins as another block's, or as zeros if that has another type.
    fn hand_over(&mut self, from: Parameter<'_>, to: Parameter<'_>) -> Result<(), MainError> {
        let ((src, _), (dst, limbs)) = (from.run()?, to.run()?);
        if src == dst {
            // It is there already.
        } else if from.get()?.layout == to.get()?.layout {
            self.code.push(Inst::Move { dst, src, limbs });
        } else {
            self.zero((dst, limbs));
        }
        Ok(())
    }

    /// A structure of metadata that the architecture fills; what it does not know is zero.
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
