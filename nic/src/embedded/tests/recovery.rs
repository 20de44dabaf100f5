// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Failure of the engine, and ADIs that continue those of a process that has exited.

use super::*;

#[test]
fn the_end_of_the_engine_is_reported_when_its_adis_are_gone() {
    let (sender, ended) = std::sync::mpsc::channel();
    let report = move || sender.send(()).unwrap_or_default();
    let nic = Nic::start_with(&setup(), LIMITS, report).unwrap();
    let (a, _) = owner(&nic);
    assert!(ended.try_recv().is_err());
    // The engine returns as it does after an error.
    nic.inner.shared.stop();
    let patience = std::time::Duration::from_secs(20);
    ended.recv_timeout(patience).unwrap();
    assert_eq!(signals(a.adi.gone()), 1);
    assert!(matches!(
        nic.create_adi(&AdiSpec::default()),
        Err(Error::Gone)
    ));
}

#[test]
fn an_adi_is_created_over_the_pages_of_one_whose_process_has_ended() {
    let pages = {
        let nic = running();
        let (a, _) = owner(&nic);
        a.adi.pages().write_all_at(&[9; 4], 0).unwrap();
        a.adi.pages().try_clone().unwrap()
    };
    let nic = running();
    let refused = nic.recreate_adi(&spec(1), sealed(0x1000));
    assert!(matches!(refused, Err(Error::Io { .. })), "it has one page");
    assert!(nic.adis().is_empty());
    let adi = nic
        .recreate_adi(&spec(1), pages.try_clone().unwrap().into())
        .unwrap();
    let word = |file: &std::fs::File| {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, 0).unwrap();
        word
    };
    assert_eq!(word(&pages), [0; 4]);
    pages.write_all_at(&[7; 4], 0).unwrap();
    assert_eq!(word(adi.pages()), [7; 4]);
}
