// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Types of H.225 and H.245 (ITU-T) that are passed over.

use super::per::Shape;
use Shape::{Any, Bits, Choice, List, Long, Nothing, Octets, Sequence, String};

/// A mandatory field, and an optional one.
const HAS: bool = false;
const MAY: bool = true;
/// An extensible type, and one that is not.
const MORE: bool = true;
const CLOSED: bool = false;

/// A number of 16 bits: numbers, ports, references.
pub(super) const WORD: Shape = Octets(2);
const OCTET: Shape = Octets(1);
const FLAG: Shape = Bits(1);

/// BMPString (SIZE(1..128)): identifiers of gatekeepers and endpoints.
pub(super) const IDENTIFIER: Shape = String {
    length: 7,
    least: 1,
    unit: 16,
};

/// The fields of an address of IPX.
pub(super) const IPX: &[(bool, Shape)] = &[(HAS, Octets(6)), (HAS, Octets(4)), (HAS, Bits(16))];

/// OCTET STRING (SIZE(1..20)): an address of OSI.
pub(super) const NSAP: Shape = String {
    length: 5,
    least: 1,
    unit: 8,
};

/// The addresses of IP with a source route, of H.225 and of H.245.
pub(super) const SOURCE_ROUTE: Shape = Sequence(
    MORE,
    &[
        (HAS, Octets(4)),
        (HAS, WORD),
        (HAS, List(&Octets(4))),
        (HAS, Choice(MORE, &[Nothing, Nothing])),
    ],
);
pub(super) const SOURCE_ROUTE_245: Shape = Sequence(
    MORE,
    &[
        (HAS, Choice(CLOSED, &[Nothing, Nothing])),
        (HAS, Octets(4)),
        (HAS, WORD),
        (HAS, List(&Octets(4))),
    ],
);

const H221: &[(bool, Shape)] = &[(HAS, OCTET), (HAS, OCTET), (HAS, WORD)];

/// NonStandardParameter of H.225.
pub(super) const NON_STANDARD: Shape = Sequence(
    CLOSED,
    &[
        (HAS, Choice(MORE, &[Any, Sequence(MORE, H221)])),
        (HAS, Any),
    ],
);

/// NonStandardParameter of H.245.
pub(super) const NON_STANDARD_245: Shape = Sequence(
    CLOSED,
    &[
        (HAS, Choice(CLOSED, &[Any, Sequence(CLOSED, H221)])),
        (HAS, Any),
    ],
);

/// AliasAddress: digits, or a name.
pub(super) const ALIAS: Shape = Choice(
    MORE,
    &[
        String {
            length: 7,
            least: 1,
            unit: 4,
        },
        String {
            length: 8,
            least: 1,
            unit: 16,
        },
    ],
);

/// VendorIdentifier.
pub(super) const VENDOR: Shape = Sequence(
    MORE,
    &[(HAS, Sequence(MORE, H221)), (MAY, PRODUCT), (MAY, PRODUCT)],
);

const PRODUCT: Shape = String {
    length: 8,
    least: 1,
    unit: 8,
};

/// Types of which the root has non-standard data only.
const ONLY_NON_STANDARD: Shape = Sequence(MORE, &[(MAY, NON_STANDARD)]);

/// SupportedProtocols: of H.310, H.320 to H.324, voice and T.120 alike.
const PROTOCOL: Shape = Choice(
    MORE,
    &[
        NON_STANDARD,
        ONLY_NON_STANDARD,
        ONLY_NON_STANDARD,
        ONLY_NON_STANDARD,
        ONLY_NON_STANDARD,
        ONLY_NON_STANDARD,
        ONLY_NON_STANDARD,
        ONLY_NON_STANDARD,
        ONLY_NON_STANDARD,
    ],
);

/// EndpointType.
pub(super) const ENDPOINT: Shape = Sequence(
    MORE,
    &[
        (MAY, NON_STANDARD),
        (MAY, VENDOR),
        (MAY, ONLY_NON_STANDARD),
        (
            MAY,
            Sequence(MORE, &[(MAY, List(&PROTOCOL)), (MAY, NON_STANDARD)]),
        ),
        (MAY, ONLY_NON_STANDARD),
        (MAY, ONLY_NON_STANDARD),
        (HAS, FLAG),
        (HAS, FLAG),
    ],
);

/// QseriesOptions.
pub(super) const SERVICES: Shape = Sequence(
    MORE,
    &[(HAS, Bits(7)), (HAS, Sequence(MORE, &[(HAS, Bits(2))]))],
);

/// CallType.
pub(super) const CALL_TYPE: Shape = Choice(MORE, &[Nothing, Nothing, Nothing, Nothing]);
/// CallModel.
pub(super) const CALL_MODEL: Shape = Choice(MORE, &[Nothing, Nothing]);
/// The goal of a conference.
pub(super) const GOAL: Shape = Choice(MORE, &[Nothing, Nothing, Nothing]);

/// VideoCapability.
pub(super) const VIDEO: Shape = Choice(
    MORE,
    &[
        NON_STANDARD_245,
        // H.261
        Sequence(
            MORE,
            &[
                (MAY, Bits(2)),
                (MAY, Bits(2)),
                (HAS, FLAG),
                (HAS, WORD),
                (HAS, FLAG),
            ],
        ),
        // H.262
        Sequence(
            MORE,
            &[
                (HAS, Bits(11)),
                (MAY, Long),
                (MAY, Long),
                (MAY, WORD),
                (MAY, WORD),
                (MAY, Bits(4)),
                (MAY, Long),
            ],
        ),
        // H.263
        Sequence(
            MORE,
            &[
                (MAY, Bits(5)),
                (MAY, Bits(5)),
                (MAY, Bits(5)),
                (MAY, Bits(5)),
                (MAY, Bits(5)),
                (HAS, Long),
                (HAS, Bits(5)),
                (MAY, Long),
                (MAY, WORD),
            ],
        ),
        // IS 11172
        Sequence(
            MORE,
            &[
                (HAS, FLAG),
                (MAY, Long),
                (MAY, Long),
                (MAY, WORD),
                (MAY, WORD),
                (MAY, Bits(4)),
                (MAY, Long),
            ],
        ),
    ],
);

/// AudioCapability.
pub(super) const AUDIO: Shape = Choice(
    MORE,
    &[
        NON_STANDARD_245,
        // G.711, G.722: frames in a packet
        OCTET,
        OCTET,
        OCTET,
        OCTET,
        OCTET,
        OCTET,
        OCTET,
        // G.723.1
        Sequence(CLOSED, &[(HAS, OCTET), (HAS, FLAG)]),
        // G.728, G.729
        OCTET,
        OCTET,
        OCTET,
        // IS 11172 and IS 13818
        Sequence(MORE, &[(HAS, Bits(8)), (HAS, WORD)]),
        Sequence(MORE, &[(HAS, Bits(20)), (HAS, WORD)]),
    ],
);

/// EncryptionMode.
pub(super) const ENCRYPTION: Shape = Choice(MORE, &[NON_STANDARD_245, Nothing]);

/// DataProtocolCapability.
pub(super) const DATA_PROTOCOL: Shape = Choice(
    MORE,
    &[
        NON_STANDARD_245,
        Nothing,
        Nothing,
        Nothing,
        Nothing,
        Nothing,
        Nothing,
    ],
);

/// The T.84 and NLPID applications of data.
pub(super) const T84: Shape = Sequence(
    CLOSED,
    &[
        (HAS, DATA_PROTOCOL),
        (
            HAS,
            Choice(CLOSED, &[Nothing, Sequence(MORE, &[(HAS, Bits(19))])]),
        ),
    ],
);
pub(super) const NLPID: Shape = Sequence(CLOSED, &[(HAS, DATA_PROTOCOL), (HAS, Any)]);

/// H222LogicalChannelParameters.
pub(super) const H222: Shape = Sequence(
    MORE,
    &[
        (HAS, WORD),
        (HAS, WORD),
        (MAY, WORD),
        (MAY, Any),
        (MAY, Any),
    ],
);

/// H223LogicalChannelParameters.
pub(super) const H223: Shape = Sequence(
    MORE,
    &[
        (
            HAS,
            Choice(
                MORE,
                &[
                    NON_STANDARD_245,
                    Nothing,
                    Nothing,
                    Nothing,
                    Nothing,
                    Sequence(CLOSED, &[(HAS, Bits(2)), (HAS, Long)]),
                ],
            ),
        ),
        (HAS, FLAG),
    ],
);

/// V76LogicalChannelParameters.
pub(super) const V76: Shape = Sequence(
    MORE,
    &[
        (
            HAS,
            Sequence(
                MORE,
                &[
                    (HAS, Choice(MORE, &[Nothing, Nothing, Nothing])),
                    (HAS, WORD),
                    (HAS, FLAG),
                ],
            ),
        ),
        (HAS, Choice(MORE, &[Nothing, Nothing, Nothing])),
        (HAS, FLAG),
        (
            HAS,
            Choice(
                MORE,
                &[
                    Sequence(
                        MORE,
                        &[
                            (HAS, Bits(7)),
                            (HAS, Choice(MORE, &[Nothing, Nothing, Nothing])),
                        ],
                    ),
                    Nothing,
                ],
            ),
        ),
        (HAS, Sequence(MORE, &[(HAS, FLAG)])),
    ],
);
