// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands, as calls of the service.

use std::io::Write;
use std::net::IpAddr;

use adit_conntrack::Status;
use adit_conntrack_rpc::client;
use adit_conntrack_rpc::proto::{self, connection::State};
use adit_p4runtime::client::{Channel, Code};

use super::error::{note, operation, say, Failure, Result, INVALID};
use super::events;
use super::flow::{Entry, Part};
use super::options::{Command, Table};
use super::parse::{NatValue, Request};
use super::print::Printer;
use super::protocol::Field;
use super::text::Occasion;
use super::{help, PROGRAM};

/// A client of the service.
pub(super) type Client = client::Client<Channel>;

/// The exit code of a command that found nothing to do.
const NOTHING: u8 = 1;

/// More expectations than a tracker has, in all zones and of all helpers.
const MAX_EXPECTATIONS: usize = 1 << 20;

/// Runs a command that needs no server. Returns whether it was one.
pub(super) fn run_alone(request: &Request) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match request.command {
        None | Some(Command::Help) => write!(out, "{}", help::text(request.protocol))?,
        Some(Command::Version) => writeln!(out, "{PROGRAM} (conntrack-tools)")?,
        Some(_) => return Ok(false),
    }
    Ok(true)
}

/// The end of a command: a line about what it has done, and its exit code.
pub(super) struct Done {
    pub(super) summary: Option<String>,
    pub(super) code: u8,
}

impl Done {
    const SILENT: Done = Done {
        summary: None,
        code: 0,
    };

    fn new(summary: String) -> Self {
        Done {
            summary: Some(summary),
            code: 0,
        }
    }

    /// The end of a command that fails if it has found nothing to do.
    fn counted(count: u64, what: &str) -> Self {
        Done {
            code: if count > 0 { 0 } else { NOTHING },
            ..Done::new(format!("{count} {what}."))
        }
    }
}

/// Runs a command.
pub(super) fn run(request: &Request, client: &mut Client) -> Result<Done> {
    let is_expect = request.table == Table::Expect;
    match request.command {
        None | Some(Command::Help | Command::Version) => run_alone(request).map(|_| Done::SILENT),
        Some(Command::List) if is_expect => list_expectations(request, client),
        Some(Command::List) => list(request, client),
        Some(Command::Get) if is_expect => get_expectation(request, client),
        Some(Command::Get) => get(request, client),
        Some(Command::Create) if is_expect => create_expectation(request, client),
        Some(Command::Create) => create(request, client),
        Some(Command::Add) => add(request, client),
        Some(Command::Update) => update(request, client).map_err(unfinished),
        Some(Command::Delete) if is_expect => delete_expectation(request, client),
        Some(Command::Delete) => delete(request, client).map_err(unfinished),
        Some(Command::Flush) => flush(is_expect, client),
        Some(Command::Events) => {
            let code = events::run(request, client)?;
            Ok(Done {
                code,
                ..Done::SILENT
            })
        }
        Some(Command::Count) => count(is_expect, client),
        Some(Command::Statistics) => statistics(is_expect, client),
    }
}

/// The failure of a command that has changed a part of the connections: also if that is because nobody reads its
/// output.
fn unfinished(failure: Failure) -> Failure {
    match failure {
        Failure::Other(error) if crate::output::reader_is_gone(&error) => Failure::Operation(
            "Operation failed: nobody reads the output, and connections are left".to_owned(),
        ),
        failure => failure,
    }
}

/// Reports whether the type or code of an ICMP message is the one given; the service's filter has both only.
fn has_kind(request: &Request, connection: &proto::Connection) -> bool {
    let Part::Icmp { kind, code, .. } = Entry::new(connection).original.part else {
        return true;
    };
    let is = |field, value| {
        let wanted = request.fields.get(&field);
        wanted.is_none_or(|wanted| *wanted == value)
    };
    is(Field::IcmpType, kind) && is(Field::IcmpCode, code)
}

/// Reports whether the state of a connection of TCP is the one given.
fn has_tcp_state(request: &Request, connection: &proto::Connection) -> bool {
    let state = request.fields.get(&Field::State);
    match &connection.state {
        Some(State::Tcp(tcp)) => state.is_none_or(|wanted| *wanted == tcp.state),
        _ => true,
    }
}

/// Reports whether the source of a connection is translated, to an address and a port if there is one.
fn has_source(nat: NatValue, entry: &Entry<'_>) -> bool {
    let port = |part| ports(part).map(|(src, _)| src);
    let after = ports(entry.reply.part).map(|(_, dst)| dst);
    entry.has_src_nat() && is_translated(nat, entry.reply.dst, port(entry.original.part), after)
}

/// Reports whether the destination is.
fn has_destination(nat: NatValue, entry: &Entry<'_>) -> bool {
    let port = |part| ports(part).map(|(_, dst)| dst);
    let after = ports(entry.reply.part).map(|(src, _)| src);
    entry.has_dst_nat() && is_translated(nat, entry.reply.src, port(entry.original.part), after)
}

fn ports(part: Part) -> Option<(u32, u32)> {
    match part {
        Part::Ports(src, dst) => Some((src, dst)),
        Part::None | Part::Keys(..) | Part::Icmp { .. } => None,
    }
}

/// Reports whether an end has the address, and the port if there is one. conntrack(8) does not find a port that the
/// translation has left as it was.
fn is_translated(nat: NatValue, end: IpAddr, before: Option<u32>, after: Option<u32>) -> bool {
    nat.is_none_or(|(address, port)| {
        let is_port = |port| after == Some(u32::from(port)) && after != before;
        address == end && port.is_none_or(is_port)
    })
}

/// Values that the service's filter does not have.
pub(super) fn passes(request: &Request, connection: &proto::Connection) -> bool {
    let entry = Entry::new(connection);
    let has_any = |nat| has_source(nat, &entry) || has_destination(nat, &entry);
    let has_nat = request.any_nat.is_none_or(has_any)
        && request.src_nat.is_none_or(|nat| has_source(nat, &entry))
        && request
            .dst_nat
            .is_none_or(|nat| has_destination(nat, &entry));
    let has_label = request.label.is_none_or(|label| !label.has_others);
    let state = request.fields.get(&Field::State);
    let has_state = match &connection.state {
        Some(State::Sctp(sctp)) => state.is_none_or(|wanted| *wanted == sctp.state),
        _ => true,
    };
    let sought = request.timeout_to_find().map(u64::from);
    let has_timeout = sought.is_none_or(|sought| sought == entry.timeout());
    let others = has_label && request.has_zones(&entry) && has_kind(request, connection);
    has_nat && has_state && has_timeout && others && !request.finds_nothing()
}

fn list(request: &Request, client: &mut Client) -> Result<Done> {
    let mut printer = Printer::new(request.output, request.labels.clone());
    let mut shown = 0_u64;
    // The tracker has no connections that are not in its table or are leaving it.
    if request.table == Table::Conntrack {
        if request.status == Some((Status::NONE, Status::NONE)) {
            return operation(INVALID);
        }
        let list = proto::ListConnectionsRequest {
            filter: Some(request.filter(false)?),
            zero_counters: request.zero,
            ..Default::default()
        };
        client.list(list, |connection| {
            if passes(request, &connection) {
                shown += 1;
                printer.connection(&connection)?;
            }
            Ok::<_, Failure>(())
        })?;
    }
    printer.end()?;
    Ok(Done::new(format!("{shown} flow entries have been shown.")))
}

fn get(request: &Request, client: &mut Client) -> Result<Done> {
    if request.has_reply_without_address() {
        return operation("Success");
    }
    let found = client.get(proto::GetConnectionRequest {
        tuple: Some(request.wanted()?),
        zone: None,
    })?;
    let label = request.label.unwrap_or_default();
    let entry = Entry::new(&found);
    let has_label = entry.label() & label.bits == label.bits;
    let is_wanted = request.id.is_none_or(|id| id == found.id)
        && has_label
        && has_tcp_state(request, &found)
        && request.has_reply(&entry.reply)
        && passes(request, &found);
    if is_wanted {
        Printer::new(request.output, request.labels.clone()).connection(&found)?;
    }
    Ok(Done::counted(
        is_wanted.into(),
        "flow entries have been shown",
    ))
}

/// Creates a connection. Returns whether it was not there.
fn create_new(request: &Request, client: &mut Client) -> Result<bool> {
    let connection = match request.new_connection() {
        Ok(connection) => connection,
        // What is wrong with a connection that is there already does not matter to Linux.
        Err(_) if exists(request, client)? => return Ok(false),
        Err(failure) => return Err(failure),
    };
    let connection = Some(connection);
    let created = client.create(proto::CreateConnectionRequest { connection });
    match created.map_err(|error| (error.code, error)) {
        Ok(_) => Ok(true),
        Err((Code::AlreadyExists, _)) => Ok(false),
        // Its time was over at once.
        Err((Code::NotFound, _)) => Ok(true),
        Err((_, error)) => Err(error.into()),
    }
}

/// Reports whether a connection with the original tuple is there.
fn exists(request: &Request, client: &mut Client) -> Result<bool> {
    let (Ok(tuple), Ok(zone)) = (request.wanted(), request.zone_message()) else {
        return Ok(false);
    };
    let found = client.get(proto::GetConnectionRequest {
        tuple: Some(tuple),
        zone,
    });
    match found.map_err(|error| (error.code, error)) {
        Ok(_) => Ok(true),
        Err((Code::NotFound, _)) => Ok(false),
        Err((_, error)) => Err(error.into()),
    }
}

fn create(request: &Request, client: &mut Client) -> Result<Done> {
    if !create_new(request, client)? {
        return operation("Such conntrack exists, try -U to update");
    }
    Ok(Done::new("1 flow entries have been created.".to_owned()))
}

/// Creates a connection as [`create`] does; one that exists already is no error.
fn add(request: &Request, client: &mut Client) -> Result<Done> {
    let added = u8::from(create_new(request, client)?);
    Ok(Done::new(format!("{added} flow entries have been added.")))
}

/// Changes a connection, and prints it. Returns whether there was something to change.
fn update_one(
    request: &Request,
    connection: &proto::Connection,
    client: &mut Client,
    printer: &mut Printer,
) -> Result<bool> {
    let Some(change) = request.update(connection)? else {
        return Ok(false);
    };
    let changed = match client.update(change) {
        Ok(changed) => changed,
        // The entry has ended meanwhile.
        Err(error) if error.code == Code::NotFound => return Ok(false),
        // What is refused does not end the command: the entry is printed as it is.
        Err(error) => match Failure::from(error) {
            Failure::Operation(text) => {
                note(&text);
                connection.clone()
            }
            failure => return Err(failure),
        },
    };
    // One whose time is over has ended.
    let remains = changed.timeout_ns != Some(0);
    if remains {
        printer.connection(&changed)?;
    }
    Ok(remains)
}

fn update(request: &Request, client: &mut Client) -> Result<Done> {
    let list = proto::ListConnectionsRequest {
        filter: Some(request.filter(true)?),
        ..Default::default()
    };
    let mut printer = Printer::of_changes(request.output, request.labels.clone());
    let mut updated = 0_u64;
    if request.label.is_none_or(|label| !label.has_others) && !request.finds_nothing() {
        client.list_pages(list, |client, page| {
            for connection in page.iter().filter(|one| has_kind(request, one)) {
                let is_updated = update_one(request, connection, client, &mut printer)?;
                updated += u64::from(is_updated);
            }
            Ok::<_, Failure>(())
        })?;
    }
    Ok(Done::counted(updated, "flow entries have been updated"))
}

fn delete(request: &Request, client: &mut Client) -> Result<Done> {
    let mut printer = Printer::of_changes(request.output, None);
    let filter = request.filter(false)?;
    let filtered = [Field::State, Field::IcmpType, Field::IcmpCode];
    let needs_more = filtered
        .iter()
        .any(|field| request.fields.contains_key(field))
        || request.label.is_some_and(|label| label.has_others)
        || request.has_more_zones()
        || request.has_nat_port()
        || request.timeout_to_find().is_some()
        || request.finds_nothing();
    let mut deleted = 0_u64;
    let mut delete = |client: &mut Client, filter| {
        client.delete(filter, |connection| {
            deleted += 1;
            printer.deleted(&connection)
        })
    };
    if needs_more {
        // The service's filter would delete others as well: each is deleted by its number.
        let list = proto::ListConnectionsRequest {
            filter: Some(filter.clone()),
            ..Default::default()
        };
        client.list_pages(list, |client, page| {
            let mut wanted = page.iter().filter(|one| passes(request, one));
            wanted.try_for_each(|one| {
                let id = Some(one.id);
                let filter = filter.clone();
                delete(client, proto::Filter { id, ..filter })
            })
        })?;
    } else {
        delete(client, filter)?;
    }
    Ok(Done::counted(deleted, "flow entries have been deleted"))
}

fn flush(is_expect: bool, client: &mut Client) -> Result<Done> {
    if is_expect {
        client.flush_expectations(proto::FlushExpectationsRequest {})?;
        say("expectation table has been emptied.");
    } else {
        client.flush(proto::FlushConnectionsRequest {})?;
        say("connection tracking table has been emptied.");
    }
    Ok(Done::SILENT)
}

fn count(is_expect: bool, client: &mut Client) -> Result<Done> {
    let counts = client.count(proto::CountRequest {})?;
    let number = match is_expect {
        true => counts.expectations,
        false => counts.connections,
    };
    writeln!(std::io::stdout(), "{number}")?;
    Ok(Done::SILENT)
}

/// Prints the counters in one line: those of all cores are shared.
fn statistics(is_expect: bool, client: &mut Client) -> Result<Done> {
    let statistics = client.statistics(proto::GetStatisticsRequest {})?;
    let counters = match is_expect {
        true => statistics.expectations,
        false => statistics.connections,
    };
    let mut out = std::io::stdout().lock();
    write!(out, "cpu=0   \t")?;
    for counter in counters {
        write!(out, "{}={} ", counter.name, counter.value)?;
    }
    writeln!(out)?;
    Ok(Done::SILENT)
}

fn list_expectations(request: &Request, client: &mut Client) -> Result<Done> {
    // They are few: all are there before the first is printed, however slowly the output is read.
    let mut all = Vec::new();
    client.list_expectations(|one| {
        all.push(one);
        match all.len() > MAX_EXPECTATIONS {
            true => operation("more expectations than a tracker has"),
            false => Ok(()),
        }
    })?;
    let mut printer = Printer::new(request.output, request.labels.clone());
    let mut shown = 0_u64;
    for one in all {
        let src = one.tuple.as_ref().and_then(|tuple| tuple.src.as_ref());
        let is_v6 = src.is_some_and(|src| src.address.len() == 16);
        if request.is_v6.is_none_or(|wanted| wanted == is_v6) {
            shown += 1;
            printer.expectation(&one, Occasion::Listed)?;
        }
    }
    printer.end()?;
    Ok(Done::new(format!("{shown} expectations have been shown.")))
}

/// The expectation that a connection of the request's tuple fulfils.
fn find_expectation(request: &Request, client: &mut Client) -> Result<proto::Expectation> {
    let tuple = request.wanted()?;
    Ok(client.get_expectation(proto::GetExpectationRequest {
        by: Some(proto::get_expectation_request::By::Tuple(tuple)),
        zone: 0,
    })?)
}

fn get_expectation(request: &Request, client: &mut Client) -> Result<Done> {
    let found = find_expectation(request, client)?;
    Printer::new(request.output, None).expectation(&found, Occasion::Listed)?;
    Ok(Done::SILENT)
}

fn create_expectation(request: &Request, client: &mut Client) -> Result<Done> {
    let expectation = Some(request.new_expectation()?);
    client.create_expectation(proto::CreateExpectationRequest { expectation })?;
    Ok(Done::SILENT)
}

fn delete_expectation(request: &Request, client: &mut Client) -> Result<Done> {
    let id = find_expectation(request, client)?.id;
    client.delete_expectation(proto::DeleteExpectationRequest { id })?;
    // conntrack(8) counts what it prints, and it prints nothing here.
    Ok(Done::counted(0, "expectations have been shown"))
}
