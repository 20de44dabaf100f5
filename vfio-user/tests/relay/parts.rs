// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client of a relay that sends a part of a message.

use super::*;

#[test]
fn a_worker_is_replaced_while_a_client_stalls_within_a_message() {
    // It must not be waited for.
    let fixture = Fixture::start_with(TIMEOUT * 10);
    let first = fixture.connect(ScratchDevice::new());
    let mut client = Client::negotiated(&fixture.path);
    let payload = [&access(0, 8, 4)[..], &[1; 4]].concat();
    let request = adit_vfio_user::fuzzing::message(9, Command::RegionWrite, 0, &payload);
    let parts = [1, Header::SIZE - 1, Header::SIZE, request.len() - 1];
    let mut worker = first;
    for part in parts {
        // The relay has read the first message, so that it comes to the part at once.
        client.send(&[&request, &request[..part]].concat());
        client.reply().unwrap();
        assert!(fixture.relay.pause().wait(TIMEOUT), "{part} bytes");
        let (next, source) = Worker::start(ScratchDevice::new());
        fixture.relay.switch(source, TIMEOUT).unwrap();
        assert!(fixture.relay.commit().wait(TIMEOUT));
        worker.die();
        worker = next;
        assert!(fixture.relay.pause().wait(TIMEOUT));
        client.send(&request[part..]);
        assert!(fixture.relay.revert().wait(TIMEOUT));
        client.reply().unwrap();
        assert_eq!(read(&mut client, 0, 8), Ok([1; 4]), "{part} bytes");
    }
    // Its end is noticed.
    client.send(&request[..1]);
    drop(client);
    assert!(Client::negotiated(&fixture.path).is_served());
    worker.die();
}

#[test]
fn a_client_that_sends_a_part_of_a_message_does_not_stay() {
    let fixture = Fixture::start();
    let worker = fixture.connect(ScratchDevice::new());
    for part in [1, Header::SIZE, Header::SIZE + 3] {
        let mut client = Client::negotiated(&fixture.path);
        let request = adit_vfio_user::fuzzing::message(9, Command::RegionRead, 0, &access(0, 8, 4));
        client.send(&request[..part]);
        assert!(client.is_closed(), "{part} bytes");
    }
    // A pause is no fault of the client's.
    let mut client = Client::negotiated(&fixture.path);
    let request = adit_vfio_user::fuzzing::message(9, Command::RegionRead, 0, &access(0, 8, 4));
    client.send(&request[..1]);
    assert!(fixture.relay.pause().wait(TIMEOUT));
    std::thread::sleep(Duration::from_millis(400));
    client.send(&request[1..]);
    assert!(fixture.relay.revert().wait(TIMEOUT));
    assert_eq!(client.reply().unwrap().len(), 20);
    worker.die();
}
