// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Watched ports: members of groups and actions of sets each have a message for theirs, with the
//! same two forms (P4Runtime 1.4, sections 9.2.2 and 9.2.3).

use crate::bytes::{limbs, ByteError};
use crate::proto::v1::{action_profile_action, action_profile_group::member};

/// The port that has to be up, in either form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch<'a> {
    /// `watch_port`: a byte string.
    Port(&'a [u8]),
    /// `watch`, which is deprecated: a number.
    Number(i32),
}

impl Watch<'_> {
    /// Returns the port; an empty byte string means none.
    ///
    /// # Errors
    /// When the port has more than 32 bits.
    pub fn port(self) -> Result<Option<u32>, ByteError> {
        match self {
            Watch::Port([]) => Ok(None),
            Watch::Port(port) => Ok(Some(limbs(port, 32)?[0] as u32)),
            Watch::Number(port) => Ok(Some(port as u32)),
        }
    }
}

macro_rules! said_by {
    ($($message:ident),*) => {
        $(impl<'a> From<&'a $message::WatchKind> for Watch<'a> {
            #[allow(deprecated, reason = "older clients and servers use it")]
            fn from(kind: &'a $message::WatchKind) -> Watch<'a> {
                match kind {
                    $message::WatchKind::WatchPort(port) => Watch::Port(port),
                    $message::WatchKind::Watch(port) => Watch::Number(*port),
                }
            }
        })*
    };
}

said_by!(action_profile_action, member);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_say_the_same() {
        #[allow(deprecated, reason = "older clients and servers use it")]
        let old = (
            member::WatchKind::Watch(300),
            action_profile_action::WatchKind::Watch(300),
        );
        let new = (
            member::WatchKind::WatchPort(vec![0, 1, 44]),
            action_profile_action::WatchKind::WatchPort(vec![1, 44]),
        );
        let all = [
            Watch::from(&old.0),
            Watch::from(&old.1),
            Watch::from(&new.0),
            Watch::from(&new.1),
        ];
        assert!(all.iter().all(|watch| watch.port() == Ok(Some(300))));
        assert_eq!(Watch::Port(&[]).port(), Ok(None));
        assert_eq!(
            Watch::Port(&[1; 5]).port(),
            Err(crate::bytes::limbs(&[1; 5], 32).unwrap_err())
        );
    }
}
