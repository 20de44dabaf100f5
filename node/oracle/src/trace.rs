// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Traces: packets, and the services that a node has meanwhile. `README.md` has their language.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use adit_conntrack::Family;
use adit_conntrack_oracle::script::{Line, Script};
use adit_conntrack_oracle::trace::{Packet, Step as PacketStep};
use adit_node::model::{
    Conditions, Endpoint, Name, Policy, Port, PortName, Protocol, Service, Services,
};
use anyhow::{bail, ensure, Context, Result};

use crate::layout::{HERE, THERE};

/// A step of a trace.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A packet arrives.
    Packet(Packet),
    /// Time passes.
    Wait(Duration),
    /// The services become these; with the lines that say so.
    Services(Box<Services>, String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Packet(packet) => f.write_str(&packet.text),
            Step::Wait(duration) => write!(f, "wait {}", duration.as_secs_f64()),
            Step::Services(_, lines) => f.write_str(lines),
        }
    }
}

/// A trace.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) family: Family,
    /// Set if the kernel's rules are kube-proxy's to the letter, and both differ after the last
    /// packet: a difference by intent.
    pub(crate) differs: bool,
    /// Services whose endpoints each side chooses.
    pub(crate) choices: BTreeSet<Name>,
    pub(crate) steps: Vec<Step>,
}

/// The traces of a file: each begins with a line `= NAME`, or `~ NAME` if it ends in a difference by
/// intent.
pub(crate) fn parse_file(text: &str, family: Family) -> Result<Vec<Trace>> {
    let mut traces = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (differs, name) = match (line.strip_prefix("= "), line.strip_prefix("~ ")) {
            (Some(name), _) => (false, name),
            (None, Some(name)) => (true, name),
            (None, None) => continue,
        };
        let mut body = Vec::new();
        while let Some(line) = lines.next_if(|it| !it.starts_with("= ") && !it.starts_with("~ ")) {
            body.push(line);
        }
        let trace = parse(&format!("{name} ({family:?})"), differs, &body, family)?;
        traces.extend(trace);
    }
    Ok(traces)
}

/// A trace of lines; absent if it is not to be run with the family.
pub(crate) fn parse<L: AsRef<str>>(
    name: &str,
    differs: bool,
    lines: &[L],
    family: Family,
) -> Result<Option<Trace>> {
    let mut parser = Parser {
        script: Script::new(family),
        services: Services::default(),
        pending: Vec::new(),
        trace: Trace {
            name: name.to_owned(),
            family,
            differs,
            choices: BTreeSet::new(),
            steps: Vec::new(),
        },
    };
    for line in lines {
        let line = line.as_ref().split('#').next().unwrap_or_default().trim();
        match line {
            "" => {}
            "only ipv4" if family == Family::V6 => return Ok(None),
            "only ipv6" if family == Family::V4 => return Ok(None),
            "only ipv4" | "only ipv6" => {}
            line => parser
                .take(line)
                .with_context(|| format!("`{line}' of trace `{name}'"))?,
        }
    }
    Ok(Some(parser.trace))
}

struct Parser {
    script: Script,
    services: Services,
    /// Lines of services since the last packet.
    pending: Vec<String>,
    trace: Trace,
}

impl Parser {
    fn take(&mut self, text: &str) -> Result<()> {
        let line = Line::new(text);
        match line.word(0) {
            "service" => self.service(&line)?,
            "endpoints" => self.endpoints(&line)?,
            "remove" => {
                let name = name(line.word(1));
                ensure!(
                    self.services.services.remove(&name).is_some(),
                    "there is no such service"
                );
                self.services.endpoints.retain(|of, _| of.service != name);
            }
            _ => {
                if !self.pending.is_empty() {
                    let lines = std::mem::take(&mut self.pending).join("\n    ");
                    let services = Box::new(self.services.clone());
                    self.trace.steps.push(Step::Services(services, lines));
                }
                self.script.take(text)?;
                for step in self.script.steps() {
                    self.trace.steps.push(match step {
                        PacketStep::Packet(packet) => Step::Packet(packet),
                        PacketStep::Wait(duration) => Step::Wait(duration),
                        PacketStep::SetTimeout(_) => bail!("timeouts are not set here"),
                    });
                }
                return Ok(());
            }
        }
        self.pending.push(text.to_owned());
        Ok(())
    }

    /// `service NAME PROTOCOL[,PROTOCOL] at=HOST[,HOST] port=N [node-port=N] [affinity=SECONDS]
    /// [internal=local] [external=local] [choice]`.
    fn service(&mut self, line: &Line<'_>) -> Result<()> {
        let name = name(line.word(1));
        let policy = |option| match line.value(option) {
            None => Ok(Policy::Cluster),
            Some("local") => Ok(Policy::Local),
            Some(other) => bail!("{option}={other} is not {option}=local"),
        };
        let mut service = Service {
            name: name.clone(),
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            ingress_ips: Vec::new(),
            ports: Vec::new(),
            affinity: match line.number("affinity", 0)? {
                0 => None,
                seconds => Some(seconds),
            },
            internal_policy: policy("internal")?,
            external_policy: policy("external")?,
        };
        for host in line.value("at").unwrap_or_default().split(',') {
            let address = self.script.host(host)?;
            match host.get(..1) {
                Some("S") => service.cluster_ips.push(address),
                Some("X") => service.external_ips.push(address),
                _ => bail!("`{host}' is no address of a service, such as S1 or X1"),
            }
        }
        for protocol in line.word(2).split(',') {
            let protocol: Protocol = protocol.parse()?;
            service.ports.push(Port {
                name: protocol.to_string().to_lowercase(),
                protocol,
                port: line.number("port", 80)?,
                node_port: match line.number("node-port", 0)? {
                    0 => None,
                    port => Some(port),
                },
            });
        }
        if line.has("choice") {
            self.trace.choices.insert(name.clone());
        }
        self.services.services.insert(name, service);
        Ok(())
    }

    /// `endpoints NAME HOST:PORT[/STATE]…`: all endpoints that a service has.
    fn endpoints(&mut self, line: &Line<'_>) -> Result<()> {
        let name = name(line.word(1));
        let service = self.services.services.get(&name);
        let ports = service.context("there is no such service")?.ports.clone();
        self.services.endpoints.retain(|of, _| of.service != name);
        let words = (2..).map(|at| line.word(at));
        for word in words.take_while(|word| !word.is_empty()) {
            let (at, state) = word.split_once('/').unwrap_or((word, ""));
            let (host, port) = at.split_once(':').context("HOST:PORT")?;
            let at = SocketAddr::new(self.script.host(host)?, port.parse().context("port")?);
            let endpoint = Endpoint {
                address: at.ip(),
                port: at.port(),
                node: Some(if host.starts_with('R') { HERE } else { THERE }.to_owned()),
                uid: String::new(),
                conditions: conditions(state)?,
            };
            for port in &ports {
                let of = PortName {
                    service: name.clone(),
                    port: port.name.clone(),
                    protocol: port.protocol,
                };
                self.services.add_endpoint(of, endpoint.clone());
            }
        }
        Ok(())
    }
}

fn name(text: &str) -> Name {
    Name::new("default", text)
}

fn conditions(state: &str) -> Result<Conditions> {
    let [ready, serving, terminating] = match state {
        "" => [true, true, false],
        "terminating" => [false, true, true],
        "ended" => [false, false, true],
        "unready" => [false, false, false],
        other => bail!("`{other}' is none of terminating, ended, unready"),
    };
    Ok(Conditions {
        ready,
        serving,
        terminating,
    })
}
