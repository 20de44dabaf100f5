// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit trace`: follows packets through a running NIC.

pub(crate) mod filter;
pub(crate) mod record;
pub(crate) mod text;

use std::io::{BufWriter, Write};
use std::path::Path;

use adit_p4runtime::client::connect;
use adit_trace::client::Client;
use adit_trace::proto::{InjectRequest, WatchRequest};
use anyhow::{bail, ensure, Context, Result};
use clap::Args;

use crate::capture::Capture;
use crate::output::{counted, Format};
use crate::table::Device;
use filter::Packets;
use record::PacketRecord;

/// The packets to follow, and the NIC.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    packets: Packets,
    /// Stop after this many packets; by default, at an interrupt
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Follow at most this many packets in a second; those beyond are counted
    #[arg(long, value_name = "N", default_value_t = adit_trace::DEFAULT_RATE,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(adit_trace::MAX_RATE)))]
    rate: u32,
    /// Send packets through the NIC as though --port had received them, and follow these: the frames
    /// of a pcap or pcapng file, or one frame in hexadecimal
    #[arg(long, value_name = "FILE|HEX", requires = "port")]
    inject: Option<String>,
    /// The transmit queue of the virtual port that injected packets are sent from
    #[arg(long, value_name = "N", requires = "inject", default_value_t = 0)]
    queue: u16,
    #[command(flatten)]
    device: Device,
}

/// A printer of records.
struct Printer<W> {
    out: W,
    format: Format,
}

impl<W: Write> Printer<W> {
    /// Prints a record, which the reader gets immediately.
    fn print(&mut self, record: &PacketRecord) -> Result<()> {
        match self.format {
            Format::Table => record.write(&mut self.out)?,
            Format::Json => {
                serde_json::to_writer(&mut self.out, record)?;
                writeln!(self.out)?;
            }
        }
        Ok(self.out.flush()?)
    }
}

/// Parses a frame in hexadecimal; colons and blanks between bytes are allowed.
fn frame(text: &str) -> Result<Vec<u8>> {
    let is_between = |c: char| c == ':' || c.is_whitespace();
    let digits: String = text.chars().filter(|c| !is_between(*c)).collect();
    let wrong = || format!("`{text}` is neither a file nor a frame in hexadecimal");
    ensure!(
        digits.is_ascii() && digits.len() % 2 == 0 && !digits.is_empty(),
        wrong()
    );
    let bytes = (0..digits.len()).step_by(2);
    let bytes = bytes.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).with_context(wrong));
    bytes.collect()
}

/// The frames to inject.
fn frames(inject: &str) -> Result<Vec<Vec<u8>>> {
    let path = Path::new(inject);
    if !path.exists() {
        return Ok(vec![frame(inject)?]);
    }
    let mut capture = Capture::open(path)?;
    let mut frames = Vec::new();
    while let Some(packet) = capture.read()? {
        frames.push(packet.data);
    }
    Ok(frames)
}

pub(crate) fn run(trace: &Trace, format: Format) -> Result<()> {
    let catalog = trace.device.catalog()?;
    let (runtime, channel) = connect(trace.device.address(), trace.device.tls()?.as_ref())?;
    let mut client = Client::new(runtime, channel);
    let mut printer = Printer {
        out: BufWriter::new(std::io::stdout().lock()),
        format,
    };
    if let Some(inject) = &trace.inject {
        let Some(port) = trace.packets.port else {
            bail!("--inject takes the port that receives the packets: --port");
        };
        let most = trace.count.unwrap_or(u64::MAX);
        for (n, data) in (1..=most).zip(frames(inject)?) {
            let queue = trace.queue.into();
            let mut packet = client.inject(InjectRequest { port, data, queue })?;
            packet.number = n;
            printer.print(&PacketRecord::new(&packet, &catalog, true))?;
        }
        return Ok(());
    }
    let mut watch = client.watch(WatchRequest {
        filter: Some(trace.packets.filter()),
        count: trace.count.unwrap_or(0),
        rate: trace.rate,
        further: Vec::new(),
    })?;
    // From here on none is missed.
    eprintln!("following packets");
    while let Some(response) = client.next(&mut watch)? {
        if let Some(packet) = &response.packet {
            printer.print(&PacketRecord::new(packet, &catalog, true))?;
        }
        if response.lost > 0 {
            eprintln!(
                "{} passed the filter and {} not followed: see --rate",
                counted(response.lost, "packet"),
                if response.lost == 1 { "was" } else { "were" }
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_hexadecimal_or_files() {
        assert_eq!(frame("0a:0B 0c").unwrap(), [10, 11, 12]);
        for bad in ["", "0", "0g", "a file", "ää"] {
            assert!(frame(bad).is_err(), "{bad}");
        }
    }
}
