// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What control planes have to know of a program beyond what it does: types by their names,
//! annotations, documentation. Lists go with those of `ir::Program`, one element for each.

use std::collections::BTreeMap;

/// What a program shows to control planes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Api {
    /// The annotations of `main`.
    pub package: Vec<Annotation>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The actions, each once.
    pub actions: Vec<Action>,
    /// The extern objects.
    pub externs: Vec<Extern>,
    /// The value sets.
    pub value_sets: Vec<ValueSet>,
    /// What is sent to control planes by calls of a function, not by an object: name and type.
    pub digests: Vec<(String, Type)>,
    /// Headers of packets to and from control planes.
    pub headers: Vec<ControllerHeader>,
    /// The types that have names, as far as they are in use here.
    pub types: BTreeMap<String, Definition>,
    /// All errors, if one of these types is an error.
    pub has_errors: bool,
}

/// An annotation.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Its name.
    pub name: String,
    /// What it says.
    pub body: Body,
}

/// What an annotation says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// Its text, and the values in it as far as they are any.
    Text(String, Vec<Value>),
    /// Values.
    List(Vec<Value>),
    /// Values with names.
    Record(Vec<(String, Value)>),
}

/// A value in an annotation.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// A name.
    Name(String),
    /// A type of that many bits.
    Bits(u32),
}

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// `bit`.
    Bit(u32),
    /// `int`.
    Int(u32),
    /// `varbit`.
    Varbit(u32),
    /// `bool`.
    Bool,
    /// `error`.
    Error,
    /// A tuple.
    Tuple(Vec<Type>),
    /// A structure, by its name.
    Struct(String),
    /// A header, by its name.
    Header(String),
    /// A header union, by its name.
    Union(String),
    /// An enum, by its name.
    Enum(String),
    /// An enum with values, by its name.
    Serializable(String),
    /// A `type`, by its name.
    New(String),
    /// A stack of headers or unions.
    Stack(Box<Type>, u32),
    /// What control planes have no word for.
    Other,
}

/// A type that has a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Definition {
    /// A structure's fields.
    Struct(Vec<(String, Type)>),
    /// A header's fields.
    Header(Vec<(String, Type)>),
    /// A union's headers.
    Union(Vec<(String, Type)>),
    /// An enum's members.
    Enum(Vec<String>),
    /// The width of an enum's values, and its members with theirs, most significant byte first.
    Serializable(u32, Vec<(String, Vec<u8>)>),
    /// What a `type` is made of in the end, and its annotations.
    New(Type, Vec<Annotation>),
}

/// Something with a name, a type and annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The name.
    pub name: String,
    /// The type.
    pub ty: Type,
    /// How many bits a value has; 0 for enums without values.
    pub width: u32,
    /// The annotations.
    pub annotations: Vec<Annotation>,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its keys.
    pub keys: Vec<Item>,
    /// The annotations of its references to actions.
    pub actions: Vec<Vec<Annotation>>,
    /// Whether the default action, NoAction, is not in the program's list of actions.
    pub unlisted_default: bool,
}

/// An action.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// The name as control planes know it.
    pub name: String,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// What entries set.
    pub parameters: Vec<Item>,
    /// Whether anything but its declaration speaks of it.
    pub is_used: bool,
}

/// An extern object.
#[derive(Clone, Debug, PartialEq)]
pub struct Extern {
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its type arguments.
    pub types: Vec<Type>,
}

/// A value set.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueSet {
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// What members are made of; one without a name if it is no structure.
    pub fields: Vec<Item>,
}

/// A header of packets to and from control planes.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerHeader {
    /// The name in the annotation: `packet_in`, `packet_out`.
    pub name: String,
    /// The type's name.
    pub type_name: String,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its fields.
    pub fields: Vec<Item>,
}

/// Whether there is an annotation of that name.
pub fn has(annotations: &[Annotation], name: &str) -> bool {
    annotations.iter().any(|a| a.name == name)
}

/// The values of the annotation of that name.
pub fn values<'a>(annotations: &'a [Annotation], name: &str) -> Option<&'a [Value]> {
    let found = annotations.iter().find(|a| a.name == name)?;
    match &found.body {
        Body::Text(_, values) | Body::List(values) => Some(values),
        _ => None,
    }
}

/// The text that the annotation of that name is.
pub fn text<'a>(annotations: &'a [Annotation], name: &str) -> Option<&'a str> {
    match values(annotations, name)? {
        [Value::Text(text), ..] => Some(text),
        _ => None,
    }
}

/// The number that the annotation of that name is.
pub fn number(annotations: &[Annotation], name: &str) -> Option<i64> {
    match values(annotations, name)? {
        [Value::Int(number), ..] => Some(*number),
        _ => None,
    }
}
