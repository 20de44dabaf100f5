// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Action profiles with members and groups, and meters.

use std::sync::Arc;

use adit_p4_frontend::ir;
use adit_pipeline::p4::objects::{GroupMember, Meter, Object, Profile, ProfileError};
use adit_pipeline::p4::tables::Table;
use tonic::Code;

use super::fault::{Fault, Result};
use super::group_members::{check_size, watch_port, weight};
use super::names::Kind;
use super::pipeline::{Pipeline, Thing};
use super::rates::{config, shown_config};
use super::rules::{Holder, Uses};
use super::target::{index, modified_only, range, Target};
use super::texts::Unknown;
use crate::proto::v1::{self, action_profile_group, update::Type};

impl From<ProfileError> for Fault {
    fn from(error: ProfileError) -> Fault {
        let code = match &error {
            ProfileError::Exists { .. } => Code::AlreadyExists,
            ProfileError::Unknown { .. } => Code::NotFound,
            ProfileError::Full { .. } => Code::ResourceExhausted,
            ProfileError::Used { .. } => Code::FailedPrecondition,
            _ => Code::InvalidArgument,
        };
        Fault::new(code, error.to_string())
    }
}

impl Pipeline {
    pub(super) fn profile(&self, id: u32) -> Result<(&Arc<Profile>, &ir::Table)> {
        if let Some(Thing::Extern(n)) = self.things.get(&id) {
            let mut tables = self.engine.tables().iter();
            let table = tables.find(|t| t.profile() == Some(*n as u32));
            if let (Object::Profile(profile, _), Some(table)) = (&self.engine.objects()[*n], table)
            {
                return Ok((profile, table.spec()));
            }
        }
        Err(self.unknown(Kind::Profile, id))
    }

    /// Returns the ids of all profiles, or that id alone.
    pub(super) fn profiles(&self, id: u32) -> Result<Vec<u32>> {
        if id != 0 {
            return self.profile(id).map(|_| vec![id]);
        }
        let ids = self.externs.iter().copied();
        Ok(ids.filter(|id| self.profile(*id).is_ok()).collect())
    }

    pub(super) fn meter(&self, id: u32) -> Result<&Meter> {
        match self.things.get(&id) {
            Some(Thing::Extern(n)) => match &self.engine.objects()[*n] {
                Object::Meter(meter) => Ok(meter),
                _ => Err(self.unknown(Kind::Meter, id)),
            },
            _ => Err(self.unknown(Kind::Meter, id)),
        }
    }

    pub(crate) fn members(
        &self,
        wanted: &v1::ActionProfileMember,
    ) -> Result<Vec<v1::ActionProfileMember>> {
        let mut found = Vec::new();
        for id in self.profiles(wanted.action_profile_id)? {
            let (profile, table) = self.profile(id)?;
            let names: Vec<&str> = profile.actions().collect();
            for member in profile.members() {
                if wanted.member_id != 0 && wanted.member_id != member {
                    continue;
                }
                let Some(mut chosen) = profile.member(member) else {
                    continue;
                };
                let name = names
                    .get(chosen.action as usize)
                    .copied()
                    .unwrap_or_default();
                let Some(at) = table.actions.iter().position(|a| a.name == name) else {
                    continue;
                };
                chosen.action = at as u32;
                found.push(v1::ActionProfileMember {
                    action_profile_id: id,
                    member_id: member,
                    action: self.shown_chosen(table, &chosen),
                });
            }
        }
        Ok(found)
    }

    pub(crate) fn groups(
        &self,
        wanted: &v1::ActionProfileGroup,
    ) -> Result<Vec<v1::ActionProfileGroup>> {
        use action_profile_group::{member::WatchKind, Member};
        let mut found = Vec::new();
        for id in self.profiles(wanted.action_profile_id)? {
            let (profile, _) = self.profile(id)?;
            for group in profile.groups() {
                if wanted.group_id != 0 && wanted.group_id != group {
                    continue;
                }
                let members = profile.group(group).unwrap_or_default();
                found.push(v1::ActionProfileGroup {
                    action_profile_id: id,
                    group_id: group,
                    members: members
                        .iter()
                        .map(|member| Member {
                            member_id: member.member,
                            weight: member.weight as i32,
                            watch_kind: member.watch_port.map(|port| {
                                WatchKind::WatchPort(crate::bytes::from_limbs(&[port.into()]))
                            }),
                        })
                        .collect(),
                    max_size: 0,
                });
            }
        }
        Ok(found)
    }

    pub(crate) fn meters(&self, wanted: &v1::MeterEntry) -> Result<Vec<v1::MeterEntry>> {
        let ids = match wanted.meter_id {
            0 => self.externs.clone(),
            id => self.meter(id).map(|_| vec![id])?,
        };
        let mut found = Vec::new();
        for id in ids {
            let Ok(meter) = self.meter(id) else { continue };
            for at in range(wanted.index, meter.size())? {
                found.push(v1::MeterEntry {
                    meter_id: id,
                    index: Some(v1::Index { index: at as i64 }),
                    config: meter.get(at)?.map(shown_config),
                    counter_data: None,
                });
            }
        }
        Ok(found)
    }
}

impl Target<'_> {
    pub(crate) fn member(&self, kind: Type, given: &v1::ActionProfileMember) -> Result<()> {
        let (profile, table) = self.pipeline.profile(given.action_profile_id)?;
        not_zero(given.member_id, "member_id")?;
        let references = &self.pipeline.rules.references;
        let holder = Holder::Member(given.action_profile_id, given.member_id);
        if kind == Type::Delete {
            profile.delete_member(given.member_id)?;
            references.holds(holder, Uses::default());
            return Ok(());
        }
        let action = given.action.as_ref();
        let action = action
            .ok_or_else(|| Fault::invalid(format!("member {} has no action", given.member_id)))?;
        let mut chosen = self.pipeline.chosen(table, action)?;
        let name = &table.actions[chosen.action as usize].name;
        let at = profile.actions().position(|a| a == name);
        let at = at.ok_or_else(|| {
            Fault::invalid(format!(
                "action `{name}` of member {} is not one of the action profile's",
                given.member_id
            ))
        })?;
        chosen.action = at as u32;
        let uses = references.of_action(name, &chosen.arguments);
        self.check_references(&uses)?;
        match kind {
            Type::Insert => profile.insert_member(given.member_id, chosen)?,
            _ => profile.modify_member(given.member_id, chosen)?,
        }
        references.holds(holder, uses);
        Ok(())
    }

    pub(crate) fn group(&self, kind: Type, given: &v1::ActionProfileGroup) -> Result<()> {
        let (profile, _) = self.pipeline.profile(given.action_profile_id)?;
        not_zero(given.group_id, "group_id")?;
        if kind == Type::Delete {
            return Ok(profile.delete_group(given.group_id)?);
        }
        let most = usize::try_from(given.max_size).unwrap_or(0);
        if most > 0 && given.members.len() > most {
            return Err(Fault::invalid(format!(
                "group {} has {} members: its max_size is {most}",
                given.group_id,
                given.members.len()
            )));
        }
        let mut members = Vec::with_capacity(given.members.len());
        for member in &given.members {
            members.push(GroupMember {
                member: member.member_id,
                weight: weight(member.weight)?,
                watch_port: watch_port(&member.watch_kind)?,
            });
        }
        let info = self.pipeline.profile_info(given.action_profile_id)?;
        check_size(info, members.iter().map(|member| member.weight))?;
        Ok(match kind {
            Type::Insert => profile.insert_group(given.group_id, &members),
            _ => profile.modify_group(given.group_id, &members),
        }?)
    }

    pub(crate) fn meter(&self, kind: Type, given: &v1::MeterEntry) -> Result<()> {
        modified_only(kind, "meters")?;
        let meter = self.pipeline.meter(given.meter_id)?;
        let config = given.config.as_ref().map(config).transpose()?;
        match given.index {
            Some(at) => meter.set(index(at)?, config)?,
            None => {
                for n in 0..meter.size() {
                    meter.set(n, config)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn direct_meter(&self, kind: Type, given: &v1::DirectMeterEntry) -> Result<()> {
        modified_only(kind, "direct meters")?;
        let entry = given.table_entry.as_ref();
        let entry =
            entry.ok_or_else(|| Fault::invalid("the direct meter entry has no table_entry"))?;
        let (n, table): (usize, &Table) = self.pipeline.table(entry.table_id)?;
        self.pipeline.rules.check_role(n, table.spec(), self.role)?;
        let keys = self.pipeline.matches(n, &entry.r#match, Unknown::Missing)?;
        let priority = self.pipeline.priority(table, entry.priority)?;
        let state = table.get(&keys, priority)?;
        let config = given.config.as_ref().map(config).transpose()?;
        Ok(table.set_meter(state.id, config)?)
    }
}

/// Rejects 0, which stands for all ids in reads.
fn not_zero(id: u32, what: &str) -> Result<()> {
    match id {
        0 => Err(Fault::invalid(format!(
            "{what} is 0, which stands for all in reads: it is above 0"
        ))),
        _ => Ok(()),
    }
}
