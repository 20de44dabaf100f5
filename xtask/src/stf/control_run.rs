// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of the control-plane commands of a test.

use adit_p4_frontend::ir::Chosen;
use adit_pipeline::p4::hash::CrcParameters;
use adit_pipeline::p4::objects::{GroupMember, Meter, MeterConfig, Object, Profile};
use adit_pipeline::p4::tables::{self, EntryState, Table};
use adit_pipeline::p4::{DropReason, Engine};
use anyhow::{bail, Context, Result};

use super::command::Action;
use super::control::{Change, Control, Entry, Rates};
use super::run::Runner;
use super::values;

impl Runner {
    pub(super) fn control(&mut self, line: usize, control: Control) -> Result<()> {
        let engine = self.engine();
        let now = self.now_ns;
        match control {
            Control::Wait(time) => {
                self.now_ns += time;
                engine.expire(self.now_ns);
            }
            Control::Modify(entry, action) => {
                let table = self.table(&entry.table)?;
                let entry = self.entry(table, &entry, &action, None)?;
                engine.tables()[table].modify(&entry, now)?;
            }
            Control::Delete(entry) => {
                let table = self.table(&entry.table)?;
                let keys = self.keys(table, &entry)?;
                engine.tables()[table].delete(&keys, entry.priority.unwrap_or(0))?;
            }
            Control::ResetDefault(table) => engine.tables()[self.table(&table)?].reset_default()?,
            Control::AddIdle(timeout, entry, action) => {
                let table = self.table(&entry.table)?;
                let entry = self.entry(table, &entry, &action, Some(timeout))?;
                engine.tables()[table].insert(&entry, now)?;
            }
            Control::ExpectIdle(wanted) => {
                let notified = engine.idle().take();
                let wanted = match wanted {
                    Some(entry) => {
                        let table = self.table(&entry.table)?;
                        Some((table as u32, self.state(&entry)?.entry))
                    }
                    None => None,
                };
                let notified = notified.map(|idle| (idle.table, idle.entry.entry));
                if notified != wanted {
                    self.wrong(line, format!("idle is {notified:?}, not {wanted:?}"));
                }
            }
            Control::ExpectEntries(table, wanted) => {
                let count = engine.tables()[self.table(&table)?].len();
                if count != wanted {
                    self.wrong(line, format!("`{table}` has {count} entries, not {wanted}"));
                }
            }
            Control::CheckDirect(entry, is_packets, wanted) => {
                let count = self.state(&entry)?.count;
                let count = count.context("the table has no direct counter")?;
                let value = if is_packets {
                    count.packets
                } else {
                    count.bytes
                };
                if value != wanted {
                    self.wrong(line, format!("the entry's counter is {count:?}"));
                }
            }
            Control::Member(name, id, change, action) => {
                let at = self.object(&name)?;
                let profile = profile(&engine, at)?;
                let chosen = match action {
                    Some(action) => self.member(at, &action)?,
                    None => Chosen::default(),
                };
                match change {
                    Change::Add => profile.insert_member(id, chosen)?,
                    Change::Modify => profile.modify_member(id, chosen)?,
                    Change::Delete => profile.delete_member(id)?,
                }
            }
            Control::Group(name, id, change, members) => {
                let profile = profile(&engine, self.object(&name)?)?;
                let member = |(member, weight, watch_port)| GroupMember {
                    member,
                    weight,
                    watch_port,
                };
                let members: Vec<_> = members.into_iter().map(member).collect();
                match change {
                    Change::Add => profile.insert_group(id, &members)?,
                    Change::Modify => profile.modify_group(id, &members)?,
                    Change::Delete => profile.delete_group(id)?,
                }
            }
            Control::Port(name, port, is_up) => {
                profile(&engine, self.object(&name)?)?.set_port(port, is_up);
            }
            Control::Rates(name, index, rates) => {
                let meter = meter(&engine, self.object(&name)?)?;
                meter.set(index, rates.map(config))?;
            }
            Control::DirectRates(entry, rates) => {
                let id = self.state(&entry)?.id;
                engine.tables()[self.table(&entry.table)?].set_meter(id, Some(config(rates)))?;
            }
            Control::RegisterReset(name) => {
                let Object::Register(register) = &engine.objects()[self.object(&name)?] else {
                    bail!("`{name}` is no register");
                };
                for index in 0..register.size() {
                    register.set(index, &[])?;
                }
            }
            Control::ValueSet(name, members) => {
                let sets = engine.value_sets();
                let names: Vec<String> = sets.iter().map(|s| s.name().to_owned()).collect();
                let set = &sets[values::find("value set", &name, &names)?];
                let member = |fields: Vec<String>| -> Result<Vec<_>> {
                    let pairs = fields.iter().zip(&set.spec().keys);
                    pairs
                        .map(|(f, (_, width))| values::matched(f, *width))
                        .collect()
                };
                set.set(members.into_iter().map(member).collect::<Result<_>>()?)?;
            }
            Control::Crc(p) => engine.hashes().set_crc(CrcParameters {
                width: p[0] as u32,
                polynomial: p[1],
                initial: p[2],
                final_xor: p[3],
                reflect_in: p[4] != 0,
                reflect_out: p[5] != 0,
            })?,
            Control::ToeplitzKey(key) => engine.hashes().set_toeplitz_key(&key),
            Control::ExpectDigest(wanted) => {
                let digest = engine.digests().take().map(|digest| {
                    let externs = &engine.program().externs;
                    let name = match digest.object {
                        Some(object) => externs[object as usize].name.clone(),
                        None => digest.receiver.to_string(),
                    };
                    (name, digest.data)
                });
                let same = match (&digest, &wanted) {
                    (None, None) => true,
                    (Some((name, data)), Some((wanted, bytes))) => {
                        data == bytes && (name == wanted || name.ends_with(&format!(".{wanted}")))
                    }
                    _ => false,
                };
                if !same {
                    self.wrong(line, format!("the digest is {digest:x?}, not {wanted:x?}"));
                }
            }
            Control::CheckDrops(name, wanted) => {
                let named = |r: &&DropReason| format!("{r:?}").eq_ignore_ascii_case(&name);
                let reason = DropReason::ALL.iter().find(named);
                let reason = reason.with_context(|| format!("there is no reason `{name}`"))?;
                let count = engine.dropped(*reason);
                if count != wanted {
                    self.wrong(
                        line,
                        format!("{count} packets went for {name}, not {wanted}"),
                    );
                }
            }
        }
        Ok(())
    }

    fn wrong(&mut self, line: usize, what: String) {
        self.failures.push(format!("line {line}: {what}"));
    }

    /// Returns an entry's state in its table.
    fn state(&mut self, entry: &Entry) -> Result<EntryState> {
        let table = self.table(&entry.table)?;
        let keys = self.keys(table, entry)?;
        Ok(self.engine().tables()[table].get(&keys, entry.priority.unwrap_or(0))?)
    }

    /// Returns the action of a table entry: a direct one, or a member or group of its profile.
    pub(super) fn entry_action(&mut self, table: usize, action: &Action) -> Result<tables::Action> {
        let indirect = self.engine().tables()[table].profile().is_some();
        let id = || -> Result<u32> {
            let (_, id) = action.arguments.first().context("an id is missing")?;
            Ok(u32::try_from(values::number(id)?)?)
        };
        Ok(match action.name.as_str() {
            "member" if indirect => tables::Action::Member(id()?),
            "group" if indirect => tables::Action::Group(id()?),
            _ => tables::Action::Direct(self.chosen(table, action)?),
        })
    }

    /// Returns a member's action: the profile numbers actions as its first table does.
    fn member(&mut self, profile: usize, action: &Action) -> Result<Chosen> {
        let engine = self.engine();
        let has = |table: &Table| table.profile() == Some(profile as u32);
        let table = engine.tables().iter().position(has);
        self.chosen(table.context("no table has this profile")?, action)
    }
}

fn profile(engine: &Engine, at: usize) -> Result<&Profile> {
    match &engine.objects()[at] {
        Object::Profile(profile, _) => Ok(profile),
        _ => bail!("`{}` is no profile", engine.program().externs[at].name),
    }
}

fn meter(engine: &Engine, at: usize) -> Result<&Meter> {
    match &engine.objects()[at] {
        Object::Meter(meter) => Ok(meter),
        _ => bail!("`{}` is no meter", engine.program().externs[at].name),
    }
}

fn config(rates: Rates) -> MeterConfig {
    let (committed_rate, committed_burst) = rates.committed;
    match rates.is_one {
        true => MeterConfig::OneRate {
            committed_rate,
            committed_burst,
            excess_burst: rates.other.1,
        },
        false => MeterConfig::TwoRates {
            committed_rate,
            committed_burst,
            peak_rate: rates.other.0,
            peak_burst: rates.other.1,
        },
    }
}
