// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Several ADIs as one: a queue group, whose virtual port has the queues and vectors of all.
//!
//! The NIC makes the queues of the members those of the leader's port ([`Adi::lead`]). Here, messages
//! about queues and vectors go to the member that has them, with its ids, and the others to the leader
//! (`routes`). Memory is registered for all. Queues of different members cannot refer to each other: a
//! queue, the queues that it uses and its vector are of one ADI.

mod parts;
mod routes;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use adit_function::doorbells::{inherited_file, shared_file, Run};
use adit_function::memory::WriteLog;
use adit_vfio_user::migration::IovaRange;
use adit_vfio_user::EventFd;
use rustix::event::epoll;

use crate::backend::{
    Adi, AdiError, DoorbellPages, Ids, KeptAdi, Link, PagesPart, Properties, Window,
};
use parts::Parts;

/// ADIs that are joined. The first is the leader.
pub(crate) struct Group {
    name: String,
    properties: Properties,
    members: Vec<Box<dyn Adi>>,
    parts: Parts,
    pages: DoorbellPages,
    gone: OwnedFd,
    fault: OwnedFd,
}

impl Group {
    /// Joins ADIs in the state after opening. They can have different numbers of queue pairs. Their
    /// doorbell pages are a new file, or an `inherited` one, which a client of a group that has ended
    /// with its process still has mapped.
    ///
    /// # Errors
    /// Fails when there are none, the NIC does not join them, the file has other pages, or the system
    /// has no resources.
    pub(crate) fn join(
        mut members: Vec<Box<dyn Adi>>,
        inherited: Option<OwnedFd>,
    ) -> Result<Self, AdiError> {
        let (leader, others) = members.split_first_mut().ok_or(AdiError::Gone)?;
        let named: Vec<_> = others
            .iter()
            .map(|adi| adi.member())
            .collect::<Result<_, _>>()?;
        leader.lead(&named)?;
        Self::of(members, inherited)
    }

    /// Continues with ADIs that a predecessor of this process has joined and left open.
    ///
    /// # Errors
    /// Fails when there are none, one is gone, or the system has no resources.
    pub(crate) fn rejoin(members: Vec<Box<dyn Adi>>) -> Result<Self, AdiError> {
        Self::of(members, None)
    }

    /// A group of ADIs that are joined.
    fn of(mut members: Vec<Box<dyn Adi>>, inherited: Option<OwnedFd>) -> Result<Self, AdiError> {
        let all = members.iter().map(|adi| (adi.name(), adi.properties()));
        let (name, properties) = joined(all).ok_or(AdiError::Gone)?;
        let parts = Parts::new(members.iter().map(|adi| {
            let own = adi.properties();
            (adi.ids(), own.pairs, own.vectors)
        }));
        let pages = one_file(&mut members, &parts, inherited)?;
        Ok(Self {
            name,
            properties,
            gone: one_of(members.iter().map(|adi| adi.gone()))?,
            fault: one_of(members.iter().map(|adi| adi.fault()))?,
            members,
            parts,
            pages,
        })
    }

    fn leader(&self) -> &dyn Adi {
        self.members[0].as_ref()
    }
}

/// The name and the properties of a group of ADIs with these; `None` without any.
pub(crate) fn joined<'a>(
    members: impl IntoIterator<Item = (&'a str, &'a Properties)>,
) -> Option<(String, Properties)> {
    let mut members = members.into_iter();
    let (name, first) = members.next()?;
    let (mut name, mut properties) = (name.to_owned(), first.clone());
    for (own, other) in members {
        name = format!("{name}+{own}");
        extend(&mut properties, other);
    }
    Some((name, properties))
}

/// Adds the resources of a member to those of its group. What it can do less is a limit of the group.
fn extend(all: &mut Properties, own: &Properties) {
    all.pairs = all.pairs.saturating_add(own.pairs);
    all.vectors = all.vectors.saturating_add(own.vectors);
    all.max_mtu = all.max_mtu.min(own.max_mtu);
    all.max_ring_len = all.max_ring_len.min(own.max_ring_len);
    let first = *all.iova.start().max(own.iova.start());
    all.iova = first..=*all.iova.end().min(own.iova.end());
    all.max_registrations = all.max_registrations.min(own.max_registrations);
    all.max_registered_len = all.max_registered_len.min(own.max_registered_len);
}

/// Makes one file of the doorbell pages of all members, in the order of [`DoorbellPages`]: a new one, or
/// an inherited one. The pages are zero.
fn one_file(
    members: &mut [Box<dyn Adi>],
    parts: &Parts,
    inherited: Option<OwnedFd>,
) -> Result<DoorbellPages, AdiError> {
    match (members.first(), inherited) {
        (Some(leader), None) if !leader.places_pages() => {
            let pages = members.iter().map(|adi| adi.pages());
            let pages: Vec<_> = pages.collect::<Result<_, _>>()?;
            let ranges = parts.own_pages();
            let all = ranges.map(|(member, range)| PagesPart {
                pages: pages[member],
                range,
            });
            leader.join_pages(&all.collect::<Vec<_>>())
        }
        (_, inherited) => {
            let count = parts.pages();
            let file = match inherited {
                Some(file) => inherited_file(file, count),
                None => shared_file(count),
            };
            let file = file.map_err(|source| AdiError::Io {
                what: "making a file of doorbell pages",
                source,
            })?;
            let pages = place_pages(members, parts, file)?;
            // None of them goes on with tails of its former pages.
            members.iter_mut().try_for_each(|adi| adi.reset())?;
            Ok(pages)
        }
    }
}

/// Makes the pages of all members runs of pages of a file, whose content stays.
fn place_pages(
    members: &mut [Box<dyn Adi>],
    parts: &Parts,
    file: OwnedFd,
) -> Result<DoorbellPages, AdiError> {
    let failed = |source| AdiError::Io {
        what: "duplicating a file of doorbell pages",
        source,
    };
    for (adi, runs) in members.iter_mut().zip(parts.runs()) {
        adi.place_pages(file.try_clone().map_err(failed)?, &runs)?;
    }
    let (file, count) = (file.into(), parts.pages());
    Ok(DoorbellPages { file, count })
}

/// A descriptor that is readable while one of these is.
fn one_of<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>) -> Result<OwnedFd, AdiError> {
    let all = || {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (n, fd) in (0..).zip(fds) {
            let data = epoll::EventData::new_u64(n);
            epoll::add(&set, fd, data, epoll::EventFlags::IN)?;
        }
        Ok(set)
    };
    all().map_err(|error: rustix::io::Errno| AdiError::Io {
        what: "watching the members of a group",
        source: error.into(),
    })
}

impl Adi for Group {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn named(&self, name: &str) -> Option<&Properties> {
        self.members.iter().find_map(|adi| adi.named(name))
    }

    fn members(&self) -> Vec<KeptAdi> {
        self.members.iter().flat_map(|adi| adi.members()).collect()
    }

    /// All are relative.
    fn ids(&self) -> Ids {
        Ids::default()
    }

    fn link(&self) -> Result<Link, AdiError> {
        self.leader().link()
    }

    fn request(
        &mut self,
        opcode: u32,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), AdiError> {
        let routed = routes::route(&self.parts, opcode, payload);
        let (messages, replies) = routed.map_err(|reason| AdiError::Refused {
            opcode,
            reason: reason.to_string(),
        })?;
        let mut answers = Vec::with_capacity(messages.len());
        for message in &messages {
            let mut answer = Vec::new();
            self.members[message.member].request(opcode, &message.payload, &mut answer)?;
            answers.push(answer);
        }
        *reply = replies.merge(payload, &answers);
        Ok(())
    }

    /// Maps the window for all members, or none.
    fn map(&mut self, window: &Window) -> Result<(), AdiError> {
        for at in 0..self.members.len() {
            let Err(error) = self.members[at].map(window) else {
                continue;
            };
            for adi in &mut self.members[..at] {
                // One that keeps it has to be closed, and the group with it.
                adi.unmap(window.iova, window.len)
                    .map_err(|_| AdiError::Gone)?;
            }
            return Err(error);
        }
        Ok(())
    }

    fn unmap(&mut self, iova: u64, len: u64) -> Result<(), AdiError> {
        let results = self.members.iter_mut().map(|adi| adi.unmap(iova, len));
        // All of them, also after an error.
        results.fold(Ok(()), Result::and)
    }

    fn log_writes(&mut self, log: Option<Arc<WriteLog>>) -> bool {
        let logged = self.members.iter_mut();
        let logged = logged.map(|adi| adi.log_writes(log.clone()));
        logged.fold(true, |all, logged| all & logged)
    }

    fn collect_writes(&self, range: IovaRange) {
        let members = self.members.iter();
        members.for_each(|adi| adi.collect_writes(range));
    }

    fn settle_writes(&self) {
        self.members.iter().for_each(|adi| adi.settle_writes());
    }

    fn set_vector(&mut self, vector: u16, eventfd: Option<&EventFd>) -> Result<(), AdiError> {
        match self.parts.vector(vector) {
            Some((member, own)) => self.members[member].set_vector(own, eventfd),
            None => Err(AdiError::Limit {
                what: "setting the eventfd of a vector",
                reason: format!("vector {vector}: there are {}", self.properties.vectors),
            }),
        }
    }

    fn pages(&self) -> Result<&DoorbellPages, AdiError> {
        Ok(&self.pages)
    }

    fn join_pages(&self, parts: &[PagesPart<'_>]) -> Result<DoorbellPages, AdiError> {
        self.leader().join_pages(parts)
    }

    fn revoke_pages(&mut self) -> Result<(), AdiError> {
        // Both ways reset the members, too.
        if !self.leader().places_pages() {
            for adi in &mut self.members {
                adi.revoke_pages()?;
            }
        }
        self.pages = one_file(&mut self.members, &self.parts, None)?;
        Ok(())
    }

    fn adopt_pages(&mut self, pages: OwnedFd) -> Result<(), AdiError> {
        self.pages = place_pages(&mut self.members, &self.parts, pages)?;
        Ok(())
    }

    fn reset(&mut self) -> Result<(), AdiError> {
        let results = self.members.iter_mut().map(|adi| adi.reset());
        results.fold(Ok(()), Result::and)
    }

    fn take_over(&mut self) {
        self.members.iter_mut().for_each(|adi| adi.take_over());
    }

    fn begin_anew(&mut self) -> Result<(), AdiError> {
        let results = self.members.iter_mut().map(|adi| adi.begin_anew());
        results.fold(Ok(()), Result::and)
    }

    fn leave_open(&mut self) {
        self.members.iter_mut().for_each(|adi| adi.leave_open());
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }

    fn fault(&self) -> BorrowedFd<'_> {
        self.fault.as_fd()
    }
}

/// The kinds of doorbell pages: TX tails, tails of buffer queues, vectors.
const KINDS: usize = 3;

/// The runs of pages that a member has in the file of its group, by kind.
type Runs = [Run; KINDS];
