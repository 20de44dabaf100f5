// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of a stack. One thread writes them, any thread reads them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Defines a set of counters, and a snapshot of it that can be added up and serialised.
#[macro_export]
macro_rules! counters {
    (
        $(#[$meta:meta])* $name:ident,
        $(#[$snapshot_meta:meta])* $snapshot:ident { $($(#[$doc:meta])* $field:ident,)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$doc])* pub $field: $crate::Counter,)*
        }

        $(#[$snapshot_meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct $snapshot {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl $name {
            /// Reads all counters.
            #[must_use]
            pub fn snapshot(&self) -> $snapshot {
                $snapshot { $($field: self.$field.get(),)* }
            }
        }

        impl ::std::ops::Add for $snapshot {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self { $($field: self.$field.wrapping_add(other.$field),)* }
            }
        }
    };
}

/// A counter that one thread increments.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only one thread may do so: no increment is lost, and none needs a locked instruction.
    pub fn add(&self, n: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns the value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Counters of a stack since its start.
    Counters,
    /// The values of [`Counters`].
    Snapshot {
        /// Frames received.
        received_frames,
        /// Bytes of these frames.
        received_bytes,
        /// Frames sent.
        sent_frames,
        /// Bytes of these frames.
        sent_bytes,
        /// Received frames dropped: headers that are cut or inconsistent.
        dropped_malformed,
        /// Received frames dropped: a wrong checksum.
        dropped_checksum,
        /// Received frames dropped: fragments.
        dropped_fragment,
        /// Received frames dropped: segments for other hosts.
        dropped_not_ours,
        /// Frames dropped: no buffer was free for a reply, or for an announcement.
        dropped_no_buffer,
        /// Segments of no connection, which were reset.
        stray_segments,
        /// Connections established.
        accepted,
        /// Connections refused: the limit of all connections.
        refused_limit,
        /// Connections refused: the limit of connections of one client.
        refused_client_limit,
        /// Connections refused: the server is stopping.
        refused_stopping,
        /// Half-open connections dropped for newer ones.
        dropped_half_open,
        /// Half-open connections dropped: their handshake took too long.
        dropped_handshake,
        /// Connections in TIME-WAIT dropped for new ones.
        dropped_time_wait,
        /// Connections closed by both sides.
        closed,
        /// Connections that the peer has reset.
        reset_by_peer,
        /// Connections that the server has reset.
        aborted,
        /// Closed connections dropped: the peer did not acknowledge or close in time.
        dropped_lingering,
        /// Frames of ARP and neighbour discovery that came so soon after others that the connections
        /// waiting for a neighbour were looked at later.
        deferred_neighbours,
        /// Announcements of an address.
        announcements,
        /// Connections looked at: for a frame, a timer or a neighbour.
        looks,
        /// Sleeps until an interrupt.
        sleeps,
    }
}
