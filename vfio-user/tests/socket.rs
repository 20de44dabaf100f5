// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the socket file: its owner, its replacement and its removal.

use std::os::unix::net::{UnixListener, UnixStream};

use adit_vfio_user::{BindError, Config, Permissions, Server, ServerError};

fn refusal(path: &std::path::Path) -> BindError {
    match Server::bind(path, Config::default()) {
        Err(ServerError::Bind(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_socket_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let server = Server::bind(&path, Config::default()).unwrap();
    assert!(matches!(refusal(&path), BindError::InUse(_)));
    assert!(path.exists());
    drop(server);
    assert!(!path.exists());
    // A listener with a full backlog is in use as well.
    let busy = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&busy, 0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    assert!(matches!(refusal(&path), BindError::InUse(_)));
}

#[test]
fn the_file_has_the_permissions_of_the_configuration() {
    use std::os::unix::fs::MetadataExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let own = rustix::process::getegid().as_raw();
    for mode in [0o600, 0o660, 0o606] {
        let permissions = Permissions {
            mode: Some(mode),
            group: Some(own),
        };
        let config = Config {
            permissions,
            ..Config::default()
        };
        let _server = Server::bind(&path, config).unwrap();
        let file = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((file.mode() & 0o7777, file.gid()), (mode, own));
        UnixStream::connect(&path).unwrap();
    }
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    Server::bind(&path, Config::default()).unwrap();
}

#[test]
fn other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(refusal(&path), BindError::NotASocket(_)));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    let nowhere = folder.path().join("no/such/folder");
    assert!(matches!(
        refusal(&nowhere),
        BindError::Io { call: "open", .. }
    ));
    let long = folder.path().join("x".repeat(200));
    assert!(matches!(
        refusal(&long),
        BindError::Io {
            call: "socket address",
            ..
        }
    ));
}

#[test]
fn a_socket_put_there_by_someone_else_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let server = Server::bind(&path, Config::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists());
}
