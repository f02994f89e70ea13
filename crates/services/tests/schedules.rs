//! Schedules: jobs by the clock, each time once, whatever the clock and the server do.

use rekindle_env::Clock as _;
use rekindle_services::jobs::{JobFilter, NewJob};
use rekindle_services::queues::Decision;
use rekindle_services::schedules::{Missed, NewSchedule};
use rekindle_services::{Kind, Schedules};

use crate::store::Store;

const MINUTE: u64 = 60_000;

fn schedules(store: &Store) -> &Schedules {
    store.services.schedules()
}

fn every_minute(missed: Missed) -> NewSchedule<'static> {
    let payload = b"{\"report\":1}";
    NewSchedule { kind: "report", cron: "* * * * *", missed, payload, ..NewSchedule::default() }
}

fn create(store: &Store, missed: Missed) {
    schedules(store).create("s", &every_minute(missed), "ada", None).unwrap();
}

/// For which times jobs were made.
fn times(store: &Store) -> Vec<u64> {
    let page = store.services.jobs().list(&JobFilter::default()).unwrap();
    page.jobs.iter().map(|job| job.schedule.clone().unwrap().1).collect()
}

/// The first minute behind the wall clock.
fn next(store: &Store) -> u64 {
    store.clock.wall_ms().div_ceil(MINUTE) * MINUTE
}

/// proves: J10
#[test]
fn a_schedule_makes_its_jobs_on_time() {
    let store = Store::new();
    create(&store, Missed::One);
    let first = next(&store);
    let ticked = store.pass(0);
    assert_eq!(ticked.next_in_ms, first - store.clock.wall_ms());
    assert!(times(&store).is_empty());
    store.pass(first - store.clock.wall_ms());
    assert_eq!(times(&store), [first]);
    store.pass(MINUTE);
    assert_eq!(times(&store), [first, first + MINUTE]);
    let shown = schedules(&store).show("s").unwrap();
    assert_eq!((shown.fired, shown.next_ms), (2, Some(first + 2 * MINUTE)));
    let job = store.services.jobs().show(shown.last_job.unwrap()).unwrap();
    assert_eq!(
        (job.payload.as_slice(), job.info.kind.as_str()),
        (&b"{\"report\":1}"[..], "report")
    );
    assert_eq!(job.events[0].by, "schedule s");
}

/// Downtime: one for all, each, or none; and each time once over any number of crashes.
///
/// proves: J10
/// fault: T1, T2
#[test]
fn missed_times_follow_the_policy_and_none_comes_twice() {
    for (missed, expected) in [(Missed::One, 1), (Missed::All, 5), (Missed::Skip, 0)] {
        let store = Store::new();
        create(&store, missed);
        let first = next(&store);
        let ahead = first - store.clock.wall_ms();
        let store = store.crash(ahead + 4 * MINUTE + MINUTE / 2);
        // Not punctual to the minute: Skip skips even the last.
        store.clock.set_wall_ms(first + 4 * MINUTE + MINUTE - 1);
        store.pass(0);
        let skipped = missed == Missed::Skip;
        let found = times(&store);
        assert_eq!(found.len(), if skipped { 1 } else { expected }, "{missed:?}: {found:?}");
        assert_eq!(found.last(), Some(&(first + 4 * MINUTE)));
        let store = store.crash(0);
        store.pass(0);
        assert_eq!(times(&store), found, "and not again");
        store.clock.set_wall_ms(first);
        store.pass(0);
        assert_eq!(times(&store), found, "nor when the clock goes back");
    }
    let hourly = NewSchedule { cron: "0 * * * *", ..every_minute(Missed::Skip) };
    let store = Store::new();
    schedules(&store).create("s", &hourly, "ada", None).unwrap();
    let store = store.crash(5 * 60 * MINUTE + 30 * MINUTE);
    store.pass(0);
    assert!(times(&store).is_empty(), "half an hour late is missed");
}

#[test]
fn schedules_are_made_listed_and_deleted() {
    let store = Store::new();
    let make = |name: &str, new: &NewSchedule<'_>| {
        schedules(&store).create(name, new, "ada", None).map(|it| it.value)
    };
    let new = every_minute(Missed::One);
    assert!(make("a", &new).unwrap());
    assert!(!make("a", &new).unwrap(), "as it is");
    let other = NewSchedule { priority: 1, ..new };
    assert_eq!(make("a", &other).unwrap_err().kind(), Kind::Exists);
    let never = NewSchedule { cron: "0 0 31 4 *", ..new };
    assert_eq!(make("b", &never).unwrap_err().kind(), Kind::Invalid);
    make("b", &new).unwrap();
    let store = store.crash(0);
    let (page, more) = schedules(&store).list("", 1).unwrap();
    assert!(more && page[0].name == "a");
    let (page, more) = schedules(&store).list("a", 9).unwrap();
    assert!(!more && page.len() == 1 && page[0].name == "b");
    schedules(&store).delete("a", "ada", None).unwrap();
    assert_eq!(schedules(&store).delete("a", "ada", None).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(schedules(&store).show("a").unwrap_err().kind(), Kind::NotFound);
    store.pass(2 * MINUTE);
    assert_eq!(times(&store).len(), 1, "of b alone");
    let records = store.services.audit().list(None, 9).unwrap();
    let actions: Vec<&str> = records.records.iter().map(|one| one.action.as_str()).collect();
    assert!(actions.contains(&"schedule.create") && actions.contains(&"schedule.delete"));
}

/// One that cannot be read fires nothing, stops nothing else, and is removed by a person.
///
/// proves: J6
/// produces: job-14
#[test]
fn a_damaged_schedule_is_told_and_stops_nothing() {
    let store = Store::new();
    create(&store, Missed::One);
    schedules(&store).create("t", &every_minute(Missed::One), "ada", None).unwrap();
    let key = store.rows("schedules").remove(0).0;
    store.put("schedules", &key, b"\xFFdamaged");
    let store = store.crash(2 * MINUTE);
    assert_eq!(store.findings(), ["job-14"]);
    store.pass(0);
    assert_eq!(times(&store).len(), 1);
    let (items, _) = store.services.reviews().list(None, 9).unwrap();
    let approve = store.services.reviews().decide(items[0].id, Decision::Approve, "seen", "ada");
    approve.unwrap();
    let store = store.crash(0);
    assert!(store.findings().is_empty());
    store.services.jobs().submit("report", &NewJob::default(), None).unwrap();
}
