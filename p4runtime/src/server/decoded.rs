// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory that a request takes once it is decoded, counted while its bytes arrive: an element of
//! a repeated field may be two bytes in the protobuf encoding and hundreds in memory.

use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use tonic::Status;

use crate::proto::v1;

/// The service whose requests are counted.
const SERVICE: &str = "p4.v1.P4Runtime";
/// The length of the prefix of a gRPC message: a flag for compression and the message's length.
const PREFIX: usize = 5;
/// The maximum nesting of messages, which is that of the decoder.
const MAX_DEPTH: usize = 100;
/// The size of a message in memory, where no other is given below.
const MESSAGE: usize = 256;
/// The size of a number in a repeated field.
const NUMBER: usize = size_of::<u64>();

/// A repeated field or one with a message.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// The bytes in memory for each element; 0 if the field is not repeated.
    element: usize,
    holds: Holds,
}

#[derive(Clone, Copy, Debug)]
enum Holds {
    /// A message, by its index.
    Message(usize),
    /// Numbers, one or several in a length-delimited value.
    Numbers,
    /// Bytes or a string.
    Bytes,
}

/// The fields of all messages that a request may contain.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    messages: Vec<HashMap<u64, Field>>,
    /// The index of each method's request, by the method's path.
    methods: HashMap<String, usize>,
}

impl Shapes {
    /// Collects the messages that the requests of the service contain.
    pub(super) fn new(pool: &DescriptorPool) -> Shapes {
        let mut shapes = Shapes::default();
        let mut known = HashMap::new();
        let mut waiting = Vec::new();
        let mut index = |message: MessageDescriptor, waiting: &mut Vec<MessageDescriptor>| {
            let next = known.len();
            *known
                .entry(message.full_name().to_owned())
                .or_insert_with(|| {
                    waiting.push(message);
                    next
                })
        };
        let service = pool.get_service_by_name(SERVICE);
        for method in service.iter().flat_map(|service| service.methods()) {
            let path = format!("/{SERVICE}/{}", method.name());
            let request = index(method.input(), &mut waiting);
            shapes.methods.insert(path, request);
        }
        let mut at = 0;
        while let Some(message) = waiting.get(at).cloned() {
            let mut fields = HashMap::new();
            for field in message.fields() {
                let holds = match field.kind() {
                    Kind::Message(inner) => Holds::Message(index(inner, &mut waiting)),
                    Kind::String | Kind::Bytes => Holds::Bytes,
                    _ => Holds::Numbers,
                };
                let element = element(&field);
                if element > 0 || matches!(holds, Holds::Message(_)) {
                    fields.insert(u64::from(field.number()), Field { element, holds });
                }
            }
            shapes.messages.push(fields);
            at += 1;
        }
        shapes
    }
}

/// Returns the bytes in memory for an element of a repeated field, of which half may be spare
/// capacity; 0 for another field.
fn element(field: &FieldDescriptor) -> usize {
    if !field.is_list() && !field.is_map() {
        return 0;
    }
    let size = match field.kind() {
        Kind::Message(message) => match message.full_name() {
            "p4.v1.Update" => size_of::<v1::Update>(),
            "p4.v1.Entity" => size_of::<v1::Entity>(),
            "p4.v1.FieldMatch" => size_of::<v1::FieldMatch>(),
            "p4.v1.Action.Param" => size_of::<v1::action::Param>(),
            "p4.v1.Replica" => size_of::<v1::Replica>(),
            _ => MESSAGE,
        },
        Kind::String | Kind::Bytes => size_of::<String>(),
        _ => NUMBER,
    };
    2 * size
}

/// The position in a message.
#[derive(Clone, Copy, Debug)]
struct Level {
    message: usize,
    /// The bytes of the message that have not arrived yet.
    rest: u64,
}

/// The part of the encoding that the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum At {
    Prefix {
        read: usize,
        length: u32,
    },
    /// The number and wire type of a field.
    Tag,
    /// A number.
    Varint {
        counted: usize,
    },
    /// The length of a value.
    Length(Option<Field>),
    /// Bytes that are not looked into.
    Skip(u64),
}

/// A counter of the memory of one request.
#[derive(Debug)]
pub(super) struct Decoded {
    shapes: Arc<Shapes>,
    request: usize,
    at: At,
    levels: Vec<Level>,
    varint: u64,
    shift: u32,
}

impl Decoded {
    /// Creates the counter for a method's request; `None` if there is no such method.
    pub(super) fn new(shapes: &Arc<Shapes>, path: &str) -> Option<Decoded> {
        Some(Decoded {
            shapes: shapes.clone(),
            request: *shapes.methods.get(path)?,
            at: At::Prefix { read: 0, length: 0 },
            levels: Vec::new(),
            varint: 0,
            shift: 0,
        })
    }

    /// Returns the bytes of memory for the elements that begin in the next bytes of the request.
    pub(super) fn count(&mut self, mut bytes: &[u8]) -> Result<usize, Status> {
        let mut memory = 0_usize;
        loop {
            self.leave();
            let Some((first, behind)) = bytes.split_first() else {
                return Ok(memory);
            };
            if let At::Skip(rest) = self.at {
                let skipped = rest.min(bytes.len() as u64);
                self.advance(skipped)?;
                bytes = &bytes[skipped as usize..];
                self.at = match rest - skipped {
                    0 => At::Tag,
                    rest => At::Skip(rest),
                };
                continue;
            }
            bytes = behind;
            memory = memory.saturating_add(self.byte(*first)?);
        }
    }

    /// Ends the messages that have arrived completely.
    fn leave(&mut self) {
        if !matches!(self.at, At::Tag) {
            return;
        }
        while self.levels.last().is_some_and(|level| level.rest == 0) {
            self.levels.pop();
        }
        if self.levels.is_empty() {
            self.at = At::Prefix { read: 0, length: 0 };
        }
    }

    /// Consumes bytes of the current message.
    fn advance(&mut self, bytes: u64) -> Result<(), Status> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(());
        };
        let rest = level.rest.checked_sub(bytes);
        level.rest = rest.ok_or_else(|| malformed("a value is longer than its message"))?;
        Ok(())
    }

    /// Handles a byte other than a skipped one.
    fn byte(&mut self, byte: u8) -> Result<usize, Status> {
        if let At::Prefix { read, length } = self.at {
            // Compressed messages are refused by the decoder: no encoding is accepted.
            let length = match read {
                0 => 0,
                _ => length << 8 | u32::from(byte),
            };
            self.at = At::Prefix {
                read: read + 1,
                length,
            };
            if read + 1 == PREFIX {
                self.levels.push(Level {
                    message: self.request,
                    rest: u64::from(length),
                });
                self.at = At::Tag;
            }
            return Ok(0);
        }
        self.advance(1)?;
        if self.shift >= 70 {
            return Err(malformed("a number has more than 10 bytes"));
        }
        self.varint |= u64::from(byte & 0x7F).checked_shl(self.shift).unwrap_or(0);
        self.shift += 7;
        if byte & 0x80 != 0 {
            return Ok(0);
        }
        let number = std::mem::take(&mut self.varint);
        self.shift = 0;
        match self.at {
            At::Tag => self.tag(number),
            At::Varint { counted } => {
                self.at = At::Tag;
                Ok(counted)
            }
            At::Length(field) => self.value(field, number),
            At::Prefix { .. } | At::Skip(_) => Ok(0),
        }
    }

    fn tag(&mut self, tag: u64) -> Result<usize, Status> {
        let message = self.levels.last().map_or(self.request, |l| l.message);
        let field = self.shapes.messages[message].get(&(tag >> 3)).copied();
        let counted = match field {
            Some(Field {
                element,
                holds: Holds::Numbers,
            }) => element,
            _ => 0,
        };
        let (at, counted) = match tag & 7 {
            0 => (At::Varint { counted }, 0),
            1 => (At::Skip(8), counted),
            2 => (At::Length(field), 0),
            5 => (At::Skip(4), counted),
            kind => {
                return Err(malformed(&format!(
                    "field {} has wire type {kind}, which no message of P4Runtime uses",
                    tag >> 3
                )))
            }
        };
        self.at = at;
        Ok(counted)
    }

    /// Handles the length of a value.
    fn value(&mut self, field: Option<Field>, length: u64) -> Result<usize, Status> {
        self.at = match length {
            0 => At::Tag,
            length => At::Skip(length),
        };
        let Some(Field { element, holds }) = field else {
            return Ok(0);
        };
        match holds {
            Holds::Bytes => Ok(element),
            // Each byte may be a number.
            Holds::Numbers => Ok(element.saturating_mul(length as usize)),
            Holds::Message(message) => {
                // The bytes are those of the inner message, and end with it.
                self.advance(length)?;
                if self.levels.len() >= MAX_DEPTH {
                    return Err(malformed("messages are nested too deeply"));
                }
                self.levels.push(Level {
                    message,
                    rest: length,
                });
                self.at = At::Tag;
                Ok(element)
            }
        }
    }
}

fn malformed(why: &str) -> Status {
    Status::invalid_argument(format!("the request cannot be decoded: {why}"))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn shapes() -> Arc<Shapes> {
        let pool = DescriptorPool::decode(crate::proto::DESCRIPTORS).expect("descriptors");
        Arc::new(Shapes::new(&pool))
    }

    /// Encodes a request with the prefix of gRPC.
    fn framed(request: &impl Message) -> Vec<u8> {
        let body = request.encode_to_vec();
        let mut framed = vec![0];
        framed.extend_from_slice(&(body.len() as u32).to_be_bytes());
        framed.extend_from_slice(&body);
        framed
    }

    fn write(updates: Vec<v1::Update>) -> v1::WriteRequest {
        v1::WriteRequest {
            device_id: 300,
            election_id: Some(v1::Uint128 { high: 1, low: 2 }),
            updates,
            ..Default::default()
        }
    }

    fn counted(path: &str, bytes: &[u8], piece: usize) -> Result<usize, Status> {
        let mut decoded = Decoded::new(&shapes(), path).expect("a method");
        bytes.chunks(piece).map(|b| decoded.count(b)).sum()
    }

    #[test]
    fn elements_at_all_depths_are_counted_in_any_pieces() {
        const WRITE: &str = "/p4.v1.P4Runtime/Write";
        let update = 2 * size_of::<v1::Update>();
        let field = 2 * size_of::<v1::FieldMatch>();
        let table = v1::TableEntry {
            table_id: u32::MAX,
            r#match: vec![v1::FieldMatch::default(); 3],
            metadata: vec![0x0A; 300],
            ..Default::default()
        };
        let with_table = v1::Update {
            r#type: 1,
            entity: Some(v1::Entity {
                entity: Some(v1::entity::Entity::TableEntry(table)),
            }),
        };
        let empty = v1::Update::default();
        let bytes = framed(&write(vec![empty, with_table, v1::Update::default()]));
        for piece in [1, 2, 7, bytes.len()] {
            let found = counted(WRITE, &bytes, piece).expect("it is well-formed");
            assert_eq!(found, 3 * update + 3 * field);
        }
        let read = v1::ReadRequest {
            entities: vec![v1::Entity::default(); 5],
            ..Default::default()
        };
        let found = counted("/p4.v1.P4Runtime/Read", &framed(&read), 3);
        assert_eq!(
            found.expect("it is well-formed"),
            10 * size_of::<v1::Entity>()
        );
        let none = Decoded::new(&shapes(), "/p4.v1.P4Runtime/Other");
        assert!(none.is_none());
    }

    #[test]
    fn packed_numbers_are_counted() {
        let table = crate::proto::config::Table {
            implementation_id: 7,
            direct_resource_ids: vec![1; 100],
            ..Default::default()
        };
        let request = v1::SetForwardingPipelineConfigRequest {
            config: Some(v1::ForwardingPipelineConfig {
                p4info: Some(crate::proto::config::P4Info {
                    tables: vec![table],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let path = "/p4.v1.P4Runtime/SetForwardingPipelineConfig";
        let found = counted(path, &framed(&request), 5).expect("it is well-formed");
        assert_eq!(found, 2 * MESSAGE + 100 * 2 * NUMBER);
    }

    #[test]
    fn malformed_requests_are_refused() {
        let path = "/p4.v1.P4Runtime/Write";
        // A message longer than the one that contains it, a long number, a group.
        for body in [&[0x22, 5, 0x0A, 9, 0, 0, 0, 0][..], &[0x80; 11], &[0x0B]] {
            let mut bytes = vec![0, 0, 0, 0, body.len() as u8];
            bytes.extend_from_slice(body);
            let error = counted(path, &bytes, 1).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error:?}");
        }
    }
}
