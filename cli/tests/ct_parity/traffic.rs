// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables with packets, labels and files.

/// Labels with and without names.
pub(crate) const LABELS: &str = r#"
    -L -o labels
    -L -l zero
    labels
        # comment
        0 zero
        1	eth0 in
        0x2 two
        3 bad;name
        4 zero
        1 again
        5 five-5
        6   six
        127 last
        128 over
        1023 far
        1024 none
        7
        8 eight # c
        010 octal
    end
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 1 --dport 2 --label-add zero
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 2 --dport 2 --label-add "eth0 in,two"
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 3 --dport 2 --label-add last,five-5 --label-add six
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 4 --dport 2 --label-add over
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 5 --dport 2 -l zero
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 6 --dport 2 --label-del zero
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 7 --dport 2 --label-add zero --label-del two
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 8 --dport 2 --label-add octal
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 9 --dport 2
    -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 10 --dport 2 --label-add zero
    -L
    -L -o labels
    -L -o labels,id
    -L -o labels,xml
    -L -o labels,save
    -L -l zero
    -L -l zero -o labels
    -L -l "eth0 in"
    -L -l two,zero
    -L -l two -l "eth0 in"
    -L -l over
    -L -l over,zero
    -L -l bad
    -L -l again
    -L -l four
    -L -l ""
    -L -l zero,
    -L -l six -p udp
    -L -l eight
    -L -l 0
    -L -z -l zero
    -L --label-add zero
    -L --label-del
    -L --label-del zero
    -D --label-add zero -s 9.9.9.9
    -E -l bad
    -G -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 -o labels
    -G -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 -l zero
    -G -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 -l two
    -U -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --label-add five-5
    -U -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --label-add five-5
    -U -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --label-del zero -o labels
    -U -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --label-del two
    -L -o labels -p udp --sport 1
    -U -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --label-del
    -U -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 --label-del
    -L -o labels -p udp --sport 1
    -U -p udp -s 10.0.0.1 -l two --label-add zero
    -U -p udp -s 10.0.0.1 -l over --label-add zero
    -U -s 10.0.0.1 -p udp --sport 9 --label-add zero
    -U -s 10.0.0.1 -p udp --sport 9 -l zero --label-del zero,two
    -U -s 10.0.0.1 -p udp --sport 9 --label-add last
    -U -s 10.0.0.1 -p udp --sport 9 --label-add over
    -U -s 10.0.0.1 -p udp --sport 9 --label-add zero --label-del
    -L -o labels -p udp --sport 9
    load
        -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 11 --dport 2 --label-add "eth0 in"
    end
    load
        -U -s 10.0.0.1 -p udp --sport 11 --label-add "zero"
    end
    labels
        0 zero
        127 last
    end
    -L -o labels
    -L -o labels,xml
    -D -l last -o labels
    -D -l zero -o labels,xml
    labels
        # none
    end
    -L -o labels
    -L -l zero
    -U -s 10.0.0.1 --label-del
    -L
"#;

/// Files of commands.
pub(crate) const LOADED: &str = r#"
    load
        # a comment
        -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 1 --dport 2
        -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport "2" --dport 2 -m 5
        -D -p tcp
        -U -p udp -s 10.0.0.1 --sport 2 -m 7
        -U -p udp -s 10.0.0.1 --sport 3 -m 7
    end
    -L
    load
        -D -p udp --sport 2
        -D -p udp --sport 1 -o save
        -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 3 --dport 2
        -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 3 --dport 2
    end
    -L
    load
        -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 3 --dport 2
        -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 4 --dport 2
    end
    load
        -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 5 --dport 2
        -L
    end
    load
        -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 6 --dport 2
        -X
    end
    load
        -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 7
    end
    -L
    load
        -G -p udp -s 1.1.1.1 -d 1.1.1.2 --sport 1 --dport 2
    end
    load
        -E
    end
    load
        -S
    end
    load
        -C
    end
    load
        -h
    end
    load
        -V
    end
    load
        -L expect
    end
    load
        -S expect
    end
    load
        -C expect
    end
    load
        -F expect
    end
    load
        -E expect
    end
    load
        -D expect -s 1.1.1.1 -d 1.1.1.2 -p udp --sport 1 --dport 2 --reply-port-src 1 --reply-port-dst 2
    end
    load
        -I expect -s 1.1.1.1 -d 1.1.1.2 -p 89 -t 5 --tuple-src 1.1.1.1 --tuple-dst 1.1.1.2 --mask-src 1.1.1.1 --mask-dst 1.1.1.1
    end
    load
        hello
    end
    load
        -p udp
    end
    load
        conntrack -F
    end
    load
        "-F"
    end
    load
        -F # behind a command, this is no comment
    end
    load
        -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 1000 --sport 8\ --dport 2
    end
    -L
    load
        -R /dev/null
    end
"#;

/// A control connection of FTP with an announcement.
pub(crate) const EXPECTED: &str = r"
    -L expect
    -G expect -s 10.0.2.1 -d 10.0.1.1 -p tcp --sport 1 --dport 8193 --reply-port-src 8193 --reply-port-dst 1
    feed
        helper ftp 21
        > tcp S
        < tcp SA
        > tcp A
        < tcp PA text=220\shi\r\n
        > tcp PA text=USER\sx\r\n
        < tcp PA text=230\sok\r\n
        > tcp PA text=PORT\s{L1,},32,1\r\n
    end
    -L
    -L -o xml
    -L -o save
    -L -o extended,id
    -L expect
    -L expect -o extended,id
    -L expect -o xml
    -L expect -o save
    -L expect -o ktimestamp
    -L expect -o timestamp
    -L expect -o timestamp,xml
    -L expect -o labels
    -L expect -f ipv4
    -L expect -f ipv6
    -C expect
    -G expect -s 10.0.2.1 -d 10.0.1.1 -p tcp --sport 1 --dport 8193 --reply-port-src 8193 --reply-port-dst 1
    -G expect -s 10.0.2.1 -d 10.0.1.1 -p udp --sport 1 --dport 8193 --reply-port-src 8193 --reply-port-dst 1
    -G expect -s 10.0.2.2 -d 10.0.1.1 -p tcp --sport 1 --dport 8193 --reply-port-src 8193 --reply-port-dst 1
    -G expect -s 10.0.2.1 -d 10.0.1.1 -p tcp --sport 1 --dport 8193 --reply-port-src 8193 --reply-port-dst 1 -o xml
    -G expect -s 10.0.2.1 -d 10.0.1.1 -p tcp --sport 1 --dport 8193
    -G expect -s 10.0.2.1 -d 10.0.1.1 -p 89
    -D expect -s 10.0.2.1 -d 10.0.1.1 -p tcp --sport 1 --dport 8194 --reply-port-src 8194 --reply-port-dst 1
    -D expect -s 10.0.2.1 -d 10.0.1.1 -p tcp --sport 1 --dport 8193 --reply-port-src 8193 --reply-port-dst 1
    -D expect -s 10.0.2.1 -d 10.0.1.1 -p tcp --sport 1 --dport 8193 --reply-port-src 8193 --reply-port-dst 1
    -L expect
    -I expect -s 10.0.1.9 -d 10.0.2.1 -p tcp --sport 1 --dport 21 -t 5 --tuple-src 10.0.2.1 --tuple-dst 10.0.1.1 --mask-src 255.255.255.255 --mask-dst 255.255.255.255 --tuple-port-src 0 --tuple-port-dst 5 --mask-port-src 0 --mask-port-dst 65535
    -I expect -s 10.0.1.1 -d 10.0.2.1 -p tcp --sport 1024 --dport 21 -t 5 --tuple-src 10.0.2.1 --tuple-dst 10.0.1.1 --mask-src 255.255.255.255 --mask-dst 255.255.255.255 --tuple-port-src 0 --tuple-port-dst 5 --mask-port-src 0 --mask-port-dst 65535
    -C expect
    -F expect
    -C expect
    feed
        helper sip 5060
        > udp text=REGISTER\ssip:s.example\sSIP/2.0\r\nVia:\sSIP/2.0/UDP\s{L1}:1024\r\nContact:\s<sip:b@{L1}:1024>\r\nCSeq:\s1\sREGISTER\r\nExpires:\s60\r\nContent-Length:\s0\r\n\r\n
    end
    -L expect
    -L expect -o xml
    -F expect
    -D -p tcp
    -D -p udp
    -L expect
";

/// Watches of connections, in all formats.
pub(crate) const FORMATS: &[&str] = &[
    "-E",
    "-E -o timestamp",
    "-E -o id,extended,ktimestamp",
    "-E -o xml",
    "-E -o xml,timestamp,ktimestamp",
    "-E -o save",
    "-E -o labels",
    "-E -o userspace",
    "-E -o userspace,save",
    "-E -b 100000",
];

/// Watches of some connections and events.
pub(crate) const FILTERS: &[&str] = &[
    "-E -e NEW",
    "-E -e UPDATES",
    "-E -e DESTROY",
    "-E -e NEW,DESTROY -p udp",
    "-E -e ALL -f ipv6",
    "-E -m 5",
    "-E -s 10.0.0.0/8 -p tcp --dport 80",
    "-E -n",
    "-E -j",
    "-E -w 3",
    "-E -l zero",
    "- -E -e D",
    "- -E -e D -b x",
    "- -E -e S,NEW,D -s foo",
    "- -E -u ASSURED",
    "- -E -l unknown",
];

/// Connections of packets.
pub(crate) const PACKETS: &str = r"
    feed
        mark 5
        > tcp S
        < tcp SA
        > tcp A
        > tcp PA len=10
        < tcp A
        > tcp FA
        < tcp FA
        > tcp A
    end
    feed
        > tcp S conn=2
        < tcp RA conn=2
        > tcp S conn=3
    end
    feed
        > udp conn=1
        < udp conn=1
        > udp conn=1
        < udp conn=1
        > icmp echo id=5
        < icmp reply id=5
        > ip 89
    end
    feed
        nat src to=R9
        > udp conn=4
        > tcp S conn=5
    end
    feed
        zone 3
        > udp conn=6
    end
    feed
        > sctp INIT itag=7
        < sctp INIT_ACK itag=9 vtag=7
        > sctp COOKIE_ECHO vtag=9
        < sctp COOKIE_ACK vtag=7
    end
    feed
        helper ftp 21
        > tcp S conn=7
        < tcp SA conn=7
        > tcp A conn=7
        < tcp R conn=7
    end
    -D -p tcp --sport 1024
    -D -p tcp --sport 1027
    -D -p tcp --sport 1029
    -D -p tcp --sport 1031
    -D -p udp --sport 1025
    -D -p udp --sport 1028
    -D -w 3
    -D -p icmp
    -D -p 89
    -D -p sctp
    -D -s 10.0.1.1
";

/// Connections of requests.
pub(crate) const REQUESTS: &str = r"
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 100 --dport 2 --sport 20
    -I -s 10.0.0.1 -d 10.0.0.2 -p tcp -t 100 --dport 80 --sport 20 --state SYN_SENT -m 5
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 100 --dport 2 --sport 21 -n 5.5.5.5
    -I -s 10.0.0.1 -d 10.0.0.2 -p udp -t 100 --dport 2 --sport 22 -w 3
    -I -s 10.0.0.1 -d 10.0.0.2 -p icmp -t 100 --icmp-type 8 --icmp-code 0 --icmp-id 66
    -U -s 10.0.0.1 -p udp --sport 20 -t 50
    -U -s 10.0.0.1 -p tcp -m 6
    -U -s 10.0.0.1 -p tcp -m 6
    -U -s 10.0.0.1 -p tcp -u ASSURED
    -U -s 10.0.0.1 -p tcp -u ASSURED
    -A -s 10.0.0.1 -d 10.0.0.2 -p udp -t 100 --dport 2 --sport 24
    -U -s 10.0.0.1 -p tcp --label-add zero
    -U -s 10.0.0.1 -p tcp --label-del
    -I -s fd00::1 -d fd00::2 -p udp -t 1 --dport 2 --sport 20
    wait 1.4
    -L
    -D -s 10.0.0.1 -p tcp
    -D -p udp --sport 20
    -D -p icmp
    -D -w 3
    -D -p udp --sport 21
    -F
";

/// Watches of expectations.
pub(crate) const EXPECT_WATCHES: &[&str] = &[
    "-E expect",
    "-E expect -o userspace",
    "-E expect -o timestamp",
    "-E expect -o xml",
    "-E expect -o xml,timestamp",
    "- -E expect -o save,id",
    "-E expect -o extended,id",
];

/// Expectations that come and go.
pub(crate) const EXPECTED_EVENTS: &str = r"
    feed
        helper ftp 21
        > tcp S
        < tcp SA
        > tcp A
        < tcp PA text=220\shi\r\n
        > tcp PA text=USER\sx\r\n
        < tcp PA text=230\sok\r\n
        > tcp PA text=PORT\s{L1,},32,1\r\n
        > tcp PA text=PORT\s{L1,},32,2\r\n
        < tcp S sport=20 dport=8194
    end
    feed
        helper ftp 21
        > tcp S conn=2
        < tcp SA conn=2
        > tcp A conn=2
        < tcp PA conn=2 text=220\shi\r\n
        > tcp PA conn=2 text=USER\sx\r\n
        < tcp PA conn=2 text=230\sok\r\n
        > tcp PA conn=2 text=PORT\s{L1,},32,3\r\n
    end
    -F expect
    feed
        helper ftp 21
        > tcp S conn=3
        < tcp SA conn=3
        > tcp A conn=3
        < tcp PA conn=3 text=220\shi\r\n
        > tcp PA conn=3 text=USER\sx\r\n
        < tcp PA conn=3 text=230\sok\r\n
        > tcp PA conn=3 text=PORT\s{L1,},32,4\r\n
    end
    -D -p tcp --sport 1026
    -D -p tcp
";
