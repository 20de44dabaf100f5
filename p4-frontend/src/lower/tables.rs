// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lowering of tables.

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::{Failed, Lower, Result, Storage};
use crate::check::{has, Call, DefKind, Signature};
use crate::control;
use crate::eval::Value;
use crate::ir::{
    ActionParameter, Chosen, Constant, Entry, Inst, Key, Layout, Match, Slot, Table, TableAction,
};
use crate::syntax::ast::{
    self, ActionRef, Annotation, AnnotationBody, Argument, Decl, DeclKind, Direction, Expr,
    ExprKind, Property, PropertyValue,
};
use crate::types::{DefId, Kind};

impl<'a> Lower<'a, '_> {
    pub(super) fn table(
        &mut self,
        decl: &'a Decl,
        def: DefId,
        properties: &'a [Property],
    ) -> Result<u32> {
        let find = |name: &str| properties.iter().find(|p| &*p.name.name == name);
        let mut table = Table {
            place: self.sources.position(decl.name.span),
            name: self.visible_name(&decl.annotations, &decl.name.name),
            keys: Vec::new(),
            actions: Vec::new(),
            default: Chosen::default(),
            const_default: false,
            entries: Vec::new(),
            const_entries: false,
            size: None,
            properties: Vec::new(),
        };
        let mut shown = control::Table {
            annotations: self.shown_annotations(&decl.annotations),
            keys: Vec::new(),
            actions: Vec::new(),
            unlisted_default: false,
        };
        if let Some(PropertyValue::Key(keys)) = find("key").map(|p| &p.value) {
            for key in keys {
                let made = self.key(key)?;
                let ty = self.type_of(&key.expr);
                let item = self.shown_item(made.name.clone(), ty, &key.annotations);
                shown.keys.push(item);
                table.keys.push(made);
            }
        }
        let DefKind::Table(info) = &self.def(def).kind else {
            return Err(Failed);
        };
        let listed: Vec<(DefId, &'a ActionRef)> = info.actions.clone();
        for (action, reference) in &listed {
            let made = self.table_action(*action, reference)?;
            table.actions.push(made);
            let annotations = self.shown_annotations(&reference.annotations);
            shown.actions.push(annotations);
        }
        // `NoAction` unless another default is given, even if it is not listed.
        match find("default_action") {
            Some(property) => {
                table.const_default = property.is_const;
                if let PropertyValue::Expr(value) = &property.value {
                    let arguments: &'a [Argument] = match &value.kind {
                        ExprKind::Call(_, _, arguments) => arguments,
                        _ => &[],
                    };
                    table.default = self.chosen(value.id, arguments, &listed, &table.actions)?;
                }
            }
            None => {
                table.default = self.no_action(&mut table.actions, &listed)?;
                shown.unlisted_default = table.actions.len() > listed.len();
            }
        }
        for property in properties {
            match (&*property.name.name, &property.value) {
                ("size", PropertyValue::Expr(value)) => {
                    table.size = Some(self.entries_size(value)?.into());
                }
                ("default_action", _) => {}
                (name, PropertyValue::Expr(value)) => {
                    let value = self.property_value(value, &property.annotations)?;
                    table.properties.push((name.to_owned(), value));
                }
                ("entries", PropertyValue::Entries(entries)) => {
                    table.const_entries = property.is_const;
                    table.entries = self.entries(entries, &listed, &table, properties)?;
                }
                _ => {}
            }
        }
        if self.out.tables.iter().any(|t| t.name == table.name) {
            let name = &table.name;
            let message = format!("two tables are `{name}` to the control plane");
            return self.fail(decl.name.span, message);
        }
        self.out.control.tables.push(shown);
        self.out.tables.push(table);
        Ok(self.out.tables.len() as u32 - 1)
    }

    /// A number of entries, which may depend on constructor parameters.
    pub(super) fn entries_size(&mut self, size: &'a Expr) -> Result<u32> {
        let known = self.known(size)?.and_then(|v| v.int().cloned());
        match known.as_ref().map(|v| v.to_u32()) {
            Some(Some(size)) => Ok(size),
            Some(None) => {
                let size_is = known.unwrap_or_default();
                self.fail(
                    size.span,
                    format!("this size is 0 to {}, not {size_is}", u32::MAX),
                )
            }
            None => self.fail(
                size.span,
                "the compiler has to know this value, and does not",
            ),
        }
    }

    fn key(&mut self, key: &'a ast::Key) -> Result<Key> {
        let ty = self.type_of(&key.expr);
        let layout = self.layout(ty, key.expr.span)?;
        let width = match &layout {
            Layout::Bits(width, _) => *width,
            Layout::Bool => 1,
            Layout::Error | Layout::Enum(_) => 32,
            _ => return self.unsupported(key.expr.span, "keys of this type"),
        };
        let name = match crate::check::given_name(&key.annotations) {
            Some(name) => name.to_owned(),
            None => self.spelled(&key.expr),
        };
        Ok(Key {
            name,
            slot: self.allocate(layout.limbs()),
            width,
            kind: key.kind.name.to_string(),
            signed: matches!(layout, Layout::Bits(_, true)),
        })
    }

    /// An action of the table; if it has bound arguments, a function that passes them.
    fn table_action(&mut self, def: DefId, reference: &'a ActionRef) -> Result<TableAction> {
        let callable = self.action(def, reference.name.span)?;
        let name = self.out.functions[callable.function as usize].name.clone();
        let mut parameters = Vec::new();
        for parameter in &callable.parameters {
            if let (Direction::None, Some((slot, ty))) = (parameter.direction, parameter.place) {
                let layout = self.layout(ty, reference.name.span)?;
                let width = match &layout {
                    Layout::Error | Layout::Enum(_) => 32,
                    Layout::Bits(..) | Layout::Bool => layout.bits(),
                    _ => {
                        return self
                            .unsupported(reference.name.span, "parameters of this type in entries")
                    }
                };
                parameters.push(ActionParameter {
                    name: parameter.name.to_string(),
                    slot,
                    width,
                });
            }
        }
        let directed = callable
            .parameters
            .iter()
            .any(|p| p.direction != Direction::None);
        let function = match directed {
            false => callable.function,
            true => {
                let call = self.info.calls.get(&reference.id).cloned();
                let Some(call) = call else {
                    return Err(Failed);
                };
                let inner = callable.clone();
                self.function(name.clone(), None, |lower| {
                    lower.call_bound(&inner, &call, &reference.arguments)
                })?
            }
        };
        Ok(TableAction {
            name,
            parameters,
            function,
            default_only: has(&reference.annotations, "defaultonly"),
            table_only: has(&reference.annotations, "tableonly"),
        })
    }

    /// Calls an action with its bound arguments; the parameters that entries set are in their
    /// slots.
    fn call_bound(
        &mut self,
        callable: &std::rc::Rc<super::Callable>,
        call: &Call,
        arguments: &'a [Argument],
    ) -> Result<()> {
        let mut given = super::calls::given(call, arguments).into_iter();
        let bound = super::Callable {
            function: callable.function,
            parameters: callable
                .parameters
                .iter()
                .filter(|p| p.direction != Direction::None)
                .map(|p| super::Parameter {
                    name: p.name.clone(),
                    direction: p.direction,
                    place: p.place,
                    default: p.default.clone(),
                })
                .collect(),
            result: None,
            is_parser: false,
        };
        let list: Vec<_> = bound
            .parameters
            .iter()
            .map(|_| given.next().flatten())
            .collect();
        let span = arguments.first().map(|a| a.value.span).unwrap_or_default();
        self.call_with(&std::rc::Rc::new(bound), &list, span)
            .map(|_| ())
    }

    fn no_action(
        &mut self,
        actions: &mut Vec<TableAction>,
        listed: &[(DefId, &'a ActionRef)],
    ) -> Result<Chosen> {
        let at = listed.iter().position(|(def, _)| {
            &*self.def(*def).name == "NoAction" && self.info.top_level.contains(def)
        });
        let at = match at {
            Some(at) => at,
            None => {
                let function = self.function("NoAction".to_owned(), None, |_| Ok(()))?;
                actions.push(TableAction {
                    name: "NoAction".to_owned(),
                    parameters: Vec::new(),
                    function,
                    default_only: true,
                    table_only: false,
                });
                actions.len() - 1
            }
        };
        Ok(Chosen {
            action: at as u32,
            arguments: Vec::new(),
        })
    }

    fn chosen(
        &mut self,
        id: u32,
        arguments: &'a [Argument],
        listed: &[(DefId, &'a ActionRef)],
        actions: &[TableAction],
    ) -> Result<Chosen> {
        let (Some(def), Some(call)) = (
            self.info.def_of.get(&id).copied(),
            self.info.calls.get(&id).cloned(),
        ) else {
            return Err(Failed);
        };
        let Some(at) = listed.iter().position(|(d, _)| *d == def) else {
            return Err(Failed);
        };
        let DefKind::Action(signature, _) = &self.def(def).kind else {
            return Err(Failed);
        };
        let signature: Signature<'a> = signature.clone();
        let own = signature
            .parameters
            .iter()
            .filter(|p| p.direction == Direction::None);
        // The bound arguments may be repeated before these.
        let skip = arguments.len() - call.arguments.iter().flatten().count().min(arguments.len());
        let mut limbs = Vec::new();
        for (parameter, given) in own.zip(&call.arguments) {
            match given {
                Some(n) => {
                    let value = &arguments[n + skip].value;
                    limbs.push(self.known_limbs(value, parameter.ty)?);
                }
                None => limbs.push(vec![0]),
            }
        }
        debug_assert_eq!(limbs.len(), actions[at].parameters.len());
        Ok(Chosen {
            action: at as u32,
            arguments: limbs,
        })
    }

    /// The value of a property; an object that it instantiates is named by the property's `@name`.
    fn property_value(&mut self, value: &'a Expr, annotations: &[Annotation]) -> Result<Constant> {
        if let Some(known) = self.known(value)? {
            return self.engine_constant(&known, value.span);
        }
        let def = self.info.def_of.get(&value.id).copied();
        if let Some(Storage::Extern(id)) = def.and_then(|d| self.lookup(d)) {
            return Ok(Constant::Object(id));
        }
        if let ExprKind::Call(_, _, arguments) = &value.kind {
            let ty = self.natural_type(value);
            if let Kind::Extern(def, _) = self.kind(ty) {
                let name = match crate::check::given_name(annotations) {
                    Some(given) => given.trim_start_matches('.').to_owned(),
                    None => format!("{}{}", self.scope.path, self.def(def).name),
                };
                if let Storage::Extern(id) =
                    self.make_extern(value.id, value.span, ty, arguments, name, annotations)?
                {
                    return Ok(Constant::Object(id));
                }
            }
        }
        self.unsupported(value.span, "this as a table property")
    }

    fn entries(
        &mut self,
        entries: &'a [ast::Entry],
        listed: &[(DefId, &'a ActionRef)],
        table: &Table,
        properties: &'a [Property],
    ) -> Result<Vec<Entry>> {
        let option = |name: &str| properties.iter().find(|p| &*p.name.name == name);
        let larger_wins = match option("largest_priority_wins").map(|p| &p.value) {
            Some(PropertyValue::Expr(value)) => self.known(value)? != Some(Value::Bool(false)),
            _ => true,
        };
        let delta = match option("priority_delta").map(|p| &p.value) {
            Some(PropertyValue::Expr(value)) => i64::from(self.small(value)?.unwrap_or(1)),
            _ => 1,
        };
        let count = entries.len() as i64;
        // The first entry wins unless priorities say otherwise.
        let mut next = match larger_wins {
            true => (count - 1) * delta + 1,
            false => 1,
        };
        // The older `@priority`: smaller numbers win, and the position of an entry is its default.
        let annotated = entries
            .iter()
            .any(|e| priority_annotation(&e.annotations).is_some());
        let mut list = Vec::new();
        for entry in entries {
            let given = match &entry.priority {
                Some(priority) => self.small(priority)?.map(i64::from),
                None => None,
            };
            let priority = given.unwrap_or(next);
            next = match larger_wins {
                true => priority - delta,
                false => priority + delta,
            };
            let mut priority = if larger_wins { priority } else { -priority };
            if annotated {
                let place = list.len() as i64 + 1;
                priority = -priority_annotation(&entry.annotations).unwrap_or(place);
            }
            let action = &entry.action;
            let chosen = self.chosen(action.id, &action.arguments, listed, &table.actions)?;
            list.push(Entry {
                keys: self.matched(entry, table)?,
                chosen,
                priority,
            });
        }
        Ok(list)
    }

    fn matched(&mut self, entry: &'a ast::Entry, table: &Table) -> Result<Vec<Match>> {
        let sets: Vec<&'a Expr> = match &entry.keys[..] {
            [one] => match &one.kind {
                ExprKind::List(items) if items.len() == table.keys.len() => items.iter().collect(),
                _ if table.keys.len() == 1 => vec![one],
                _ => return Ok(vec![Match::Any; table.keys.len()]),
            },
            sets => sets.iter().collect(),
        };
        let mut list = Vec::new();
        for (set, key) in sets.into_iter().zip(&table.keys) {
            let width = key.width;
            let limbs = |lower: &mut Self, expr: &'a Expr| {
                let value = lower.known(expr)?;
                let layout = Layout::Bits(width, false);
                let simple = [layout, Layout::Bool, Layout::Error, Layout::Enum([].into())];
                let found = value.and_then(|v| {
                    simple
                        .iter()
                        .find_map(|layout| lower.value_limbs(&v, layout))
                });
                match found {
                    Some(limbs) => Ok(limbs),
                    None => lower.fail(
                        expr.span,
                        "the compiler has to know this value, and does not",
                    ),
                }
            };
            list.push(match &set.kind {
                ExprKind::Default | ExprKind::DontCare => Match::Any,
                ExprKind::Mask(value, mask) => {
                    let (value, mask) = (limbs(self, value)?, limbs(self, mask)?);
                    Match::Ternary(value, mask)
                }
                ExprKind::Range(low, high) => {
                    let (low, high) = (limbs(self, low)?, limbs(self, high)?);
                    Match::Range(low, high)
                }
                _ => Match::Exact(limbs(self, set)?),
            });
        }
        Ok(list)
    }

    /// Evaluates the keys and applies the table; returns the slots of the hit and of the action
    /// run.
    pub(super) fn apply_table(&mut self, expr: &'a Expr) -> Result<(Slot, Slot)> {
        let table = self.info.calls.get(&expr.id).map(|c| c.callee.clone());
        let Some(crate::check::Callee::ApplyTable(def)) = table else {
            return Err(Failed);
        };
        let Some(Storage::Table(index)) = self.lookup(def) else {
            return self.unsupported(expr.span, "applying this table here");
        };
        let Some(DeclKind::Table(properties)) = self.def(def).decl.map(|d| &d.kind) else {
            return Err(Failed);
        };
        for property in properties {
            if let PropertyValue::Key(keys) = &property.value {
                for (n, key) in keys.iter().enumerate() {
                    let slot = self.out.tables[index as usize].keys[n].slot;
                    self.value_into(&key.expr, slot)?;
                }
            }
        }
        let (hit, action) = (self.allocate(1), self.allocate(1));
        self.emit(Inst::Apply {
            table: index,
            hit,
            action,
        });
        self.leave_if_ending();
        Ok((hit, action))
    }

    /// The name of a member in the control plane.
    fn field_name(&mut self, base: &Expr, name: &str) -> String {
        let ty = self.type_of(base);
        let Kind::Struct(_, def, _) = self.kind(ty) else {
            return name.to_owned();
        };
        let DefKind::Struct(_, _, fields) = &self.def(def).kind else {
            return name.to_owned();
        };
        let field = fields.iter().find(|f| &*f.field.name.name == name);
        let given = field.and_then(|f| crate::check::given_name(&f.field.annotations));
        given.unwrap_or(name).to_owned()
    }

    /// A number in the base in which it is written, without leading zeros.
    fn number_text(&self, value: &BigInt, width: Option<(u32, bool)>, expr: &Expr) -> String {
        let written = self.sources.text(expr.span).to_lowercase();
        let digits = match width {
            Some(_) => written.split_once(['w', 's']).map_or("", |(_, rest)| rest),
            None => &written,
        };
        let prefix = width.map_or_else(String::new, |(bits, signed)| {
            format!("{bits}{}", if signed { 's' } else { 'w' })
        });
        let base = match digits.get(..2) {
            Some("0x") => 16,
            Some("0o") => 8,
            Some("0b") => 2,
            _ => return format!("{prefix}{value}"),
        };
        format!("{prefix}{}{}", &digits[..2], value.to_str_radix(base))
    }

    /// A key as written in source, which is its name.
    fn spelled(&mut self, expr: &Expr) -> String {
        match &expr.kind {
            ExprKind::Name(name, _) => name.name.to_string(),
            ExprKind::Member(base, name) => {
                let field = self.field_name(base, &name.name);
                match field.strip_prefix('.') {
                    Some(absolute) => absolute.to_owned(),
                    None => format!("{}.{field}", self.spelled(base)),
                }
            }
            ExprKind::Index(base, index) => {
                let index = self.spelled(index);
                format!("{}[{index}]", self.spelled(base))
            }
            ExprKind::Slice(base, high, low) => {
                let (high, low) = (self.spelled(high), self.spelled(low));
                format!("{}[{high}:{low}]", self.spelled(base))
            }
            ExprKind::Int(value, width) => self.number_text(value, *width, expr),
            ExprKind::Bool(value) => value.to_string(),
            ExprKind::Call(function, _, _) => match &function.kind {
                ExprKind::Member(base, name) if &*name.name == "isValid" => {
                    format!("{}.$valid$", self.spelled(base))
                }
                _ => format!("{}()", self.spelled(function)),
            },
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.spelled(a), self.spelled(b));
                format!("{a} {} {b}", op.symbol())
            }
            ExprKind::Cast(_, a) => self.spelled(a),
            _ => "key".to_owned(),
        }
    }
}

fn priority_annotation(annotations: &[Annotation]) -> Option<i64> {
    let annotation = annotations.iter().find(|a| &*a.name.name == "priority")?;
    let AnnotationBody::Unstructured(expressions, _) = &annotation.body else {
        return None;
    };
    match &expressions.first()?.kind {
        ExprKind::Int(value, _) => i64::try_from(value).ok(),
        _ => None,
    }
}
