// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands, as calls of the service.

use std::io::Write;

use adit_conntrack::Status;
use adit_conntrack_rpc::client;
use adit_conntrack_rpc::proto::{self, connection::State};
use adit_p4runtime::client::Channel;

use super::error::{operation, say, Result, INVALID};
use super::events;
use super::flow::Entry;
use super::options::{Command, Table};
use super::parse::Request;
use super::print::Printer;
use super::protocol::Field;
use super::text::Occasion;
use super::{help, PROGRAM};

/// A client of the service.
pub(super) type Client = client::Client<Channel>;

/// The exit code of a command that found nothing to do.
const NOTHING: u8 = 1;

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

/// Runs a command, and returns its exit code.
pub(super) fn run(request: &Request, client: &mut Client) -> Result<u8> {
    let is_expect = request.table == Table::Expect;
    match request.command {
        None | Some(Command::Help | Command::Version) => run_alone(request).map(|_| 0),
        Some(Command::List) if is_expect => list_expectations(request, client),
        Some(Command::List) => list(request, client),
        Some(Command::Get) if is_expect => get_expectation(request, client),
        Some(Command::Get) => get(request, client),
        Some(Command::Create) if is_expect => create_expectation(request, client),
        Some(Command::Create) => create(request, client),
        Some(Command::Add) => add(request, client),
        Some(Command::Update) => update(request, client),
        Some(Command::Delete) if is_expect => delete_expectation(request, client),
        Some(Command::Delete) => delete(request, client),
        Some(Command::Flush) => flush(is_expect, client),
        Some(Command::Events) => events::run(request, client),
        Some(Command::Count) => count(is_expect, client),
        Some(Command::Statistics) => statistics(is_expect, client),
    }
}

/// Values that the service's filter does not have.
pub(super) fn passes(request: &Request, connection: &proto::Connection) -> bool {
    let status = Status::from_bits(connection.status);
    let has_nat = request.any_nat.is_none_or(|nat| {
        let entry = Entry::new(connection);
        let is = |end: std::net::IpAddr| nat.is_none_or(|(address, _)| address == end);
        status.contains(Status::SRC_NAT) && is(entry.reply.dst)
            || status.contains(Status::DST_NAT) && is(entry.reply.src)
    });
    let state = request.fields.get(&Field::State);
    let has_state = match &connection.state {
        Some(State::Sctp(sctp)) => state.is_none_or(|wanted| *wanted == sctp.state),
        _ => true,
    };
    has_nat && has_state
}

fn list(request: &Request, client: &mut Client) -> Result<u8> {
    let mut printer = Printer::new(request.output);
    let mut shown = 0_u64;
    if request.status == Some((Status::NONE, Status::NONE)) {
        return operation(INVALID);
    }
    // The tracker has no connections that are not in its table or are leaving it.
    if request.table == Table::Conntrack {
        let list = proto::ListConnectionsRequest {
            filter: Some(request.filter(false)?),
            zero_counters: request.zero,
            ..Default::default()
        };
        client.list(list, |connection| {
            if passes(request, &connection) {
                shown += 1;
                printer.connection(&connection, Occasion::Listed)?;
            }
            Ok::<_, super::error::Failure>(())
        })?;
    }
    printer.end()?;
    say(&format!("{shown} flow entries have been shown."));
    Ok(0)
}

fn get(request: &Request, client: &mut Client) -> Result<u8> {
    let found = client.get(proto::GetConnectionRequest {
        tuple: Some(request.wanted()?),
        zone: request.zone_message()?,
    })?;
    let is_wanted = request.id.is_none_or(|id| id == found.id);
    if is_wanted {
        Printer::new(request.output).connection(&found, Occasion::Listed)?;
    }
    let shown = u8::from(is_wanted);
    say(&format!("{shown} flow entries have been shown."));
    Ok(if is_wanted { 0 } else { NOTHING })
}

fn create(request: &Request, client: &mut Client) -> Result<u8> {
    let connection = Some(request.new_connection()?);
    client.create(proto::CreateConnectionRequest { connection })?;
    say("1 flow entries have been created.");
    Ok(0)
}

/// Creates a connection as [`create`] does; one that exists already is no error.
fn add(request: &Request, client: &mut Client) -> Result<u8> {
    let connection = Some(request.new_connection()?);
    let created = client.create(proto::CreateConnectionRequest { connection });
    let added = match created {
        Ok(_) => 1,
        Err(error) if error.code == adit_p4runtime::client::Code::AlreadyExists => 0,
        Err(error) => return Err(error.into()),
    };
    say(&format!("{added} flow entries have been added."));
    Ok(0)
}

fn update(request: &Request, client: &mut Client) -> Result<u8> {
    let list = proto::ListConnectionsRequest {
        filter: Some(request.filter(true)?),
        ..Default::default()
    };
    let mut found = Vec::new();
    client.list(list, |connection| {
        found.push(connection);
        Ok::<_, super::error::Failure>(())
    })?;
    let mut printer = Printer::new(request.output);
    let mut updated = 0_u64;
    for connection in found {
        let change = request.update(&connection);
        let is_none = proto::UpdateConnectionRequest {
            id: connection.id,
            ..Default::default()
        };
        if change == is_none || changes_nothing(&change, &connection) {
            continue;
        }
        let changed = client.update(change)?;
        printer.connection(&changed, Occasion::Listed)?;
        updated += 1;
    }
    say(&format!("{updated} flow entries have been updated."));
    Ok(if updated > 0 { 0 } else { NOTHING })
}

/// Reports whether a connection has all values of a change already.
fn changes_nothing(change: &proto::UpdateConnectionRequest, one: &proto::Connection) -> bool {
    let is_same_status = change.status.is_none_or(|status| status == one.status);
    let is_same_mark = change.mark.is_none_or(|mark| mark.value == one.mark);
    let only_these = change.timeout_ns.is_none() && change.state.is_none();
    is_same_status && is_same_mark && only_these && change.label_mask.is_empty()
}

fn delete(request: &Request, client: &mut Client) -> Result<u8> {
    let mut printer = Printer::new(request.output);
    printer.omit_head();
    let filter = request.filter(false)?;
    let needs_more = request.any_nat.is_some() || request.fields.contains_key(&Field::State);
    let mut deleted = 0_u64;
    let mut filters = vec![filter.clone()];
    if needs_more {
        // The service's filter would delete others as well: each is deleted by its number.
        filters.clear();
        let list = proto::ListConnectionsRequest {
            filter: Some(filter.clone()),
            ..Default::default()
        };
        client.list(list, |connection| {
            if passes(request, &connection) {
                filters.push(proto::Filter {
                    id: Some(connection.id),
                    ..filter.clone()
                });
            }
            Ok::<_, super::error::Failure>(())
        })?;
    }
    for filter in filters {
        client.delete(filter, |connection| {
            deleted += 1;
            let kind = proto::EventKind::Destroy;
            printer.deleted(&connection, kind)
        })?;
    }
    say(&format!("{deleted} flow entries have been deleted."));
    Ok(if deleted > 0 { 0 } else { NOTHING })
}

fn flush(is_expect: bool, client: &mut Client) -> Result<u8> {
    if is_expect {
        client.flush_expectations(proto::FlushExpectationsRequest {})?;
        say("expectation table has been emptied.");
    } else {
        client.flush(proto::FlushConnectionsRequest {})?;
        say("connection tracking table has been emptied.");
    }
    Ok(0)
}

fn count(is_expect: bool, client: &mut Client) -> Result<u8> {
    let counts = client.count(proto::CountRequest {})?;
    let number = match is_expect {
        true => counts.expectations,
        false => counts.connections,
    };
    writeln!(std::io::stdout(), "{number}")?;
    Ok(0)
}

/// Prints the counters in one line: those of all cores are shared.
fn statistics(is_expect: bool, client: &mut Client) -> Result<u8> {
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
    Ok(0)
}

fn list_expectations(request: &Request, client: &mut Client) -> Result<u8> {
    let mut printer = Printer::new(request.output);
    let mut shown = 0_u64;
    client.list_expectations(|one| {
        let src = one.tuple.as_ref().and_then(|tuple| tuple.src.as_ref());
        let is_v6 = src.is_some_and(|src| src.address.len() == 16);
        if request.is_v6.is_none_or(|wanted| wanted == is_v6) {
            shown += 1;
            printer.expectation(&one, Occasion::Listed)?;
        }
        Ok::<_, super::error::Failure>(())
    })?;
    printer.end()?;
    say(&format!("{shown} expectations have been shown."));
    Ok(0)
}

/// The expectation that a connection of the request's tuple fulfils.
fn find_expectation(request: &Request, client: &mut Client) -> Result<proto::Expectation> {
    let tuple = request.wanted()?;
    Ok(client.get_expectation(proto::GetExpectationRequest {
        by: Some(proto::get_expectation_request::By::Tuple(tuple)),
        zone: 0,
    })?)
}

fn get_expectation(request: &Request, client: &mut Client) -> Result<u8> {
    let found = find_expectation(request, client)?;
    Printer::new(request.output).expectation(&found, Occasion::Listed)?;
    say("1 expectations have been shown.");
    Ok(0)
}

fn create_expectation(request: &Request, client: &mut Client) -> Result<u8> {
    let expectation = Some(request.new_expectation()?);
    client.create_expectation(proto::CreateExpectationRequest { expectation })?;
    say("1 expectations have been created.");
    Ok(0)
}

fn delete_expectation(request: &Request, client: &mut Client) -> Result<u8> {
    let id = find_expectation(request, client)?.id;
    client.delete_expectation(proto::DeleteExpectationRequest { id })?;
    say("1 expectations have been deleted.");
    Ok(0)
}
