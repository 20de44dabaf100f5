// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The intermediate form: what a program does, for an engine to run or to generate code from.
//!
//! There are no types and names any more where packets pass, but *slots*: limbs of 64 bits in one
//! frame, each value at a fixed place. P4 has no recursion, so every function's parameters, locals
//! and temporaries have fixed places too, and calls pass nothing but control. Parsers, controls
//! and actions are instantiated: one function each, for each instance. Constants are in the frame
//! as well, so that an operand is always a slot.
//!
//! A value of `w` bits takes `max(1, ceil(w / 64))` limbs, the least significant first; bits above
//! its width are 0, also if it is signed. Booleans, enums and errors take one limb.

use std::sync::Arc;

/// The index of a limb in the frame; of a value's first one.
pub type Slot = u32;

/// A program for one architecture.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Where `main` is in the source: file, line and column.
    pub place: String,
    /// The name of the package that `main` is: the architecture.
    pub package: String,
    /// What the frame holds at the beginning: constants, and zeros.
    pub frame: Vec<u64>,
    /// All code.
    pub functions: Vec<Function>,
    /// The parsers and controls given to the package, in its order.
    pub blocks: Vec<Block>,
    /// All tables of all instances.
    pub tables: Vec<Table>,
    /// All instances of extern objects.
    pub externs: Vec<ExternInstance>,
    /// Calls of extern functions and methods, by the index that code has.
    pub calls: Vec<ExternCall>,
    /// Types that code reads from or writes to packets.
    pub layouts: Vec<Layout>,
    /// Value sets of parsers.
    pub value_sets: Vec<ValueSet>,
    /// Names of errors; `NoError` is the first.
    pub errors: Vec<String>,
    /// What control planes have to know of it.
    pub control: crate::control::Api,
}

/// Code that is called and returns.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// The name as control planes know it.
    pub name: String,
    /// The code; the last instruction does not fall through.
    pub code: Vec<Inst>,
    /// Places in the code that have names: the states of a parser.
    pub labels: Vec<(u32, String)>,
}

/// The index of a function.
pub type FunctionId = u32;

/// A parser or control given to the package.
#[derive(Clone, Debug)]
pub struct Block {
    /// The package's name for it.
    pub role: String,
    /// The name of its declaration.
    pub name: String,
    /// Its code.
    pub function: FunctionId,
    /// Its parameters, those that are objects (`packet_in`) left out.
    pub parameters: Vec<BlockParameter>,
    /// Whether it is a parser.
    pub is_parser: bool,
}

/// A parameter of a block.
#[derive(Clone, Debug)]
pub struct BlockParameter {
    /// Its name.
    pub name: String,
    /// Its name in the architecture's declaration of the block.
    pub role: String,
    /// Where it is.
    pub slot: Slot,
    /// What it is.
    pub layout: Layout,
    /// Whether the block changes it.
    pub is_written: bool,
}

/// What a value is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// An integer: its width, and whether it is signed.
    Bits(u32, bool),
    /// A truth value.
    Bool,
    /// An error, by its index in `Program::errors`.
    Error,
    /// An enum without values, by the index of its member.
    Enum(Arc<[String]>),
    /// A varbit: one limb with its length in bits, then room for the longest.
    Varbit(u32),
    /// A structure or tuple.
    Struct(Arc<Fields>),
    /// A header: one limb with its validity, then its fields.
    Header(Arc<Fields>),
    /// A header union: its headers, of which at most one is valid.
    Union(Arc<Fields>),
    /// A stack: one limb with the next index, then the elements, and how many.
    Stack(Arc<Layout>, u32),
}

/// The fields of a structure, header or union.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    /// The type's name; empty for tuples.
    pub name: String,
    /// The fields in order.
    pub fields: Vec<Field>,
    /// How many limbs there are in all.
    pub limbs: u32,
}

/// A field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The offset of its first limb.
    pub offset: u32,
    /// What it is.
    pub layout: Layout,
    /// The numbers in its `@field_list` annotations.
    pub field_lists: Vec<u32>,
}

/// How many limbs a value of that many bits takes.
pub const fn limbs_of(width: u32) -> u32 {
    match width.div_ceil(64) {
        0 => 1,
        n => n,
    }
}

impl Layout {
    /// How many limbs a value takes.
    pub fn limbs(&self) -> u32 {
        match self {
            Layout::Bits(width, _) => limbs_of(*width),
            Layout::Bool | Layout::Error | Layout::Enum(_) => 1,
            Layout::Varbit(width) => 1 + limbs_of(*width),
            Layout::Struct(fields) | Layout::Header(fields) | Layout::Union(fields) => fields.limbs,
            Layout::Stack(element, count) => 1 + element.limbs() * count,
        }
    }

    /// How many bits a value has in a packet, a varbit as if it were empty.
    pub fn bits(&self) -> u32 {
        match self {
            Layout::Bits(width, _) => *width,
            Layout::Bool => 1,
            Layout::Error | Layout::Enum(_) => 32,
            Layout::Varbit(_) => 0,
            Layout::Struct(fields) | Layout::Header(fields) => {
                fields.fields.iter().map(|f| f.layout.bits()).sum()
            }
            Layout::Union(_) => 0,
            Layout::Stack(element, count) => element.bits() * count,
        }
    }
}

/// Arithmetic on two operands of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The sum, modulo the width.
    Add,
    /// The difference, modulo the width.
    Sub,
    /// The product, modulo the width.
    Mul,
    /// The quotient, unsigned; 0 if the divisor is 0.
    Div,
    /// The remainder, unsigned; 0 if the divisor is 0.
    Mod,
    /// The saturated sum, signed or not.
    AddSat(bool),
    /// The saturated difference, signed or not.
    SubSat(bool),
    /// Bit by bit.
    And,
    /// Bit by bit.
    Or,
    /// Bit by bit.
    Xor,
}

/// Comparison of two operands of one width; the result is a truth value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less, signed or not.
    Lt(bool),
    /// Less or equal, signed or not.
    Le(bool),
}

/// An instruction. `dst` is where the result goes; jumps go to indices of the function's code.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the fields are operands that the variant's text names"
)]
pub enum Inst {
    /// Copies limbs.
    Move {
        dst: Slot,
        src: Slot,
        limbs: u32,
    },
    /// Clears limbs.
    Zero {
        dst: Slot,
        limbs: u32,
    },
    /// Arithmetic.
    Binary {
        op: Op,
        dst: Slot,
        a: Slot,
        b: Slot,
        width: u32,
    },
    /// Comparison.
    Compare {
        cmp: Cmp,
        dst: Slot,
        a: Slot,
        b: Slot,
        width: u32,
    },
    /// `a` shifted left by `b`, which has a width of its own.
    Shl {
        dst: Slot,
        a: Slot,
        b: Slot,
        width: u32,
        amount_width: u32,
    },
    /// `a` shifted right, its sign kept if it is signed.
    Shr {
        dst: Slot,
        a: Slot,
        b: Slot,
        width: u32,
        amount_width: u32,
        signed: bool,
    },
    /// All bits inverted.
    Not {
        dst: Slot,
        a: Slot,
        width: u32,
    },
    /// Two's complement.
    Neg {
        dst: Slot,
        a: Slot,
        width: u32,
    },
    /// Another width: cut, or extended with zeros or the sign.
    Resize {
        dst: Slot,
        a: Slot,
        from: u32,
        to: u32,
        signed: bool,
    },
    /// Bits from `low` on, `to` of them.
    Slice {
        dst: Slot,
        a: Slot,
        from: u32,
        low: u32,
        to: u32,
    },
    /// Puts `a`, of `bits` bits, into `dst` at `low`.
    SetSlice {
        dst: Slot,
        width: u32,
        a: Slot,
        low: u32,
        bits: u32,
    },
    /// `a` above `b`, of `low` bits; the result has `width`.
    Concat {
        dst: Slot,
        a: Slot,
        b: Slot,
        low: u32,
        width: u32,
    },
    /// A truth value inverted.
    LogicalNot {
        dst: Slot,
        a: Slot,
    },
    /// Copies `limbs` from `base + index * stride`; zeros if the index is beyond `count`.
    Load {
        dst: Slot,
        base: Slot,
        index: Slot,
        stride: u32,
        count: u32,
        limbs: u32,
    },
    /// Copies `limbs` to `base + index * stride`; nothing if the index is beyond `count`.
    Store {
        src: Slot,
        base: Slot,
        index: Slot,
        stride: u32,
        count: u32,
        limbs: u32,
    },
    /// Whether two varbits are equal.
    EqualVarbit {
        dst: Slot,
        a: Slot,
        b: Slot,
        max: u32,
    },
    Jump {
        to: u32,
    },
    /// Jumps if the truth value is as `when`.
    Branch {
        cond: Slot,
        when: bool,
        to: u32,
    },
    Call {
        function: FunctionId,
    },
    Return,
    /// Ends everything up to the block: what is called returns, what was `out` is copied.
    Exit,
    /// Jumps while everything ends.
    IfEnding {
        to: u32,
    },
    /// A block has ended, and what comes next begins as if nothing had: gives the index of the error
    /// that it ended with, or that of `NoError`. Engines put it between blocks that they join.
    EndBlock {
        error: Slot,
    },
    /// Ends parsing with the error of that index in the slot.
    Reject {
        error: Slot,
    },
    /// Looks up and runs the action; tells whether there was an entry and which action it was.
    Apply {
        table: u32,
        hit: Slot,
        action: Slot,
    },
    /// Reads a header; `length` is the slot with the bits of its varbit.
    Extract {
        layout: u32,
        dst: Slot,
        length: Option<Slot>,
    },
    /// Reads a value without moving on.
    Lookahead {
        layout: u32,
        dst: Slot,
    },
    /// Moves on by that many bits.
    Advance {
        bits: Slot,
    },
    /// The packet's length in bytes.
    PacketLength {
        dst: Slot,
    },
    /// Appends a header if it is valid.
    Emit {
        layout: u32,
        src: Slot,
    },
    /// Shifts a stack's elements, towards higher indices if `count` is positive.
    Push {
        base: Slot,
        stride: u32,
        elements: u32,
        count: i32,
    },
    /// Whether a value set has the value.
    InValueSet {
        set: u32,
        dst: Slot,
    },
    /// Calls an extern function or method.
    Extern {
        call: u32,
    },
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Where it is in the source: file, line and column.
    pub place: String,
    /// The name as control planes know it.
    pub name: String,
    /// The keys.
    pub keys: Vec<Key>,
    /// The actions that entries may have.
    pub actions: Vec<TableAction>,
    /// The default action.
    pub default: Chosen,
    /// Whether control planes cannot change the default action.
    pub const_default: bool,
    /// The entries that the program gives.
    pub entries: Vec<Entry>,
    /// Whether control planes cannot change entries.
    pub const_entries: bool,
    /// How many entries are asked for.
    pub size: Option<u64>,
    /// The other properties.
    pub properties: Vec<(String, Constant)>,
}

/// A key of a table.
#[derive(Clone, Debug)]
pub struct Key {
    /// The name as control planes know it.
    pub name: String,
    /// Where its value is when the table is applied.
    pub slot: Slot,
    /// How many bits it has.
    pub width: u32,
    /// How it is matched: `exact`, `lpm`, ….
    pub kind: String,
    /// Whether it is a signed integer.
    pub signed: bool,
}

/// An action of a table.
#[derive(Clone, Debug)]
pub struct TableAction {
    /// The name as control planes know it.
    pub name: String,
    /// What entries set.
    pub parameters: Vec<ActionParameter>,
    /// What runs it.
    pub function: FunctionId,
    /// Whether it is for the default action only.
    pub default_only: bool,
    /// Whether it is for entries only.
    pub table_only: bool,
}

/// A parameter of an action that entries set.
#[derive(Clone, Debug)]
pub struct ActionParameter {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub slot: Slot,
    /// How many bits it has.
    pub width: u32,
}

/// An action with values for its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// The index in the table's actions.
    pub action: u32,
    /// One value for each parameter, as limbs.
    pub arguments: Vec<Vec<u64>>,
}

/// An entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What each key has to be.
    pub keys: Vec<Match>,
    /// What is done.
    pub chosen: Chosen,
    /// The larger one wins.
    pub priority: i64,
}

/// What a key has to be; values are limbs.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// Anything.
    Any,
    /// That value.
    Exact(Vec<u64>),
    /// That value where the mask has ones.
    Ternary(Vec<u64>, Vec<u64>),
    /// From one value to another, both included.
    Range(Vec<u64>, Vec<u64>),
}

/// A value set of a parser.
#[derive(Clone, Debug)]
pub struct ValueSet {
    /// The name as control planes know it.
    pub name: String,
    /// Where the values are that are looked up, and how wide they are.
    pub keys: Vec<(Slot, u32)>,
    /// How many members it may have.
    pub size: u64,
}

/// An instance of an extern object.
#[derive(Clone, Debug)]
pub struct ExternInstance {
    /// Where it is in the source: file, line and column.
    pub place: String,
    /// The name as control planes know it.
    pub name: String,
    /// The name of its type.
    pub kind: String,
    /// The arguments of its constructor.
    pub arguments: Vec<Constant>,
    /// Its type arguments.
    pub types: Vec<Layout>,
}

/// A call of an extern function or method.
#[derive(Clone, Debug)]
pub struct ExternCall {
    /// Where it is in the source: file, line and column.
    pub place: String,
    /// The object, for methods.
    pub object: Option<u32>,
    /// The name of the function or method.
    pub name: String,
    /// The arguments, one for each parameter; `None` for optional ones that are not given.
    pub arguments: Vec<Option<Argument>>,
    /// Where the result goes.
    pub result: Option<(Slot, Layout)>,
}

/// An argument of an extern.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A value in the frame. What is `out` is copied from there.
    Value(Slot, Layout),
    /// A text.
    Text(String),
}

/// A value that is known when the program is loaded.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// An integer; what it does not hold is cut.
    Int(u128),
    /// A truth value.
    Bool(bool),
    /// The name of an enum's member.
    Enum(String),
    /// A text.
    Text(String),
    /// An extern instance, by its index.
    Object(u32),
    /// Several values.
    List(Vec<Constant>),
}
