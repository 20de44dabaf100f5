// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The syntax of members and groups of action profiles, which can be written among entries:
//!
//! ```text
//! PROFILE member=N ACTION(NAME=VALUE, …)
//! PROFILE group=N member(N, weight=W, watch=PORT) …
//! ```

use adit_p4runtime::bytes::shortest;
use adit_p4runtime::proto::v1::{
    action_profile_group::{member::WatchKind, Member},
    entity::Entity,
    ActionProfileGroup, ActionProfileMember,
};
use adit_p4runtime::watch::Watch;
use anyhow::{bail, ensure, Context, Result};

use super::call::{self, Wants};
use super::catalog::Profile;
use super::value::{parse, show, Form};

/// The width of a port in groups.
const PORT_WIDTH: u32 = 32;

const SYNTAX: &str = "it takes member=N ACTION or group=N member(N, weight=W, watch=PORT) ...";

/// Parses the id of a member or group; it is not 0, which stands for all of them in reads.
fn id(text: &str) -> Result<u32> {
    let id = text.trim().parse().ok().filter(|id| *id > 0);
    id.with_context(|| format!("`{text}` is no number from 1 to {}", u32::MAX))
}

impl Profile {
    pub(super) fn read(&self, words: &[String], wants: Wants) -> Result<Entity> {
        let (what, rest) = words.split_first().context(SYNTAX)?;
        let (kind, number) = what
            .split_once('=')
            .with_context(|| format!("`{what}`: {SYNTAX}"))?;
        let number = id(number).with_context(|| format!("`{what}`"))?;
        match kind {
            "member" => self.read_member(number, rest, wants),
            "group" => self.read_group(number, rest),
            _ => bail!("`{what}`: {SYNTAX}"),
        }
    }

    fn read_member(&self, member_id: u32, rest: &[String], wants: Wants) -> Result<Entity> {
        let action = match rest {
            [] if wants == Wants::Key => None,
            [] => {
                let all: Vec<_> = self.actions.iter().map(|a| a.signature()).collect();
                bail!("an action is missing: {}", all.join(", "));
            }
            [action] => Some(call::read(&self.actions, action)?),
            [_, second, ..] => bail!("`{second}`: a member has one action"),
        };
        Ok(Entity::ActionProfileMember(ActionProfileMember {
            action_profile_id: self.id,
            member_id,
            action,
        }))
    }

    fn read_group(&self, group_id: u32, rest: &[String]) -> Result<Entity> {
        ensure!(
            self.has_groups,
            "it is no selector: it has members, but no groups"
        );
        let members = rest.iter().map(|word| {
            read_group_member(word)
                .with_context(|| format!("`{word}`: member(N, weight=W, watch=PORT) is wanted"))
        });
        Ok(Entity::ActionProfileGroup(ActionProfileGroup {
            action_profile_id: self.id,
            group_id,
            members: members.collect::<Result<_>>()?,
            max_size: 0,
        }))
    }

    /// Returns the entities that read all of its members and groups.
    pub(super) fn wanted(&self) -> Vec<Entity> {
        let members = Entity::ActionProfileMember(ActionProfileMember {
            action_profile_id: self.id,
            ..Default::default()
        });
        let groups = self.has_groups.then(|| {
            Entity::ActionProfileGroup(ActionProfileGroup {
                action_profile_id: self.id,
                ..Default::default()
            })
        });
        std::iter::once(members).chain(groups).collect()
    }

    /// Formats a member or group: its kind and id, and its action or members.
    pub(super) fn shown(&self, entity: &Entity) -> Option<((&'static str, u32), String)> {
        match entity {
            Entity::ActionProfileMember(member) => {
                let action = member.action.as_ref();
                let shown = action.map(|given| call::shown(&self.actions, given));
                Some((("member", member.member_id), shown.unwrap_or_default()))
            }
            Entity::ActionProfileGroup(group) => {
                let members: Vec<_> = group.members.iter().map(shown_member).collect();
                Some((("group", group.group_id), members.join(" ")))
            }
            _ => None,
        }
    }

    /// Formats the key of a member or group.
    pub(super) fn key(&self, entity: &Entity) -> Option<String> {
        let ((kind, id), _) = self.shown(entity)?;
        Some(format!("{} {kind}={id}", self.alias))
    }
}

fn read_group_member(word: &str) -> Result<Member> {
    let (name, arguments) = call::split(word)?;
    ensure!(name == "member", "`{name}` is no member");
    let arguments: Vec<_> = arguments.split(',').map(str::trim).collect();
    let member_id = id(arguments[0])?;
    let (weight, watched) = read_share(&arguments[1..])?;
    Ok(Member {
        member_id,
        weight,
        watch_kind: watched.map(WatchKind::WatchPort),
    })
}

/// Parses a weight and a port to watch.
pub(super) fn read_share(arguments: &[&str]) -> Result<(i32, Option<Vec<u8>>)> {
    let (mut share, mut watched) = (1, None);
    for argument in arguments {
        match argument.split_once('=').map(|(n, v)| (n.trim(), v.trim())) {
            Some(("weight", weight)) => {
                let weight = weight.parse().ok().filter(|w| *w > 0);
                share = weight.with_context(|| format!("a weight is 1 to {}", i32::MAX))?;
            }
            Some(("watch", port)) => {
                let port = parse(port, PORT_WIDTH)?;
                watched = Some(shortest(&port).to_vec());
            }
            _ => bail!("`{argument}` is neither weight=W nor watch=PORT"),
        }
    }
    Ok((share, watched))
}

fn shown_member(member: &Member) -> String {
    let watched = member.watch_kind.as_ref().map(Watch::from);
    let share = shown_share(member.weight, watched);
    format!("member({}{share})", member.member_id)
}

/// Formats a weight and a port to watch, as written after a member or action.
pub(super) fn shown_share(weight: i32, watched: Option<Watch<'_>>) -> String {
    let mut shown = String::new();
    if weight != 1 {
        shown.push_str(&format!(", weight={weight}"));
    }
    match watched {
        Some(Watch::Port(port)) => {
            let port = show(port, PORT_WIDTH, Form::Number);
            shown.push_str(&format!(", watch={port}"));
        }
        Some(Watch::Number(port)) => shown.push_str(&format!(", watch={port}")),
        None => {}
    }
    shown
}
