//! What keeps an open page up to date: server-sent events.
//!
//! An event `part` carries the id of a part of the page and its new markup, made by the functions
//! that made the page; `epoch` says under which the page is still right: when it changes, the page
//! loads itself again. Invariants: at most [`LIVE_STREAMS_MAX`] streams at once; only what changed
//! is sent; nothing here waits for the disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::Event;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::screens::{facts, parts};
use crate::front::http::reply::{self, Answered, Refusal};
use crate::front::http::request::Asked;
use crate::front::limits::LIVE_STREAMS_MAX;
use crate::state::Server;

/// How often a page is brought up to date.
const EVERY: Duration = Duration::from_secs(1);

/// One open page.
struct Stream {
    server: Arc<Server>,
    /// What the page was asked for with.
    asked: Asked,
    ticks: Interval,
    /// Changes of the start's stage; while somebody holds this, a refused start waits a moment.
    start: Option<watch::Receiver<()>>,
    /// What the page shows, by the id of the part.
    sent: BTreeMap<&'static str, String>,
    epoch: String,
    waiting: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

/// Events for a page until it is closed. Its parameters are those of the page, and `screen`.
pub(super) fn live(server: Arc<Server>, asked: Asked) -> Answered {
    let Ok(place) = Arc::clone(&server.page.streams).try_acquire_owned() else {
        let message = format!("{LIVE_STREAMS_MAX} pages are kept up to date; this one is not");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // Subscribed before the first look, so that no change is missed.
    let start = Some(server.progress.watch());
    let stream = Stream {
        server,
        asked,
        ticks,
        start,
        sent: BTreeMap::new(),
        epoch: String::new(),
        waiting: VecDeque::new(),
        _place: place,
    };
    Ok(reply::events(futures::stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await;
        Some((event, stream))
    })))
}

impl Stream {
    /// The next event, once there is one.
    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return event;
            }
            if self.server.progress.outcome().is_some() {
                self.start = None;
            }
            match &mut self.start {
                Some(start) => {
                    tokio::select! {
                        _ = self.ticks.tick() => {}
                        _ = start.changed() => {}
                    }
                }
                None => {
                    self.ticks.tick().await;
                }
            }
            self.look();
        }
    }

    /// Compares what the page shows with how it is.
    fn look(&mut self) {
        let facts = facts(&self.server);
        if facts.epoch != self.epoch {
            self.epoch.clone_from(&facts.epoch);
            self.waiting.push_back(Event::default().event("epoch").data(&self.epoch));
        }
        for (id, markup) in parts(&self.server, &self.asked, &facts) {
            let html = markup.into_string();
            if self.sent.get(id) != Some(&html) {
                let data = json!({ "id": id, "html": html }).to_string();
                self.waiting.push_back(Event::default().event("part").data(data));
                self.sent.insert(id, html);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;
    use rekindle_env::Env;

    /// Above the bound a page is refused, and stays as it was; a place is free when one closes.
    #[tokio::test]
    async fn open_pages_are_bounded() {
        let server = Server::new(Config::default(), &Env::real());
        let open = || live(Arc::clone(&server), Asked::default());
        let mut pages: Vec<_> = (0..LIVE_STREAMS_MAX).map(|_| open().unwrap()).collect();
        let refusal = open().unwrap_err();
        assert!(matches!(refusal, Refusal::Because { status, .. } if status.as_u16() == 503));
        pages.pop();
        open().unwrap();
    }
}
