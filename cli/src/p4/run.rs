// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit p4 run`: runs a program over the packets of a capture file and prints a trace of each.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adit_p4runtime::server::Pipeline;
use adit_pipeline::p4::{Direction, DropReason, Engine, Input, Output, Worker, FIRST_HOST_PORT};
use adit_trace::{Dropped, Record, Sent, Translator, SNAP};
use anyhow::{anyhow, Context, Result};
use clap::Args;

use super::source::Source;
use crate::capture::{Capture, Recorder};
use crate::output::{counted, Format};
use crate::table::catalog::Catalog;
use crate::table::write::load;
use crate::trace::record::PacketRecord;

/// The arguments of `adit p4 run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    source: Source,
    /// The packets: a pcap or pcapng file
    #[arg(long, value_name = "FILE")]
    pcap: PathBuf,
    /// Entries for the tables, as `adit table add --from` reads them
    #[arg(long, value_name = "FILE")]
    entries: Option<PathBuf>,
    /// Write the packets that are sent to a file: pcapng if its name has that extension, else pcap
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The input port; ports from 4096 on are those of the host
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u32,
    /// Stop after this many packets
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// The totals of a run.
#[derive(Default)]
struct Summary {
    packets: u64,
    sent: u64,
    dropped: u64,
}

pub(super) fn run(run: &Run, format: Format) -> Result<()> {
    let (_, program) = run.source.program()?;
    let engine = Engine::load_interpreted(program);
    let engine = Arc::new(engine.with_context(|| format!("loading {}", run.source.name()))?);
    let pipeline = Pipeline::of_engine(engine.clone()).map_err(|why| anyhow!("{why}"))?;
    let catalog = Catalog::new(pipeline.p4info());
    if let Some(path) = &run.entries {
        load(path, &catalog, &pipeline)?;
    }
    let mut capture = Capture::open(&run.pcap)?;
    let recorder = run.out.as_deref().map(Recorder::create).transpose()?;
    let mut passage = Passage {
        worker: Engine::worker(&engine),
        translator: Translator::of(pipeline).map_err(|why| anyhow!("{why}"))?,
        catalog,
        engine,
        port: run.port,
        recorder,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut summary, mut begin, mut now) = (Summary::default(), None, Duration::ZERO);
    while run.count.is_none_or(|most| summary.packets < most) {
        let Some(packet) = capture.read()? else {
            break;
        };
        let begin = *begin.get_or_insert(packet.at);
        // If the capture's clock goes backwards, the program's does not.
        now = now.max(packet.at.saturating_sub(begin));
        summary.packets += 1;
        let record = passage.pass(summary.packets, now, packet.at, &packet.data)?;
        summary.sent += record.sent.len() as u64;
        summary.dropped += record.dropped.len() as u64;
        match format {
            Format::Table => record.write(&mut out)?,
            Format::Json => {
                out.write_all(if summary.packets == 1 { b"[\n" } else { b",\n" })?;
                serde_json::to_writer_pretty(&mut out, &record)?;
            }
        }
    }
    match format {
        Format::Table => writeln!(
            out,
            "{}: {} sent, {} dropped",
            counted(summary.packets, "packet"),
            summary.sent,
            summary.dropped
        )?,
        Format::Json if summary.packets == 0 => writeln!(out, "[]")?,
        Format::Json => writeln!(out, "\n]")?,
    }
    out.flush()?;
    if let Some(recorder) = passage.recorder {
        recorder.finish().context("writing what leaves")?;
    }
    Ok(())
}

/// A program that packets are run through.
struct Passage {
    engine: Arc<Engine>,
    worker: Worker,
    translator: Translator,
    catalog: Catalog,
    port: u32,
    recorder: Option<Recorder>,
}

impl Passage {
    fn pass(
        &mut self,
        number: u64,
        now: Duration,
        at: Duration,
        data: &[u8],
    ) -> Result<PacketRecord> {
        let now_ns = now.as_nanos() as u64;
        self.engine.expire(now_ns);
        let input = Input {
            direction: match self.port {
                FIRST_HOST_PORT.. => Direction::HostToNet,
                _ => Direction::NetToHost,
            },
            ..Input::new(self.port, data)
        };
        let mut record = Record {
            time_ns: now_ns,
            port: self.port,
            length: data.len(),
            data: data[..data.len().min(SNAP)].to_vec(),
            ..Record::default()
        };
        let mut frames = Vec::new();
        let (outputs, dropped) = (&mut record.outputs, &mut record.dropped);
        record.events = self
            .worker
            .process_traced(now_ns, &input, &mut |_, output| match output {
                // The packet itself proceeds.
                Output::Dropped(DropReason::UnknownSession) => {}
                Output::Dropped(reason) => *dropped = Some(Dropped::Engine(reason)),
                Output::Sent(leaves) => {
                    outputs.push(Sent::new(&leaves, data));
                    frames.extend(leaves.frames(data));
                }
            });
        if let Some(recorder) = &mut self.recorder {
            for frame in &frames {
                recorder.write(at, frame).context("writing what leaves")?;
            }
        }
        let mut digests = Vec::new();
        while let Some(digest) = self.engine.digests().take() {
            digests.push(crate::table::value::hexadecimal(&digest.data));
        }
        let packet = self.translator.packet(&record, number, Duration::ZERO);
        Ok(PacketRecord {
            digests,
            ..PacketRecord::new(&packet, &self.catalog, false)
        })
    }
}
