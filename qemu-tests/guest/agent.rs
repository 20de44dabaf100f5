// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The agent in the guest, and the `wire` command.
//!
//! `adit-agent serve` handles the host's requests on the virtio-serial port `adit`; called as
//! `wire`, the agent has the host run a command in the network namespace at the other end of the
//! wire. Uses the standard library only: it is compiled by the Debian tree's own rustc, for the
//! guest's C library.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitCode};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

#[path = "../src/proto.rs"]
#[allow(dead_code, unreachable_pub)]
mod proto;
use proto::{execute, pack_words, send, unpack_words, Frame, Kind, SharedWriter, GUEST_CHANNEL};

const SOCKET: &str = "/run/adit-agent.sock";
const PORT_NAME: &str = "adit";

/// Clients that wait for the output of a command on the host.
type Clients = Arc<Mutex<HashMap<u32, UnixStream>>>;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let result = if name.ends_with("wire") {
        wire(&args)
    } else if args == ["serve"] {
        serve().map(|()| 0)
    } else {
        Err(io::Error::other("use: adit-agent serve, or wire CMD…"))
    };
    match result {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(126)
        }
    }
}

/// Runs `words` at the other end of the wire and forwards its output.
fn wire(words: &[String]) -> io::Result<i32> {
    if words.is_empty() {
        return Err(io::Error::other(
            "use: wire [--bg NAME] CMD…, or wire --kill NAME",
        ));
    }
    let mut agent = UnixStream::connect(SOCKET)?;
    Frame::new(0, Kind::Run, pack_words(words)).write(&mut agent)?;
    while let Some(frame) = Frame::read(&mut agent)? {
        match frame.kind {
            Kind::Stdout => io::stdout()
                .write_all(&frame.data)
                .and(io::stdout().flush())?,
            Kind::Stderr => io::stderr().write_all(&frame.data)?,
            Kind::Exit => return Ok(frame.status().unwrap_or(1)),
            _ => {}
        }
    }
    Err(io::Error::other("the agent went away"))
}

fn serve() -> io::Result<()> {
    let mut port = open_port()?;
    let to: SharedWriter = Arc::new(Mutex::new(Box::new(port.try_clone()?)));
    let clients = Clients::default();
    let _ = fs::remove_file(SOCKET);
    let listener = UnixListener::bind(SOCKET)?;
    {
        let (to, clients) = (Arc::clone(&to), Arc::clone(&clients));
        std::thread::spawn(move || accept(&listener, &to, &clients));
    }
    send(
        &to,
        &Frame::new(0, Kind::Hello, fs::read("/proc/sys/kernel/osrelease")?),
    );
    let mut inputs: HashMap<u32, mpsc::Sender<Vec<u8>>> = HashMap::new();
    loop {
        let Some(frame) = Frame::read(&mut port)? else {
            // The host's end is temporarily closed.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        let channel = frame.channel;
        match frame.kind {
            Kind::Run => {
                let words = unpack_words(&frame.data);
                let mut command = Command::new(words.first().map_or("", String::as_str));
                command.args(words.get(1..).unwrap_or_default());
                inputs.extend(execute(command, channel, &to).map(|input| (channel, input)));
            }
            Kind::Stdin => {
                if inputs
                    .get(&channel)
                    .is_some_and(|input| input.send(frame.data).is_err())
                {
                    inputs.remove(&channel);
                }
            }
            Kind::Stdout | Kind::Stderr | Kind::Exit => {
                let Ok(mut clients) = clients.lock() else {
                    continue;
                };
                if let Some(client) = clients.get_mut(&channel) {
                    if frame.write(client).is_err() || frame.kind == Kind::Exit {
                        clients.remove(&channel);
                    }
                }
            }
            Kind::Hello => {}
        }
    }
}

/// Accepts `wire` clients: each sends one command.
fn accept(listener: &UnixListener, to: &SharedWriter, clients: &Clients) {
    for (number, client) in listener.incoming().enumerate() {
        let Ok(mut client) = client else { continue };
        let Ok(Some(frame)) = Frame::read(&mut client) else {
            continue;
        };
        let channel = GUEST_CHANNEL | number as u32;
        if let Ok(mut clients) = clients.lock() {
            clients.insert(channel, client);
        }
        send(to, &Frame::new(channel, Kind::Run, frame.data));
    }
}

/// Opens the virtio-serial port by its name: there is no udev to create links.
fn open_port() -> io::Result<File> {
    for _ in 0..100 {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT_NAME {
                let device = std::path::Path::new("/dev").join(entry.file_name());
                return OpenOptions::new().read(true).write(true).open(device);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "no virtio-serial port `adit`",
    ))
}
