// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of TAP ports on a real kernel, in a network namespace of their own.
//!
//! The process enters the namespace before it starts any thread, as root or through a user
//! namespace. If it is permitted neither, every test is reported as ignored, with the reason.

mod netns;

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use adit_nic::wire::{
    LinkState, Port, PortCaps, Received, RecvError, RxDrop, SendError, Tap, TapError, TxDrop,
    WireSpec, MAX_FRAME_LEN,
};
use adit_pipeline::offload::{Checksum, FrameMeta, Gso, GsoKind};
use libtest_mimic::{Arguments, Failed, Trial};

const TIMEOUT: Duration = Duration::from_secs(60);
const UDP_PORT: u16 = 7000;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let unavailable = netns::enter().err();
    if let Some(reason) = &unavailable {
        eprintln!("ignoring all tests of TAP ports: {reason}");
    }
    let tests: [(&str, fn()); 11] = [
        (
            "makes_a_device_and_takes_it_away",
            makes_a_device_and_takes_it_away,
        ),
        (
            "attaches_to_a_persistent_device",
            attaches_to_a_persistent_device,
        ),
        ("names_what_is_wrong", names_what_is_wrong),
        (
            "an_interface_that_is_down_takes_the_link_down",
            an_interface_that_is_down_takes_the_link_down,
        ),
        (
            "a_deleted_device_is_not_polled",
            a_deleted_device_is_not_polled,
        ),
        (
            "a_device_of_the_same_name_is_taken_up_again",
            a_device_of_the_same_name_is_taken_up_again,
        ),
        (
            "a_device_outlives_its_port_by_the_lifeline",
            a_device_outlives_its_port_by_the_lifeline,
        ),
        ("receives_large_frames_whole", receives_large_frames_whole),
        (
            "receives_finished_frames_when_asked",
            receives_finished_frames_when_asked,
        ),
        ("sends_large_frames", sends_large_frames),
        (
            "counts_frames_that_do_not_fit",
            counts_frames_that_do_not_fit,
        ),
    ];
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(name, move || {
                test();
                Ok::<(), Failed>(())
            })
            .with_ignored_flag(unavailable.is_some())
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn makes_a_device_and_takes_it_away() {
    let mut tap = Tap::open("made0").unwrap();
    assert_eq!(tap.name(), "tap:made0");
    assert!(tap.link().up, "a device that the port made is up");
    assert!(tap.link().speed_mbps > 0);
    assert!(ip_succeeds("link show made0"));
    drop(tap);
    // Another test's child process may hold a copy of the descriptor until it calls exec.
    let deadline = Instant::now() + TIMEOUT;
    while ip_succeeds("link show made0") {
        assert!(Instant::now() < deadline, "the device outlived its port");
    }
}

fn attaches_to_a_persistent_device() {
    ip("tuntap add dev kept0 mode tap");
    let mut tap = Tap::open("kept0").unwrap();
    assert!(
        !tap.link().up,
        "the port leaves an existing device as it was"
    );
    ip("link set kept0 name moved0");
    ip("link set moved0 up");
    assert!(tap.link().up, "the device is followed when it is renamed");
    assert!(matches!(Tap::open("moved0"), Err(TapError::Busy(_))));
    drop(tap);
    assert!(ip_succeeds("link show moved0"));
    drop(Tap::open("moved0").unwrap());
    ip("link del moved0");
}

fn names_what_is_wrong() {
    assert!(matches!(Tap::open("lo"), Err(TapError::NotTap(name)) if name == "lo"));
    for name in ["", "sixteen-bytes-xx", "a/b", "a b", "tap%d", "..", "a\0b"] {
        assert!(
            matches!(Tap::open(name), Err(TapError::Name(_))),
            "{name:?}"
        );
    }
}

fn an_interface_that_is_down_takes_the_link_down() {
    let mut tap = Tap::open("wire9").unwrap();
    let up = tap.link();
    assert!(up.up);
    ip("link set wire9 down");
    assert!(readable(tap.link_fd().unwrap()), "the change is announced");
    assert_eq!(tap.link(), LinkState { up: false, ..up });
    assert!(matches!(send(&mut tap, &[0; 60]), Err(SendError::Down)));
    assert_eq!(tap.counters().tx_dropped(TxDrop::Down), 1);
    assert!(matches!(
        recv_any(&mut tap),
        Ok(None) | Err(RecvError::Down)
    ));
    ip("link set wire9 up");
    assert!(readable(tap.link_fd().unwrap()));
    assert_eq!(tap.link(), up);
    send(&mut tap, &[0; 60]).unwrap();
    assert_eq!((tap.counters().tx_frames, tap.counters().tx_bytes), (1, 60));
}

fn a_deleted_device_is_not_polled() {
    let mut tap = Tap::open("short0").unwrap();
    assert!(tap.poll_fd().is_some());
    ip("link del short0");
    assert!(readable(tap.link_fd().unwrap()));
    assert!(!tap.link().up);
    assert!(tap.poll_fd().is_none());
    assert!(matches!(recv_any(&mut tap), Err(RecvError::Down)));
    assert!(matches!(send(&mut tap, &[0; 60]), Err(SendError::Down)));
    assert!(tap.down_reason().unwrap().contains("was deleted"));
    ip("link set lo up");
    assert!(!tap.link().up && !ip_succeeds("link show short0"));
}

fn a_device_of_the_same_name_is_taken_up_again() {
    let mut tap = Tap::open("back0").unwrap();
    let generation = tap.generation();
    ip("link del back0");
    assert!(!tap.link().up && tap.is_unwatched());
    // Another kind of interface with that name is not used.
    ip("link add back0 type veth peer name back1");
    assert!(!tap.link().up);
    assert!(tap.down_reason().unwrap().contains("not a TAP device"));
    ip("link del back0");
    tap.link();

    ip("tuntap add dev back0 mode tap");
    assert!(readable(tap.link_fd().unwrap()), "it is announced");
    assert!(!tap.link().up, "it is attached to, and left as it is");
    assert_ne!(tap.generation(), generation);
    assert_eq!(tap.down_reason(), None);
    ip("link set back0 up");
    assert!(tap.link().up && !tap.is_unwatched());
    assert!(matches!(recv_any(&mut tap), Ok(None)));
    send(&mut tap, &[0; 60]).unwrap();
    ip("link del back0");
}

fn a_device_outlives_its_port_by_the_lifeline() {
    let spec: WireSpec = "tap:kept0".parse().unwrap();
    let mut tap = spec.open().unwrap().unwrap();
    tap.set_recv_offloads(PortCaps::default()).unwrap();
    let kept = |tap: &dyn Port| tap.lifeline().unwrap().try_clone_to_owned().unwrap();
    let lifeline = kept(tap.as_ref());
    drop(tap);
    assert!(ip_succeeds("link show kept0"));
    let busy = Tap::open("kept0").unwrap_err();
    assert!(matches!(busy, TapError::Busy(_)), "{busy}");

    let mut tap = spec.adopt(lifeline).unwrap().unwrap();
    assert!(tap.link().up && tap.name() == "tap:kept0");
    // Its offloads are those of a new port.
    let host = host_socket("kept0", 14);
    if tap.capabilities().uso {
        send_segmented(&host, &[7; 3000], 1000);
        let (frame, meta) = recv_ipv4(tap.as_mut());
        assert_eq!(frame.len(), 14 + 20 + 8 + 3000);
        assert!(meta.gso.is_some());
    }

    // A device that was deleted while there was no port is taken up again when it is back.
    let lifeline = kept(tap.as_ref());
    drop(tap);
    ip("link del kept0");
    let mut tap = spec.adopt(lifeline).unwrap().unwrap();
    assert!(!tap.link().up && tap.is_unwatched() && tap.lifeline().is_none());
    ip("tuntap add dev kept0 mode tap");
    ip("link set kept0 up");
    assert!(tap.link().up && tap.lifeline().is_some());
    ip("link del kept0");
}

fn receives_large_frames_whole() {
    let mut tap = Tap::open("big0").unwrap();
    let host = host_socket("big0", 10);
    if !tap.capabilities().uso {
        eprintln!("this kernel has no UDP segmentation on TAP devices");
        return;
    }
    send_segmented(&host, &[7; 5000], 1000);
    let (frame, meta) = recv_ipv4(&mut tap);
    assert_eq!(frame.len(), 14 + 20 + 8 + 5000);
    let gso = Gso {
        kind: GsoKind::Udp,
        segment_size: 1000,
        header_len: 42,
    };
    let checksum = Checksum::Partial {
        start: 34,
        offset: 6,
    };
    assert_eq!(
        meta,
        FrameMeta {
            checksum,
            gso: Some(gso)
        }
    );
}

fn receives_finished_frames_when_asked() {
    let mut tap = Tap::open("small0").unwrap();
    let host = host_socket("small0", 11);
    tap.set_recv_offloads(PortCaps::default()).unwrap();
    send_segmented(&host, &[7; 5000], 1000);
    for _ in 0..5 {
        let (frame, meta) = recv_ipv4(&mut tap);
        assert_eq!(frame.len(), 14 + 20 + 8 + 1000);
        assert_eq!(meta.gso, None);
        assert!(!matches!(meta.checksum, Checksum::Partial { .. }));
    }
}

fn sends_large_frames() {
    let mut tap = Tap::open("cut0").unwrap();
    let host = host_socket("cut0", 12);
    host.set_read_timeout(Some(TIMEOUT)).unwrap();
    let uso = tap.capabilities().uso;
    let frame = udp_frame("cut0", 12, &[9; 2500]);
    let gso = Gso {
        kind: GsoKind::Udp,
        segment_size: 1000,
        header_len: 42,
    };
    let meta = FrameMeta {
        checksum: Checksum::Partial {
            start: 34,
            offset: 6,
        },
        gso: uso.then_some(gso),
    };
    // In slices, the first of which ends in the middle of a header.
    let pieces = [&frame[..20], &frame[20..21], &[], &frame[21..]].map(IoSlice::new);
    tap.send(&pieces, &meta).unwrap();
    let mut datagram = [0; 4000];
    for len in if uso {
        vec![1000, 1000, 500]
    } else {
        vec![2500]
    } {
        assert_eq!(host.recv(&mut datagram).unwrap(), len);
        assert!(datagram[..len].iter().all(|byte| *byte == 9));
    }
    let counted = (tap.counters().tx_frames, tap.counters().tx_bytes);
    let expected = if uso { (3, 2500 + 3 * 42) } else { (1, 2542) };
    assert_eq!(counted, expected, "datagrams, each with its headers");
}

fn counts_frames_that_do_not_fit() {
    let mut tap = Tap::open("fit0").unwrap();
    assert!(matches!(send(&mut tap, &[0; 13]), Err(SendError::Refused)));
    let too_big = send(&mut tap, &vec![0; MAX_FRAME_LEN + 1]);
    assert!(matches!(too_big, Err(SendError::TooBig { .. })));
    let pieces = [IoSlice::new(&[0; 4]); 33];
    let too_many = tap.send(&pieces, &FrameMeta::default());
    assert!(matches!(too_many, Err(SendError::TooManySlices(33))));
    let outside = Checksum::Partial {
        start: 50,
        offset: 60,
    };
    let meta = FrameMeta {
        checksum: outside,
        gso: None,
    };
    let refused = tap.send(&[IoSlice::new(&[0; 60])], &meta);
    assert!(matches!(refused, Err(SendError::Refused)), "{refused:?}");
    assert_eq!(tap.counters().tx_dropped_total(), 4);
    assert_eq!(tap.counters().tx_dropped(TxDrop::Refused), 2);

    let host = host_socket("fit0", 13);
    host.send(&[1; 500]).unwrap();
    assert!(readable(tap.poll_fd().unwrap()));
    let mut short = [0; 541];
    let deadline = Instant::now() + TIMEOUT;
    // The first frames that the kernel itself sends on the interface (IPv6) are shorter.
    while tap.counters().rx_dropped(RxDrop::TooBig) == 0 {
        assert!(Instant::now() < deadline, "{:?}", tap.counters());
        let _ = tap.recv(&mut short);
    }
}

fn send(tap: &mut Tap, frame: &[u8]) -> Result<(), SendError> {
    tap.send(&[IoSlice::new(frame)], &FrameMeta::default())
}

fn recv_any(tap: &mut Tap) -> Result<Option<Received>, RecvError> {
    loop {
        let received = tap.recv(&mut [0; 4096]);
        if !matches!(received, Ok(Some(_))) {
            return received;
        }
    }
}

/// The next IPv4 frame; IPv6 frames that the kernel sends on a new interface are skipped.
fn recv_ipv4(tap: &mut dyn Port) -> (Vec<u8>, FrameMeta) {
    let mut buf = vec![0; MAX_FRAME_LEN];
    let deadline = Instant::now() + TIMEOUT;
    loop {
        assert!(Instant::now() < deadline, "no IPv4 frame came");
        match tap.recv(&mut buf).unwrap() {
            Some(received) if buf[12..14] == [8, 0] => {
                buf.truncate(received.len);
                return (buf, received.meta);
            }
            Some(_) => {}
            None => {
                readable(tap.poll_fd().unwrap());
            }
        }
    }
}

/// A socket of the host, at 10.9.NET.1, connected to 10.9.NET.2, which is reachable through the
/// interface.
fn host_socket(interface: &str, net: u8) -> UdpSocket {
    ip(&format!("addr add 10.9.{net}.1/24 dev {interface}"));
    ip(&format!(
        "neigh add 10.9.{net}.2 lladdr 02:00:00:00:00:02 dev {interface}"
    ));
    let socket = UdpSocket::bind((format!("10.9.{net}.1"), UDP_PORT)).unwrap();
    socket.connect((format!("10.9.{net}.2"), UDP_PORT)).unwrap();
    socket
}

/// Sends `payload` as datagrams of `segment` bytes that the kernel segments as late as possible.
fn send_segmented(socket: &UdpSocket, payload: &[u8], segment: libc::c_int) {
    // SAFETY: UDP_SEGMENT reads an int, which lives through the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const segment).cast(),
            size_of_val(&segment) as libc::socklen_t,
        )
    };
    assert_eq!(rc, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
    socket.send(payload).unwrap();
}

/// A UDP frame from 10.9.NET.2 to the host's socket. Its UDP checksum is not completed; the kernel
/// trusts a partial checksum from its own interface.
fn udp_frame(interface: &str, net: u8, payload: &[u8]) -> Vec<u8> {
    let mac = ip_output(&format!("-brief link show {interface}"));
    let mac = mac
        .split_whitespace()
        .find(|word| word.len() == 17 && word.contains(':'))
        .unwrap();
    let mut frame: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    frame.extend([2, 0, 0, 0, 0, 2, 8, 0]);
    let udp_len = 8 + payload.len();
    let mut ip = vec![0x45, 0];
    ip.extend(((20 + udp_len) as u16).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 9, net, 2, 10, 9, net, 1]);
    let sum: u32 = ip
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame.extend(ip);
    frame.extend(UDP_PORT.to_be_bytes());
    frame.extend(UDP_PORT.to_be_bytes());
    frame.extend((udp_len as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    use rustix::event::{poll, PollFd, PollFlags, Timespec};
    let timeout = Timespec {
        tv_sec: TIMEOUT.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).unwrap() == 1
}

fn ip(arguments: &str) {
    assert!(ip_succeeds(arguments), "ip {arguments}");
}

fn ip_succeeds(arguments: &str) -> bool {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    output.status.success()
}

fn ip_output(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}
