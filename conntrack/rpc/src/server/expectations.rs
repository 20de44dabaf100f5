// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expectations.

use std::sync::Arc;

use adit_conntrack::{ExpectError, Zone};
use tonic::{Request, Response, Status};

use super::pages::{pages, Page, Pages};
use super::places::Peer;
use super::{Shared, DEFAULT_PAGE};
use crate::convert::{expectation_message, new_expectation, tuple};
use crate::proto::{self, get_expectation_request::By};

fn zone_id(zone: u32) -> Result<u16, Status> {
    u16::try_from(zone)
        .map_err(|_| Status::invalid_argument(format!("zone: {zone} has more than 16 bits")))
}

fn expect_status(error: ExpectError) -> Status {
    let text = error.to_string();
    match error {
        ExpectError::Busy | ExpectError::Known => Status::already_exists(text),
        ExpectError::NoMaster => Status::not_found(text),
        ExpectError::Family => Status::invalid_argument(text),
        _ => Status::resource_exhausted(text),
    }
}

pub(super) fn list(
    shared: &Arc<Shared>,
    request: &Request<proto::ListExpectationsRequest>,
) -> Result<Response<Pages<proto::ListExpectationsResponse>>, Status> {
    let turn = shared.lists.take(Peer::of(request))?;
    let shared = shared.clone();
    let mut first = 0;
    Ok(pages(turn, move || {
        let now = shared.now();
        let (found, next) = shared.tracker.expectations(first, DEFAULT_PAGE, now);
        first = next.unwrap_or(first);
        let messages = found.iter().map(|one| expectation_message(one, now));
        Page {
            is_empty: found.is_empty(),
            is_last: next.is_none(),
            message: proto::ListExpectationsResponse {
                expectations: messages.collect(),
            },
        }
    }))
}

pub(super) fn get(
    shared: &Shared,
    request: &proto::GetExpectationRequest,
) -> Result<proto::Expectation, Status> {
    let (now, zone) = (shared.now(), zone_id(request.zone)?);
    let tracker = &shared.tracker;
    let found = match &request.by {
        Some(By::Tuple(wanted)) => {
            tracker.find_expectation(&tuple("tuple", Some(wanted))?, zone, now)
        }
        Some(By::Master(master)) => {
            tracker.expectation_of(&tuple("master", Some(master))?, zone, now)
        }
        None => return Err(Status::invalid_argument("by: absent, but required")),
    };
    let found = found.ok_or_else(|| Status::not_found("no expectation has this tuple"))?;
    Ok(expectation_message(&found, now))
}

pub(super) fn create(
    shared: &Shared,
    request: &proto::CreateExpectationRequest,
) -> Result<proto::Expectation, Status> {
    let message = request.expectation.as_ref();
    let message =
        message.ok_or_else(|| Status::invalid_argument("expectation: absent, but required"))?;
    let now = shared.now();
    let master = tuple("expectation.master_tuple", message.master_tuple.as_ref())?;
    let zone = Zone::new(zone_id(message.zone)?);
    let master = shared.tracker.lookup(&master, zone, now);
    let (master, _) = master.ok_or_else(|| expect_status(ExpectError::NoMaster))?;
    let new = new_expectation(message, master)?;
    let id = shared.tracker.create_expectation(&new, now);
    let id = id.map_err(expect_status)?;
    let (created, _) = shared.tracker.expectations(id, 1, now);
    match created.first() {
        Some(one) if one.id == id => Ok(expectation_message(one, now)),
        _ => Err(Status::not_found("expectation has ended")),
    }
}
