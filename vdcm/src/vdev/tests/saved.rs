// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Suspension, saved states, and migration as a client sees them.

use std::time::Duration;

use adit_uapi::virtchnl2::adi::op as adi_op;
use adit_vfio_user::migration::MigrationState::{self, Resuming, Running, Stop, StopCopy};
use adit_vfio_user::migration::{Migration, TransitionError};
use adit_vfio_user::Errno;
use proptest::prelude::*;
use serde_json::{json, Value};

use super::*;
use crate::snapshot::{fuzz_state, parse, DeviceState, StateError, MAX_LEN};
use crate::testing::running_vdev;

const TAIL: u32 = 0x110_0000;

impl Client {
    fn arc(&mut self, from: MigrationState, to: MigrationState) -> Result<(), TransitionError> {
        self.front.transition(from, to)
    }

    /// Assigns an eventfd to each of the first vectors; returns them.
    fn eventfds(&mut self, vectors: usize) -> Vec<OwnedFd> {
        let (own, sent) = (0..vectors).map(|_| event()).unzip();
        let assign = IrqRequest::Assign {
            index: MSIX,
            start: 0,
            action: IrqAction::Trigger,
            eventfds: sent,
        };
        self.front.set_irqs(assign).unwrap();
        own
    }

    /// Reads the state of a device that is stopped.
    fn read_state(&mut self) -> Vec<u8> {
        self.arc(Stop, StopCopy).unwrap();
        let (mut state, mut part) = (Vec::new(), [0; 777]);
        let mut left = self.front.data_size().unwrap();
        while let n @ 1.. = self.front.read_data(&mut part).unwrap() {
            state.extend_from_slice(&part[..n]);
            left -= n as u64;
            assert_eq!(self.front.data_size(), Ok(left));
        }
        assert_eq!(left, 0);
        self.arc(StopCopy, Stop).unwrap();
        state
    }
}

/// The state of a device whose queues run.
fn saved() -> DeviceState {
    let vdev = running_vdev();
    let mut state = vdev.lock();
    for page in 0..state.frames().total_pages() {
        state.register_write(TAIL + page * 0x1000, page + 1);
    }
    let itr = TAIL + 6 * 0x1000 + 8;
    state.register_write(itr, 77);
    drop(state);
    assert!(matches!(vdev.save(), Err(StateError::Running)));
    vdev.suspend().unwrap();
    let mut saved = vdev.save().unwrap();
    for (n, queue) in (1..).zip(&mut saved.adis[0].queues) {
        (queue.position.next, queue.position.generation) = (n, n % 2 == 0);
    }
    saved.adis[0].vectors[1].pending = true;
    saved
}

#[test]
fn a_state_is_restored_with_all_positions_and_registers() {
    let saved = saved();
    let adi = &saved.adis[0];
    assert_eq!(
        (&adi.tx_tails[..], &adi.buffer_tails[..]),
        (&[1, 2][..], &[3, 4, 5, 6][..])
    );
    assert_eq!(
        (adi.vectors[0].dyn_ctl, adi.vectors[0].itr),
        (7, [0, 77, 0])
    );
    assert_eq!(adi.queues.len(), 2 + 2 + 2 + 4);
    let bytes = saved.bytes().unwrap();
    assert_eq!(parse(&bytes).unwrap(), saved);

    let target = running_vdev();
    target.restore(&saved).unwrap();
    assert!(target.is_suspended());
    let again = target.save().unwrap();
    assert_eq!(
        (&again.adis, again.mailbox_vector),
        (&saved.adis, saved.mailbox_vector)
    );
    let mut function = saved.function.clone();
    function.control.vports[0].link_event = true;
    assert_eq!(again.function, function);
    target.resume().unwrap();
    assert!(!target.is_suspended());
    target.resume().unwrap();
}

#[test]
fn what_adis_have_that_stay_open_is_not_set_by_a_saved_state() {
    let saved = saved();
    let target = running_vdev();
    // A doorbell that the client has rung since the state was saved.
    target.lock().register_write(TAIL, 99);
    target.inherits_adis(true);
    assert!(target.has_inherited_adis());
    target.take_over(&saved, None).unwrap();
    assert!(target.is_suspended());
    assert_eq!(target.lock().register_read(TAIL), 99);
    let again = target.save().unwrap();
    assert_ne!(again.adis[0].queues, saved.adis[0].queues);
    assert_eq!(again.mailbox_vector, saved.mailbox_vector);
    let queues = |state: &DeviceState| state.function.control.vports[0].queues.len();
    assert_eq!(queues(&again), queues(&saved));
    // An event is of whoever has the client.
    target.gone_event(0);
    target.hand_over(false);
    target.resume().unwrap();
    assert!(!target.is_gone());
}

#[test]
fn what_a_client_asks_for_after_its_state_was_taken_over_is_done_once_the_device_goes_on() {
    let saved = saved();
    let target = Arc::new(running_vdev());
    target.inherits_adis(true);
    let mut front = Front::new(target.clone(), Box::new(|| ()));
    // What the client has is set before that.
    front.connected();
    target.take_over(&saved, None).unwrap();
    let client = std::thread::spawn(move || front.reset().unwrap());
    // A call that does not wait would end the suspension, also later than this.
    std::thread::sleep(Duration::from_millis(20));
    assert!(target.is_suspended());
    target.go_on().unwrap();
    assert!(!target.is_suspended());
    let resets = || target.stats().resets.get("client").copied();
    assert_eq!(resets(), None);
    target.hand_over(false);
    client.join().unwrap();
    assert_eq!(resets(), Some(1));
}

#[test]
fn nothing_of_a_client_that_left_in_an_update_is_there_for_the_next_one() {
    let vdev = Arc::new(running_vdev());
    let kept = Arc::new(AtomicU32::new(0));
    let counted = kept.clone();
    let keep = move |_: std::os::fd::BorrowedFd<'_>| {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    vdev.keep_pages(true, Box::new(keep));
    let mut front = Front::new(vdev.clone(), Box::new(|| {}));
    front.connected();
    let enabled = || {
        vdev.suspend().unwrap();
        let saved = vdev.save().unwrap();
        vdev.resume().unwrap();
        let vports = saved.function.control.vports;
        vports.iter().map(|vport| vport.queues.len()).sum::<usize>()
    };
    assert_eq!(enabled(), 10, "a client that the predecessor has served");
    front.new_client();
    front.connected();
    assert_eq!((enabled(), kept.load(Ordering::Relaxed)), (0, 1));
    assert_eq!(vdev.windows(), (0, 0));
}

#[test]
fn a_client_that_leaves_between_two_handovers_is_released() {
    for _ in 0..50 {
        let vdev = Arc::new(running_vdev());
        let mut front = Front::new(vdev.clone(), Box::new(|| {}));
        front.connected();
        vdev.hand_over(true);
        let leaving = std::thread::spawn(move || front.disconnected());
        while !leaving.is_finished() {
            vdev.hand_over(false);
            std::thread::sleep(Duration::from_micros(50));
            vdev.hand_over(true);
            // Nothing changes while it is handed over.
            let before = vdev.is_connected();
            std::thread::sleep(Duration::from_micros(50));
            assert_eq!(vdev.is_connected(), before);
        }
        leaving.join().unwrap();
        assert!(!vdev.is_connected());
    }
}

#[test]
fn an_adi_that_goes_while_its_device_is_handed_over_is_missed_afterwards() {
    let adi = MockAdi::new("adi", 1, 4);
    let end = adi.end();
    let vdev = Vdev::new(vec![Box::new(adi)], shape(Layout::Vf)).unwrap();
    vdev.hand_over(true);
    end();
    vdev.gone_event(0);
    assert!(!vdev.is_gone());
    vdev.hand_over(false);
    assert!(vdev.is_gone());
}

#[test]
fn fields_that_a_device_cannot_have_are_named() {
    let saved = serde_json::to_value(saved()).unwrap();
    let target = running_vdev();
    for (pointer, value, named) in [
        ("/format", json!("tar"), "format"),
        ("/version", json!(2), "version"),
        ("/device/layout", json!("siov"), "device.layout"),
        ("/device/pci_id", json!("8086:0001"), "device.pci_id"),
        ("/device/adis", json!(2), "device.adis"),
        ("/device/pairs", json!(9), "device.pairs"),
        ("/device/vectors", json!(0), "device.vectors"),
        (
            "/mailbox_vector/dyn_ctl",
            json!(4),
            "mailbox_vector.dyn_ctl",
        ),
        ("/adis", json!([]), "adis"),
        ("/adis/0/tx_tails", json!([1]), "adis[0].tx_tails"),
        ("/adis/0/buffer_tails", json!([]), "adis[0].buffer_tails"),
        ("/adis/0/vectors", json!([]), "adis[0].vectors"),
        ("/adis/0/queues", json!([]), "adis[0].queues"),
        ("/adis/0/queues/3/index", json!(0), "adis[0].queues[3]"),
        (
            "/adis/0/queues/3/position/next",
            json!(512),
            "adis[0].queues[3].position.next",
        ),
        (
            "/function/profile/macs/0",
            json!("020000000999"),
            "addresses",
        ),
        (
            "/function/control/vports/0/rss_hash",
            json!(u64::MAX),
            "rss_hash",
        ),
        ("/function/mailbox/atq/head", json!(9_999), "mailbox"),
        ("/adis/0/queues/3/kind", json!("bogus"), "bogus"),
        ("/adis/0/unknown", Value::Null, ""),
    ] {
        let mut changed = saved.clone();
        match changed.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => changed["adis"][0]["unknown"] = 1.into(),
        }
        let bytes = serde_json::to_vec(&changed).unwrap();
        let result = parse(&bytes).and_then(|state| target.restore(&state));
        let error = result.expect_err(pointer).to_string();
        assert!(error.contains(named), "{pointer}: {error}");
        assert!(!target.is_suspended() && !target.is_gone());
    }
    let long = vec![b' '; MAX_LEN + 1];
    assert!(matches!(parse(&long), Err(StateError::TooLong(_))));
}

#[test]
fn a_field_that_is_given_twice_is_refused() {
    let bytes = saved().bytes().unwrap();
    // A reader that makes a tree of values first would accept the last one.
    let twice = [&b"{\"adis\":[],"[..], &bytes[1..]].concat();
    let error = parse(&twice).unwrap_err().to_string();
    assert!(error.contains("duplicate field `adis`"), "{error}");
}

#[test]
fn a_stopped_device_serves_no_mailbox_and_signals_nothing_until_it_runs() {
    let mut client = Client::new(shape(Layout::Vf));
    let events = client.eventfds(2);
    client.load();
    client.write(client.layout.dyn_ctl(0).unwrap(), INTENA_M);
    client.arc(Running, Stop).unwrap();
    assert!(client.front.vdev.is_suspended());
    client.send(op::VERSION, &VERSION);
    client.state.lock().link.up = false;
    client.front.vdev.refresh_links();
    assert!(!client.front.vdev.continue_delayed());
    assert_eq!((client.take(), count(&events[0])), (None, 0));
    let state = client.read_state();
    assert_eq!(parse(&state).unwrap().function.mailbox.atq.tail, 1);
    client.arc(Stop, Running).unwrap();
    assert_eq!(client.take(), Some((op::VERSION, 0)));
    assert_eq!(count(&events[0]), 1);
    assert_eq!(count(&events[1]), 0, "a device that was not moved");
}

#[test]
fn a_device_that_was_moved_signals_each_vector_once() {
    let mut source = Client::new(shape(Layout::Vf));
    source.load();
    source.arc(Running, Stop).unwrap();
    let state = source.read_state();
    let mut target = Client::new(shape(Layout::Vf));
    target.arc(Running, Stop).unwrap();
    target.arc(Stop, Resuming).unwrap();
    for part in state.chunks(100) {
        target.front.write_data(part).unwrap();
    }
    target.arc(Resuming, Stop).unwrap();
    let first = target.eventfds(1);
    assert_eq!(count(&first[0]), 0);
    target.arc(Stop, Running).unwrap();
    assert_eq!(count(&first[0]), 1);
    let all = target.eventfds(5);
    let signals: Vec<_> = all.iter().map(count).collect();
    assert_eq!(signals, [0, 1, 1, 1, 1], "those that had no eventfd before");
    let again = target.eventfds(5);
    assert_eq!(again.iter().map(count).sum::<u64>(), 0);
    // It has the mailbox of the source.
    (target.sent, target.taken) = (source.sent, source.taken);
    assert_eq!(target.arq_len() & ENABLE_M, ENABLE_M);
}

#[test]
fn a_restored_device_that_its_client_stops_runs_when_its_client_wants() {
    for stops in [false, true] {
        let mut client = Client::new(shape(Layout::Vf));
        client.arc(Running, Stop).unwrap();
        let state = parse(&client.read_state()).unwrap();
        client.front.vdev.restore(&state).unwrap();
        client.front.vdev.await_client();
        if stops {
            client.arc(Running, Stop).unwrap();
        }
        let _own = client.eventfds(2);
        assert_eq!(client.front.vdev.is_suspended(), stops);
        let resumed = client.front.vdev.resume_for_operator();
        assert_eq!(matches!(resumed, Err(StateError::Stopped)), stops);
        assert_eq!(client.front.vdev.is_suspended(), stops);
        client.arc(Stop, Running).unwrap();
        assert!(!client.front.vdev.is_suspended());
    }
}

#[test]
fn resets_and_a_client_that_leaves_end_a_suspension() {
    for end in [
        (|client: &mut Client| client.front.reset().unwrap()) as fn(&mut Client),
        |client| client.front.region_write(CONFIG, 0x69, &[0x80]).unwrap(),
        |client| {
            client.front.disconnected();
            client.connect();
        },
    ] {
        let mut client = Client::new(shape(Layout::Vf));
        client.arc(Running, Stop).unwrap();
        end(&mut client);
        assert!(!client.front.vdev.is_suspended());
        client.load();
        client.send(op::VERSION, &VERSION);
        assert_eq!(client.take(), Some((op::VERSION, 0)));
        assert_eq!(client.front.read_data(&mut [0; 8]), Err(Errno::INVAL));
    }
}

#[test]
fn adis_that_cannot_be_suspended_or_are_gone_are_errors() {
    let mut client = Client::new(shape(Layout::Vf));
    client.state.lock().refuse = Some(adi_op::SUSPEND_ADI);
    let refused = client.arc(Running, Stop);
    assert_eq!(refused, Err(TransitionError::Kept(Errno::OPNOTSUPP)));
    client.load();
    client.send(op::VERSION, &VERSION);
    assert_eq!(client.take(), Some((op::VERSION, 0)), "it goes on");
    client.state.lock().refuse = Some(adi_op::GET_ADI_QUEUE_STATE);
    client.arc(Running, Stop).unwrap();
    let refused = client.arc(Stop, StopCopy);
    assert_eq!(refused, Err(TransitionError::Kept(Errno::OPNOTSUPP)));
    // One that does not take the state is reset.
    client.state.lock().refuse = None;
    let state = client.read_state();
    client.state.lock().refuse = Some(adi_op::SET_ADI_VECTOR_STATE);
    client.arc(Stop, Resuming).unwrap();
    client.front.write_data(&state).unwrap();
    let lost = client.arc(Resuming, Stop);
    assert_eq!(lost, Err(TransitionError::Lost(Errno::OPNOTSUPP)));
    assert_eq!(client.resets(ResetCause::Restore), 1);
    assert_eq!(client.arq_len(), 0);
    client.state.lock().gone = true;
    client.front.vdev.adi_gone(0);
    let gone = client.arc(Running, Stop);
    assert_eq!(gone, Err(TransitionError::Kept(Errno::NODEV)));
}

#[test]
fn a_state_whose_function_is_impossible_leaves_the_device_as_it_is() {
    let mut client = Client::new(shape(Layout::Vf));
    client.load();
    client.arc(Running, Stop).unwrap();
    let mut state: serde_json::Value = serde_json::from_slice(&client.read_state()).unwrap();
    state["function"]["control"]["vectors"] = serde_json::json!([9999]);
    client.arc(Stop, Resuming).unwrap();
    let state = serde_json::to_vec(&state).unwrap();
    client.front.write_data(&state).unwrap();
    let refused = client.arc(Resuming, Stop);
    assert_eq!(refused, Err(TransitionError::Kept(Errno::INVAL)));
    assert_eq!(client.resets(ResetCause::Restore), 0);
    assert_ne!(client.arq_len(), 0);
}

#[test]
fn what_a_client_writes_as_a_state_is_bounded() {
    let mut client = Client::new(shape(Layout::Vf));
    client.arc(Running, Stop).unwrap();
    client.arc(Stop, Resuming).unwrap();
    let part = vec![b'['; MAX_LEN / 4];
    for _ in 0..4 {
        client.front.write_data(&part).unwrap();
    }
    assert_eq!(client.front.write_data(&[0]), Err(Errno::FBIG));
    let refused = client.arc(Resuming, Stop);
    assert_eq!(refused, Err(TransitionError::Kept(Errno::INVAL)));
    // The client can try again.
    client.front.write_data(b"{}").unwrap();
    assert!(client.arc(Resuming, Stop).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_state_breaks_a_device(data in prop::collection::vec(any::<u8>(), 0..64)) {
        fuzz_state(&data);
    }
}
