// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Groups of ADIs that one process has open (`adit_uapi::vfio`, GROUP).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use adit_uapi::vfio::{Group, GroupMember, GROUP, MAX_GROUP};
use rustix::io::Errno;
use rustix::ioctl::{ioctl, Ioctl, IoctlOutput, Opcode};
use zerocopy::little_endian::{I32, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Error;

/// The maximum number of members besides the leader.
const MAX_MEMBERS: usize = MAX_GROUP as usize - 1;

/// An open ADI that is to be a member of a group.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The descriptor of its device.
    pub device: BorrowedFd<'a>,
    /// Its id in messages to the NIC ([`AdiInfo::device_adi_id`]).
    ///
    /// [`AdiInfo::device_adi_id`]: adit_uapi::vfio::AdiInfo::device_adi_id
    pub device_adi_id: u32,
}

/// The argument of the GROUP ioctl.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
struct List {
    head: Group,
    members: [GroupMember; MAX_MEMBERS],
}

impl List {
    /// Builds the list; returns `None` if it is too long.
    fn new(members: &[Member<'_>]) -> Option<Self> {
        let mut list = Self {
            head: Group::default(),
            members: [GroupMember::default(); MAX_MEMBERS],
        };
        let entries = list.members.get_mut(..members.len())?;
        for (entry, member) in entries.iter_mut().zip(members) {
            *entry = GroupMember {
                device_fd: I32::new(member.device.as_raw_fd()),
                device_adi_id: U32::new(member.device_adi_id),
            };
        }
        let argsz = Group::LEN + size_of_val(entries);
        list.head.argsz.set(argsz as u32); // at most MAX_MEMBERS of them
        list.head.count.set(members.len() as u32);
        Some(list)
    }
}

/// The GROUP ioctl.
struct Form(List);

// SAFETY: the kernel reads the number of bytes given by the list's `argsz`, all of which are inside
// of the list, and writes none.
unsafe impl Ioctl for Form {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        GROUP as Opcode
    }

    fn as_ptr(&mut self) -> *mut core::ffi::c_void {
        core::ptr::from_mut(&mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut core::ffi::c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Forms a group; `leader` is the VFIO device of its leader.
pub(crate) fn form(leader: &File, members: &[Member<'_>]) -> Result<(), Error> {
    let list = List::new(members).ok_or_else(|| Error::Config {
        what: "the number of ADIs of a group",
        value: members.len() as u64 + 1,
        range: format!("at most {MAX_GROUP}"),
    })?;
    // SAFETY: see `Form`.
    let formed = unsafe { ioctl(leader, Form(list)) };
    formed.map_err(|errno| Error::Io {
        what: "joining ADIs in a group",
        source: match errno {
            Errno::NOTTY => io::Error::new(
                io::ErrorKind::Unsupported,
                "the adit.ko that is loaded has no groups of ADIs",
            ),
            Errno::OPNOTSUPP => {
                io::Error::new(io::ErrorKind::Unsupported, "the NIC has no groups of ADIs")
            }
            errno => errno.into(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_list_names_the_members_and_their_devices() {
        let file = tempfile::tempfile().unwrap();
        let member = |device_adi_id| Member {
            device: file.as_fd(),
            device_adi_id,
        };
        let list = List::new(&[member(3), member(9)]).unwrap();
        assert_eq!((list.head.argsz.get(), list.head.count.get()), (32, 2));
        let [first, second, rest @ ..] = &list.members;
        assert_eq!(first.device_fd.get(), file.as_raw_fd());
        let ids = [first, second].map(|entry| entry.device_adi_id.get());
        assert_eq!(ids, [3, 9]);
        assert!(rest.iter().all(|entry| *entry == GroupMember::default()));
        assert!(List::new(&[member(1); MAX_MEMBERS]).is_some());
        let error = form(&file, &[member(1); MAX_MEMBERS + 1]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is 17: this ADI takes at most 16"),
            "{error}"
        );
    }

    #[test]
    fn another_kind_of_file_leads_nothing() {
        let file = tempfile::tempfile().unwrap();
        let member = Member {
            device: file.as_fd(),
            device_adi_id: 0,
        };
        let Error::Io { what, source } = form(&file, &[member]).unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(what, "joining ADIs in a group");
        assert_eq!(source.kind(), io::ErrorKind::Unsupported);
    }
}
