//! Receivers that wait: woken by an event, never lost, never leased to nobody.

use std::future::{Future, pending, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use rekindle_database::Database;
use rekindle_services::Kind;
use rekindle_services::queues::ReceiveRequest;

use crate::store::{Store, bodies};

#[derive(Default)]
pub(crate) struct Woken(pub(crate) AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn poll<F: Future>(future: Pin<&mut F>, woken: &Arc<Woken>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(woken));
    future.poll(&mut Context::from_waker(&waker))
}

/// Polls to the end.
pub(crate) fn finish<F: Future>(future: Pin<&mut F>, store: &Store) -> F::Output {
    finish_over(future, &store.database)
}

/// The same; without threads somebody must lead the journal meanwhile.
pub(crate) fn finish_over<F: Future>(mut future: Pin<&mut F>, database: &Database) -> F::Output {
    let woken = Arc::default();
    loop {
        if let Poll::Ready(output) = poll(future.as_mut(), &woken) {
            return output;
        }
        database.flush().unwrap();
    }
}

fn request(max: usize) -> ReceiveRequest<'static> {
    ReceiveRequest { queue: "q", max, visibility_ms: None, owner: "" }
}

#[test]
fn a_waiting_receiver_is_woken_by_a_send() {
    let store = Store::new();
    store.create("q");
    let request = request(5);
    let mut receive = pin!(store.queues().receive_wait(&request, pending()));
    let woken = Arc::default();
    assert!(poll(receive.as_mut(), &woken).is_pending());
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    store.send("q", "a");
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(bodies(&finish(receive, &store).unwrap().value), ["a"]);
}

#[test]
fn the_deadline_ends_the_waiting_with_an_empty_answer() {
    let store = Store::new();
    store.create("q");
    let request = request(1);
    let receive = pin!(store.queues().receive_wait(&request, ready(())));
    assert!(finish(receive, &store).unwrap().value.is_empty());
    store.send("q", "a");
    let receive = pin!(store.queues().receive_wait(&request, ready(())));
    assert_eq!(finish(receive, &store).unwrap().value.len(), 1, "what is ready needs no waiting");
}

#[test]
fn one_message_wakes_one_receiver_and_its_wake_up_is_handed_on() {
    let store = Store::new();
    store.create("q");
    let request = request(1);
    let (first_woken, second_woken) = (Arc::<Woken>::default(), Arc::<Woken>::default());
    let mut first = Box::pin(store.queues().receive_wait(&request, pending()));
    let mut second = pin!(store.queues().receive_wait(&request, pending()));
    assert!(poll(first.as_mut(), &first_woken).is_pending());
    assert!(poll(second.as_mut(), &second_woken).is_pending());
    store.send("q", "a");
    assert_eq!(first_woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(second_woken.0.load(Ordering::SeqCst), 0);
    // The first goes away without having seen it.
    drop(first);
    assert_eq!(second_woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(bodies(&finish(second, &store).unwrap().value), ["a"]);
}

/// The client went away while its grant was on its way: nobody holds the lease.
#[test]
fn a_grant_that_nobody_waits_for_is_given_back_uncharged() {
    let store = Store::new();
    store.create("q");
    store.send("q", "a");
    {
        let request = request(1);
        let mut receive = pin!(store.queues().receive_wait(&request, pending()));
        let _ = poll(receive.as_mut(), &Arc::default());
    }
    assert_eq!(store.pass(0).released, 1);
    let again = store.receive("q", 1).remove(0);
    assert_eq!((again.attempt, again.body()), (2, &b"a"[..]));
}

#[test]
fn an_expiring_lease_wakes_a_waiting_receiver() {
    let store = Store::new();
    store.create("q");
    store.send("q", "a");
    store.receive("q", 1);
    let woken = Arc::<Woken>::default();
    let mut listener = store.queues().ready_changed("q").unwrap();
    assert!(poll(Pin::new(&mut listener), &woken).is_pending());
    store.pass(30_000);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(poll(Pin::new(&mut listener), &woken).is_ready());
}

#[test]
fn deleting_the_queue_or_shutting_down_ends_the_waiting() {
    let store = Store::new();
    for queue in ["q", "other"] {
        store.create(queue);
    }
    let request = request(1);
    let other = ReceiveRequest { queue: "other", ..request };
    let woken = Arc::<Woken>::default();
    let mut gone = pin!(store.queues().receive_wait(&request, pending()));
    let mut stopped = pin!(store.queues().receive_wait(&other, pending()));
    assert!(poll(gone.as_mut(), &woken).is_pending());
    assert!(poll(stopped.as_mut(), &woken).is_pending());
    store.queues().delete("q", None).unwrap();
    assert_eq!(finish(gone, &store).unwrap_err().kind(), Kind::NotFound);
    store.services.shutdown().unwrap();
    assert!(finish(stopped, &store).unwrap().value.is_empty());
    store.send("other", "a");
    assert!(store.receive("other", 1).is_empty(), "nothing is granted any more");
}

/// With its own timer thread, on the real clock: nobody has to ask.
#[test]
fn the_timer_thread_expires_leases_on_its_own() {
    use rekindle_database::{Database, Env, Options as DatabaseOptions};
    use rekindle_services::queues::{NewMessage, QueueSettings};
    use rekindle_services::{Options, Services};

    let folder = tempfile::tempdir().unwrap();
    let options = DatabaseOptions { segment_bytes: 1024 * 1024, ..DatabaseOptions::default() };
    let database = Database::open_with(folder.path(), options, Env::real()).unwrap();
    let (services, _) = Services::lead(&database, Options::default()).unwrap();
    let queues = services.queues();
    queues.create("q", &QueueSettings::default(), None).unwrap();
    queues.send("q", &NewMessage::default(), None).unwrap();
    let short = ReceiveRequest { visibility_ms: Some(20), ..request(1) };
    assert_eq!(queues.receive(&short).unwrap().value.len(), 1);
    let thread = std::thread::current();
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread)));
    let again = request(1);
    let mut receive = pin!(queues.receive_wait(&again, pending()));
    let answer = loop {
        match receive.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => break answer.unwrap(),
            Poll::Pending => std::thread::park(),
        }
    };
    assert_eq!(answer.value[0].attempt, 2);
    services.shutdown().unwrap();
    database.close().unwrap();
}
