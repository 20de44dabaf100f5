// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Migration of a device between two servers, its log of DMA writes, and requests of a hostile
//! client for either, on a real socket.

mod common;

use adit_vfio_user::header::Command;
use adit_vfio_user::migration::{MigrationState, MigrationSupport};
use adit_vfio_user::testing::{BAR0_SIZE, BROKEN_STATE, CONFIG, DMA_WRITE, LOST_STATE};
use adit_vfio_user::{wire, Errno, Reason};
use common::{read, Client, Running};
use zerocopy::IntoBytes;
use MigrationState::*;

const GET: u32 = 1 << 16;
const SET: u32 = 1 << 17;
const PROBE: u32 = 1 << 18;
const MIGRATION: u32 = 1;
const STATE: u32 = 2;
const START: u32 = 6;
const STOP_LOG: u32 = 7;
const REPORT: u32 = 8;
const DATA_SIZE: u32 = 9;

const PRE_COPY: MigrationSupport = MigrationSupport {
    pre_copy: true,
    p2p: false,
};

fn feature_with(
    client: &mut Client,
    argsz: u32,
    flags: u32,
    data: &[u8],
) -> Result<Vec<u8>, Errno> {
    let head = wire::DeviceFeature { argsz, flags };
    let payload = [head.as_bytes(), data].concat();
    let reply = client.request(Command::DeviceFeature, &payload)?;
    let (head, data) = reply.split_at(wire::DeviceFeature::SIZE);
    let head: wire::DeviceFeature = read(head);
    assert_eq!(head.flags, flags);
    if flags & GET != 0 {
        assert_eq!(head.argsz as usize, reply.len());
    }
    Ok(data.to_vec())
}

fn feature(client: &mut Client, flags: u32, data: &[u8]) -> Result<Vec<u8>, Errno> {
    feature_with(client, 1 << 20, flags, data)
}

fn enter(client: &mut Client, state: MigrationState) -> Result<(), Errno> {
    let data = [state as u32, 0];
    let echo = feature(client, SET | STATE, data.as_bytes())?;
    assert_eq!(echo, data.as_bytes());
    Ok(())
}

fn state(client: &mut Client) -> MigrationState {
    let reply = feature(client, GET | STATE, &[]).unwrap();
    let state: wire::FeatureMigState = read(&reply);
    MigrationState::from_number(state.device_state).unwrap()
}

fn mig_read(client: &mut Client, size: u32) -> Result<Vec<u8>, Errno> {
    let request = wire::MigData {
        argsz: size.saturating_add(8),
        size,
    };
    let reply = client.request(Command::MigDataRead, request.as_bytes())?;
    let head: wire::MigData = read(&reply);
    assert_eq!(
        (head.argsz as usize, head.size as usize),
        (reply.len(), reply.len() - 8)
    );
    Ok(reply[8..].to_vec())
}

fn mig_write(client: &mut Client, data: &[u8]) -> Result<(), Errno> {
    let size = data.len() as u32;
    let head = wire::MigData {
        argsz: 8 + size,
        size,
    };
    let payload = [head.as_bytes(), data].concat();
    let reply = client.request(Command::MigDataWrite, &payload)?;
    assert!(reply.is_empty());
    Ok(())
}

fn region(client: &mut Client, command: Command, data: &[u8]) -> Vec<u8> {
    let access = wire::RegionAccess {
        offset: 0,
        region: 0,
        count: data.len() as u32,
    };
    let data = if command == Command::RegionWrite {
        data
    } else {
        &[]
    };
    let payload = [access.as_bytes(), data].concat();
    let mut reply = client.request(command, &payload).unwrap();
    reply.split_off(wire::RegionAccess::SIZE)
}

fn memory() -> Vec<u8> {
    (0..BAR0_SIZE).map(|n| (n * 7 % 251) as u8).collect()
}

#[test]
fn a_device_moves_from_one_server_to_another() {
    let servers = [Running::migratable(PRE_COPY), Running::migratable(PRE_COPY)];
    let [mut from, mut to] = servers.each_ref().map(Running::client);
    region(&mut from, Command::RegionWrite, &memory());
    let flags = feature(&mut from, GET | MIGRATION, &[]).unwrap();
    assert_eq!(flags, 5u64.as_bytes());
    let size = feature(&mut from, GET | DATA_SIZE, &[]).unwrap();
    assert_eq!(size, BAR0_SIZE.as_bytes());

    // While it runs, a part of the state; the rest of the same stream once it is stopped.
    enter(&mut from, PreCopy).unwrap();
    let mut stream = Vec::new();
    while let part @ [_, ..] = &mig_read(&mut from, 3000).unwrap()[..] {
        stream.extend_from_slice(part);
    }
    assert_eq!(stream.len() as u64, BAR0_SIZE / 2);
    enter(&mut from, StopCopy).unwrap();
    assert_eq!(state(&mut from), StopCopy);
    loop {
        let part = mig_read(&mut from, 5000).unwrap();
        stream.extend_from_slice(&part);
        // The server reads on where the device returns less than requested.
        if part.len() < 5000 {
            break;
        }
    }
    assert!(mig_read(&mut from, 10).unwrap().is_empty());
    enter(&mut from, Stop).unwrap();

    enter(&mut to, Resuming).unwrap();
    assert_eq!(state(&mut to), Resuming);
    for part in stream.chunks(777) {
        mig_write(&mut to, part).unwrap();
    }
    enter(&mut to, Running).unwrap();
    assert_eq!(
        region(&mut to, Command::RegionRead, &vec![0; BAR0_SIZE as usize]),
        memory()
    );

    drop((from, to));
    let [from, to] = servers.map(Running::stop);
    assert_eq!(
        from.migration.unwrap().arcs,
        [(Running, PreCopy), (PreCopy, StopCopy), (StopCopy, Stop)]
    );
    assert_eq!(
        to.migration.unwrap().arcs,
        [
            (Running, Stop),
            (Stop, Resuming),
            (Resuming, Stop),
            (Stop, Running)
        ]
    );
}

#[test]
fn a_state_that_the_device_does_not_accept_is_an_error() {
    let server = Running::migratable(MigrationSupport::default());
    let mut client = server.client();
    enter(&mut client, Resuming).unwrap();
    mig_write(&mut client, &[BROKEN_STATE]).unwrap();
    assert_eq!(enter(&mut client, Running), Err(Errno::ILSEQ));
    assert_eq!(state(&mut client), Resuming);
    // Incomplete, and beyond what the device stores.
    assert_eq!(
        mig_write(&mut client, &[0; BAR0_SIZE as usize]),
        Err(Errno::NOSPC)
    );
    // A reset is the way out.
    client.request(Command::DeviceReset, &[]).unwrap();
    assert_eq!(state(&mut client), Running);

    enter(&mut client, Resuming).unwrap();
    mig_write(&mut client, &[LOST_STATE]).unwrap();
    assert_eq!(enter(&mut client, Running), Err(Errno::IO));
    assert_eq!(state(&mut client), Error);
    for to in MigrationState::ALL {
        assert_eq!(enter(&mut client, to), Err(Errno::INVAL), "{to:?}");
    }
    client.request(Command::DeviceReset, &[]).unwrap();
    enter(&mut client, StopCopy).unwrap();
    // The next client finds a device that runs.
    drop(client);
    let mut client = server.client();
    assert_eq!(state(&mut client), Running);
    enter(&mut client, Stop).unwrap();
}

#[test]
fn written_pages_are_reported_once() {
    let server = Running::migratable(MigrationSupport::default());
    let mut client = server.client();
    let dma_write = |client: &mut Client, iova: u64, len: u64| {
        let access = wire::RegionAccess {
            offset: DMA_WRITE,
            region: CONFIG,
            count: 16,
        };
        let payload = [access.as_bytes(), [iova, len].as_bytes()].concat();
        client.request(Command::RegionWrite, &payload).unwrap();
    };
    let dirty = |client: &mut Client, iova: u64, page_size: u64| {
        let data = [iova, 64 * page_size, page_size];
        let reply = feature(client, GET | REPORT, data.as_bytes()).unwrap();
        read::<u64>(&reply[24..])
    };
    dma_write(&mut client, 0, 1); // before the log
    feature(&mut client, SET | START, &log(4096, &[])).unwrap();
    assert_eq!(dirty(&mut client, 0, 4096), 0);
    dma_write(&mut client, 0x5fff, 2);
    dma_write(&mut client, 0x3_f000, 0x1000);
    assert_eq!(dirty(&mut client, 0, 4096), 1 << 5 | 1 << 6 | 1 << 63);
    assert_eq!(dirty(&mut client, 0, 4096), 0);
    // Bits for larger pages than the log's, and for a range that begins elsewhere.
    dma_write(&mut client, 0x1_5000, 0x1000);
    assert_eq!(dirty(&mut client, 0x1_0000, 0x4000), 1 << 1);
    dma_write(&mut client, 0x1_5000, 0x1000);
    assert_eq!(dirty(&mut client, 0x1_5000, 4096), 1);
    // What lies outside a report's range is left for the next.
    dma_write(&mut client, 0x5000, 1);
    dma_write(&mut client, 1 << 40, 1);
    assert_eq!(dirty(&mut client, 1 << 20, 4096), 0);
    assert_eq!(dirty(&mut client, 0, 4096), 1 << 5);
    // Too little space for the reply: refused before the log is cleared.
    let data = [1u64 << 40, 4096, 4096];
    let short = feature_with(&mut client, 8 + 24 + 7, GET | REPORT, data.as_bytes());
    assert_eq!(short, Err(Errno::INVAL));
    assert_eq!(dirty(&mut client, 1 << 40, 4096), 1);
    // Reset keeps the log.
    dma_write(&mut client, 0x5000, 1);
    client.request(Command::DeviceReset, &[]).unwrap();
    assert_eq!(dirty(&mut client, 0, 4096), 1 << 5);
}

/// The data of a request to log these ranges.
fn log(page_size: u64, ranges: &[[u64; 2]]) -> Vec<u8> {
    let control = wire::LoggingControl {
        page_size,
        num_ranges: ranges.len() as u32,
        reserved: 0,
    };
    [control.as_bytes(), ranges.as_bytes()].concat()
}

#[test]
fn a_log_is_started_once_and_reports_its_ranges() {
    let server = Running::migratable(MigrationSupport::default());
    let mut client = server.client();
    let report = |client: &mut Client, iova: u64, length: u64, page_size: u64| {
        let data = [iova, length, page_size];
        let reply = feature(client, GET | REPORT, data.as_bytes())?;
        assert_eq!(reply[..24], *data.as_bytes());
        Ok::<_, Errno>(reply[24..].to_vec())
    };
    feature(&mut client, PROBE | SET | START, &[]).unwrap();
    assert_eq!(report(&mut client, 0, 1 << 20, 4096), Err(Errno::INVAL));
    feature(&mut client, SET | STOP_LOG, &[]).unwrap();
    // The device chooses smaller pages than the client would like.
    let ranges = [[1 << 20, 1 << 20], [0, 1 << 16]];
    let reply = feature(&mut client, SET | START, &log(1 << 16, &ranges)).unwrap();
    assert_eq!(reply, log(1 << 14, &ranges));
    let again = feature(&mut client, SET | START, &log(4096, &[]));
    assert_eq!(again, Err(Errno::BUSY));
    assert_eq!(report(&mut client, 0, 1 << 20, 4096).unwrap(), [0; 32]);
    // A bitmap of 1 KiB is the limit here: 8192 pages.
    assert_eq!(
        report(&mut client, 0, 8192 << 12, 4096).unwrap().len(),
        1024
    );
    assert_eq!(report(&mut client, 0, 8193 << 12, 4096), Err(Errno::TOOBIG));
    assert_eq!(report(&mut client, 0, u64::MAX, 1 << 63).unwrap().len(), 8);
    for (iova, length, page_size) in [
        (0, 0, 4096),
        (u64::MAX, 1, 4096),
        (4096, u64::MAX, 1 << 62),
        (0, 4096, 0),
        (0, 4096, 4095),
        (0, 4096, 2048),
        (0, 4096, 3 << 12),
    ] {
        let refused = report(&mut client, iova, length, page_size);
        assert_eq!(
            refused,
            Err(Errno::INVAL),
            "{iova:#x} {length:#x} {page_size:#x}"
        );
    }
    feature(&mut client, SET | STOP_LOG, &[]).unwrap();
    assert_eq!(report(&mut client, 0, 1 << 20, 4096), Err(Errno::INVAL));
    feature(&mut client, SET | START, &log(4096, &[])).unwrap();
    // A client that leaves ends its log.
    drop(client);
    let mut client = server.client();
    assert_eq!(report(&mut client, 0, 1 << 20, 4096), Err(Errno::INVAL));
    feature(&mut client, SET | START, &log(4096, &[])).unwrap();
    assert!(server.stats.refused(Reason::Migration) > 0);
}

#[test]
fn data_is_transferred_in_the_states_for_it_only() {
    let server = Running::migratable(PRE_COPY);
    let mut client = server.client();
    for (state, reads, writes) in [
        (Running, false, false),
        (PreCopy, true, false),
        (Running, false, false),
        (Stop, false, false),
        (StopCopy, true, false),
        (Stop, false, false),
        (Resuming, false, true),
    ] {
        enter(&mut client, state).unwrap();
        assert_eq!(mig_read(&mut client, 16).is_ok(), reads, "{state:?}");
        assert_eq!(
            mig_write(&mut client, &[1; 16]).is_ok(),
            writes,
            "{state:?}"
        );
    }
    client.request(Command::DeviceReset, &[]).unwrap();
    enter(&mut client, StopCopy).unwrap();
    assert_eq!(enter(&mut client, PreCopy), Err(Errno::INVAL));
    assert_eq!(enter(&mut client, RunningP2p), Err(Errno::INVAL));
    assert_eq!(state(&mut client), StopCopy);
    // Lengths that lie, and more than a message may carry.
    for (argsz, size) in [(8, 1), (7, 0), (0, 0), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
        let request = wire::MigData { argsz, size };
        let refused = client.request(Command::MigDataRead, request.as_bytes());
        assert_eq!(refused, Err(Errno::INVAL), "{argsz} {size}");
        let refused = client.request(Command::MigDataWrite, request.as_bytes());
        assert_eq!(refused, Err(Errno::INVAL), "{argsz} {size}");
    }
    assert_eq!(mig_read(&mut client, (1 << 20) + 1), Err(Errno::INVAL));
    for state in [8, u32::MAX] {
        let refused = feature(&mut client, SET | STATE, [state, 0].as_bytes());
        assert_eq!(refused, Err(Errno::INVAL));
    }
    assert!(client.is_served());
}

#[test]
fn features_are_those_of_migration() {
    let server = Running::migratable(MigrationSupport::default());
    let mut client = server.client();
    for number in 0..32 {
        let known = [1, 2, 6, 7, 8, 9].contains(&number);
        let probed = feature(&mut client, PROBE | number, &[]);
        assert_eq!(probed.err(), (!known).then_some(Errno::NOTTY), "{number}");
        let got = feature_with(&mut client, 8, GET | number, &[0; 24]);
        assert!(got.is_err(), "{number}: no space for a reply");
    }
    for flags in [GET | SET | STATE, STATE, 1 << 19 | GET | STATE, GET | START] {
        assert_eq!(feature(&mut client, flags, &[0; 8]), Err(Errno::INVAL));
    }
    for len in [0, 4, 7] {
        let refused = client.request(Command::DeviceFeature, &vec![0; len]);
        assert_eq!(refused, Err(Errno::INVAL));
    }
    let refused = feature(&mut client, SET | START, &[0; 8192]);
    assert_eq!(refused, Err(Errno::INVAL));
    assert!(client.is_served());
}

#[test]
fn the_capability_is_negotiated() {
    let proposal = b"\0\0\x01\0{\"capabilities\":{\"migration\":\
        {\"pgsize\":4096,\"max_bitmap_size\":268435456}}}\0";
    for (server, reply) in [
        (
            Running::migratable(PRE_COPY),
            &b"{\"capabilities\":{\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":1024}}}\0"[..],
        ),
        (Running::start(), b"{\"capabilities\":{}}\0"),
    ] {
        let mut client = server.connect();
        assert_eq!(
            client.request(Command::Version, proposal).unwrap()[4..],
            *reply
        );
    }
}
