// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The help text.

use super::protocol;

const HELP: &str = "\
Connections of a NIC, with the command line of conntrack(8).

Usage: adit ct [--p4rt ADDR] COMMAND [TABLE] [OPTION...]
       conntrack COMMAND [TABLE] [OPTION...]

The NIC is the one whose P4Runtime server is at ADDR or in ADIT_P4RT, by default
127.0.0.1:9559. --tls-ca, --tls-cert and --tls-key are those of `adit table`.
TABLE is conntrack (default), expect, dying or unconfirmed.

Commands:
  -L, --dump             print entries
  -G, --get              print one entry
  -D, --delete           delete entries
  -I, --create           create an entry
  -A, --add              create an entry unless it exists
  -U, --update           change entries
  -E, --event            print events as they occur
  -F, --flush            delete all entries
  -C, --counter          print the number of entries
  -S, --stats            print counters of the tracker
  -R, --load-file FILE   run the commands of a file, a line each (-: standard input)
  -V, --version          print the version
  -h, --help             print this; with -p, the protocol's options as well

Values of an entry, to create, change or find it:
  -s, --src, --orig-src ADDRESS[/PREFIX]    -r, --reply-src ADDRESS
  -d, --dst, --orig-dst ADDRESS[/PREFIX]    -q, --reply-dst ADDRESS
  --mask-src MASK, --mask-dst MASK          bits of -s and -d that count
  -p, --protonum PROTOCOL                   name or number; its own options follow it
  -f, --family ipv4|ipv6
  -t, --timeout SECONDS
  -u, --status STATUS[,...]                 ASSURED, SEEN_REPLY, UNSET, FIXED_TIMEOUT,
                                            EXPECTED, OFFLOAD, HW_OFFLOAD; UNREPLIED finds
  -m, --mark VALUE[/MASK]
  -l, --label LABEL[,...]                   names of /etc/xtables/connlabel.conf
  --label-add LABEL, --label-del [LABEL]
  -n, --src-nat [ADDRESS[:PORT]]            -g, --dst-nat [ADDRESS[:PORT]]
  -j, --any-nat [ADDRESS]
  -w, --zone N, --orig-zone N, --reply-zone N
  -i, --id ID
  -c, --secmark N, -a, --nat-range RANGE    ignored
  --tuple-src ADDRESS, --tuple-dst ADDRESS  of an expectation

Output:
  -o, --output TYPE[,...]    xml, save, json, or some of extended, timestamp, id, ktimestamp,
                             labels, userspace
  -z, --zero                 set the counters to zero when they are printed
  -e, --event-mask TYPE[,...]  ALL, NEW, UPDATES, DESTROY
  -b, --buffer-size BYTES    bytes of events that wait for this program
";

/// The help, with that of all protocols.
pub(super) fn whole() -> String {
    HELP.to_owned() + &protocol::help_of_all()
}

/// The help, with that of a protocol.
pub(super) fn text(protocol: Option<u8>) -> String {
    let mut text = HELP.to_owned();
    if let Some(number) = protocol {
        text += &protocol::help(number);
    }
    text
}
