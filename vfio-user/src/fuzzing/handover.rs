// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Handover of a fuzzed client, and of descriptions that are not of this server's making.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};

use super::descriptor;
use crate::handover::{receive, Client, InheritedFds, Limits, SavedClient, SentFds};
use crate::session::State;
use crate::Config;

/// Passes the state of a session on as another process would receive it.
pub(super) fn hand_over(state: State, config: &Config) -> State {
    let socket = eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd");
    let client = Client::new(socket, state);
    let mut fds = SentFds::default();
    let saved = client.save(&mut fds);
    let json = serde_json::to_vec(&saved).expect("a description");
    let mut received: InheritedFds = fds
        .as_slice()
        .iter()
        .map(|fd| fd.try_clone_to_owned().expect("dup"))
        .collect();
    let read: SavedClient = serde_json::from_slice(&json).expect("a description");
    assert_eq!(read, saved);
    let restored = read.restore(&mut received, config);
    restored.expect("a client of these limits").state
}

/// Receives the bytes of `input` as a predecessor's transmission and as its description of a client.
/// The first byte is the number of descriptors, memory and eventfds in turn.
pub fn handover(input: &[u8]) {
    let Some((&count, bytes)) = input.split_first() else {
        return;
    };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    // The buffer takes more than a fuzzer's longest input.
    std::io::Write::write_all(&mut &theirs, bytes).expect("a buffer");
    drop(theirs);
    let limits = Limits {
        len: 1 << 16,
        fds: 4,
    };
    if let Ok((description, fds)) = receive(ours.as_fd(), limits, Duration::from_secs(5)) {
        assert!(fds.is_empty() && description.len() <= bytes.len());
    }
    if let Ok(saved) = serde_json::from_slice::<SavedClient>(bytes) {
        let mut fds: InheritedFds = (0..u16::from(count % 5))
            .filter_map(|n| descriptor(n % 2))
            .collect();
        let config = Config {
            max_dma_maps: 64,
            ..Config::default()
        };
        if let Ok(client) = saved.restore(&mut fds, &config) {
            assert!(client.windows() <= 64);
        }
    }
}

/// Seed inputs for [`handover`].
pub fn handover_corpus() -> Vec<Vec<u8>> {
    let window = |iova: u64, file: &str| {
        format!(
            "{{\"iova\":{iova},\"size\":4096,\"offset\":0,\"prot\":\"read_write\",\"file\":{file}}}"
        )
    };
    let windows = [window(0, "0"), window(1 << 20, "0"), window(4096, "null")].join(",");
    let capabilities = "{\"max_msg_fds\":16,\"max_dma_maps\":64,\"migration\":{\"pgsize\":4096}}";
    let client = format!(
        "{{\"format\":1,\"socket\":1,\"agreed\":{{\"minor\":1,\"capabilities\":{capabilities}}},\
         \"migration\":2,\"logging\":false,\"windows\":[{windows}]}}"
    );
    let silent = "{\"format\":1,\"socket\":0,\"agreed\":null,\"migration\":2,\"logging\":false,\
                  \"windows\":[]}";
    let numbers = [1u32, 5, 0].map(u32::to_ne_bytes).concat();
    let transmission = [b"ADITHAND", &numbers[..], b"state"].concat();
    [client.as_bytes(), silent.as_bytes(), &transmission]
        .map(|bytes| [&[2], bytes].concat())
        .to_vec()
}
