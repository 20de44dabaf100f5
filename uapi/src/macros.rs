// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Macros for layouts: each field next to its offset, checked by the compiler.

/// Defines a struct by its layout in shared memory: `Name [size] { offset => field: type, … }`.
///
/// The fields are public, alignment is one byte, any bytes are a valid value and all zeros is the
/// default. A wrong size or offset is a compile error.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident [$size:literal] {
            $($(#[$fmeta:meta])* $off:literal => $field:ident: $ty:ty),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            ::zerocopy_derive::FromBytes, ::zerocopy_derive::IntoBytes,
            ::zerocopy_derive::Immutable, ::zerocopy_derive::KnownLayout, ::zerocopy_derive::Unaligned,
        )]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }

        impl $name {
            /// Size in bytes, without the elements that may follow.
            pub const LEN: usize = $size;
        }

        impl Default for $name {
            fn default() -> Self {
                ::zerocopy::FromZeros::new_zeroed()
            }
        }

        const _: () = {
            assert!(core::mem::size_of::<$name>() == $size);
            assert!(core::mem::align_of::<$name>() == 1);
            $(assert!(core::mem::offset_of!($name, $field) == $off);)*
        };
    )*};
}

/// Defines a module of constants with their names in the specification.
macro_rules! named {
    ($(
        $(#[$meta:meta])*
        pub mod $name:ident: $ty:ty {
            $($(#[$cmeta:meta])* $const:ident = $value:expr;)*
        }
    )*) => {$(
        $(#[$meta])*
        pub mod $name {
            $($(#[$cmeta])* pub const $const: $ty = $value;)*

            /// Returns the specification's name for `value`, without its prefix.
            #[must_use]
            pub const fn name(value: $ty) -> Option<&'static str> {
                match value {
                    $($const => Some(stringify!($const)),)*
                    _ => None,
                }
            }
        }
    )*};
}
