// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Replies in pages: each is made when the client has received the previous one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{ready, Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Response, Status};

use super::places::Place;

/// The time in which a client must receive a page.
const TAKE: Duration = Duration::from_secs(20);

/// The time after which a page that changes something is tried again while changes are held up.
const HELD_UP: Duration = Duration::from_millis(1);

/// A stream of pages.
pub(super) type Pages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A page, with flags: it is to be sent, and others follow.
pub(super) struct Page<T> {
    pub(super) message: T,
    pub(super) is_empty: bool,
    pub(super) is_last: bool,
}

/// A turn, which ends when neither a list nor a page of it needs it any more.
type Turn = Arc<Place>;
/// A page that waits for its client; nothing, if it was taken or discarded.
type Waiting<T> = Arc<Mutex<Option<(T, Turn)>>>;

impl<T> Page<T> {
    /// Nothing to send yet, while changes are held up.
    pub(super) fn later(message: T) -> Self {
        std::thread::sleep(HELD_UP);
        Page {
            message,
            is_empty: true,
            is_last: false,
        }
    }
}

fn take<T>(waiting: &Waiting<T>) -> Option<(T, Turn)> {
    let mut page = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    page.take()
}

/// The pages as their client takes them.
struct Taken<T> {
    receiver: mpsc::Receiver<Waiting<T>>,
    /// The turn of the page that is on its way.
    turn: Option<Turn>,
    limit: Duration,
}

impl<T> Stream for Taken<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // The reply takes a page when it has sent the one before.
        this.turn = None;
        let Some(waiting) = ready!(this.receiver.poll_recv(cx)) else {
            return Poll::Ready(None);
        };
        let Some((page, turn)) = take(&waiting) else {
            // A list that has ended early must not look complete.
            let seconds = this.limit.as_secs();
            let text = format!("the list has ended: a page was not taken within {seconds} s");
            return Poll::Ready(Some(Err(Status::deadline_exceeded(text))));
        };
        this.turn = Some(turn);
        Poll::Ready(Some(Ok(page)))
    }
}

/// Sends the pages that `next` makes. `turn` ends when the last one has been sent, or the client has left.
/// A page that is not taken in time is discarded, and the list ends with it. So at most two pages are held
/// for each turn, one that waits and one on its way, however slow the clients are.
pub(super) fn pages<T: Send + 'static>(
    turn: Place,
    next: impl FnMut() -> Page<T> + Send + 'static,
) -> Response<Pages<T>> {
    pages_within(TAKE, turn, next)
}

fn pages_within<T: Send + 'static>(
    limit: Duration,
    turn: Place,
    mut next: impl FnMut() -> Page<T> + Send + 'static,
) -> Response<Pages<T>> {
    let (sender, receiver) = mpsc::channel::<Waiting<T>>(1);
    tokio::spawn(async move {
        let turn = Arc::new(turn);
        let mut waiting: Option<Waiting<T>> = None;
        let mut is_last = false;
        loop {
            // The place is there before the page is made: no page waits for a slow client.
            let place = match tokio::time::timeout(limit, sender.reserve()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) => return,
                Err(_) => match waiting.as_ref().and_then(take) {
                    Some(_) => return,
                    // It was taken at the last moment.
                    None => continue,
                },
            };
            if is_last {
                return;
            }
            let page = next();
            is_last = page.is_last;
            if !page.is_empty {
                let message = Arc::new(Mutex::new(Some((page.message, turn.clone()))));
                waiting = Some(message.clone());
                place.send(message);
            }
            tokio::task::yield_now().await;
        }
    });
    let turn = None;
    Response::new(Box::pin(Taken {
        receiver,
        turn,
        limit,
    }))
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;
    use tonic::{Code, Request};

    use super::super::places::{Peer, Places};
    use super::*;

    /// A list of two pages, which has the only turn.
    fn list(turns: &Arc<Places>, limit: Duration) -> Pages<u32> {
        let turn = turns.take(Peer::of(&Request::new(()))).expect("a turn");
        let mut number = 0;
        let next = move || {
            number += 1;
            Page {
                message: number,
                is_empty: false,
                is_last: number == 2,
            }
        };
        pages_within(limit, turn, next).into_inner()
    }

    async fn number(pages: &mut Pages<u32>) -> Option<Result<u32, Code>> {
        let page = pages.next().await;
        page.map(|page| page.map_err(|status| status.code()))
    }

    #[test]
    fn a_turn_lasts_until_the_last_page_is_sent() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let turns = Places::new("lists", 1);
            let mut pages = list(&turns, Duration::from_secs(60));
            assert_eq!(number(&mut pages).await, Some(Ok(1)));
            // The other one is made meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(turns.free(), 0);
            assert_eq!(number(&mut pages).await, Some(Ok(2)));
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(turns.free(), 0, "it is on its way");
            assert_eq!(number(&mut pages).await, None);
            assert_eq!(turns.free(), 1);
        });
    }

    #[test]
    fn a_page_that_is_not_taken_is_discarded() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let turns = Places::new("lists", 1);
            let mut pages = list(&turns, Duration::from_millis(10));
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(turns.free(), 1);
            let end = Some(Err(Code::DeadlineExceeded));
            assert_eq!(number(&mut pages).await, end);
            assert_eq!(number(&mut pages).await, None);
        });
    }
}
