//! Transcripts of loops: they say what happened, survive what can happen to files, and are enough
//! to make everything again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle_env::{
    Clock, Disk, ManualClock, Random, ReadDisk, SeededRandom, SimulatedDisk, Survival, durable,
};
use rekindle_services::Kind;
use rekindle_services::jobs::{Done, Failure};
use rekindle_services::loops::{
    Ask, Budget, LoopFilter, LoopId, Spec, Status, rebuild, state_hash,
};
use rekindle_services::queues::{Decision, ReviewId};

use crate::loops::{
    BADLY, WELL, ends, events, executions, loops, next, only, plan, spec, start, statuses, step,
    tell,
};
use crate::store::{Store, TRANSCRIPTS};

fn file(id: LoopId) -> PathBuf {
    Path::new(TRANSCRIPTS).join(format!("{id}.jsonl"))
}

fn read(store: &Store, path: &Path) -> Option<Vec<u8>> {
    durable::read_file(&store.disk, path, 1 << 30).ok()
}

/// What a file has from now on.
fn write(store: &Store, path: &Path, bytes: &[u8]) {
    let _gone = store.disk.remove_file(path);
    durable::create_file(&store.disk, path, bytes).unwrap();
}

/// The lines of a transcript.
fn lines(store: &Store, id: LoopId) -> Vec<serde_json::Value> {
    let bytes = read(store, &file(id)).unwrap();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn all(store: &Store) -> Vec<LoopId> {
    let page = loops(store).list(&LoopFilter::default()).unwrap();
    page.executions.iter().map(|execution| execution.id).collect()
}

/// The labels of what a start said of transcripts.
fn labels(store: &Store) -> Vec<&'static str> {
    let of_transcripts = ["loop-14", "loop-15", "loop-16", "loop-17"];
    let mut all: Vec<&str> = [store.actions(), store.findings()].concat();
    all.retain(|label| of_transcripts.contains(label));
    all.dedup();
    all
}

/// Each event is a line, behind the commit, in its order; a start finds that they agree.
///
/// proves: L2, L4
/// produces: loop-14, loop-15
#[test]
fn each_event_is_a_line() {
    let store = Store::new();
    let plan = start(&store, &plan(1, vec![spec("fix", &[])]));
    let id = only(&store, plan).id;
    assert_eq!(read(&store, &file(id)), None, "nothing is written by whoever commits");
    assert_eq!(loops(&store).transcripts().behind, 1);
    store.services.tick().unwrap();
    ends(&store, WELL);
    ends(&store, BADLY);
    store.services.tick().unwrap();
    let told = lines(&store, id);
    let words: Vec<&str> = told.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(words, events(&store, id));
    let numbers: Vec<u64> = told.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=6).collect::<Vec<u64>>());
    assert_eq!(told[4]["output"], "no");
    assert!(told.iter().all(|line| line["chain"].as_str().unwrap().len() == 16));
    let figures = loops(&store).transcripts();
    assert_eq!((figures.lines, figures.behind, figures.failures), (6, 0, 0));
    // What was written and synced agrees; what happened since is written after the start.
    let store = store.restart();
    assert_eq!((labels(&store), store.figure("transcripts")), (vec![], 1));
    ends(&store, WELL);
    let store = store.crash(0);
    assert_eq!(labels(&store), ["loop-15"]);
    store.services.tick().unwrap();
    assert_eq!(lines(&store, id).len(), events(&store, id).len());
    // So is one that is missing, also of what is over.
    loops(&store).alter(plan, Ask::Cancel, "", "ada", None).unwrap();
    store.services.tick().unwrap();
    let whole = read(&store, &file(id)).unwrap();
    durable::remove_file(&store.disk, &file(id)).unwrap();
    let store = store.restart();
    store.services.tick().unwrap();
    assert_eq!(read(&store, &file(id)).unwrap(), whole);
}

/// A damage of a file, from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    None,
    Missing,
    Empty,
    Torn,
    Behind,
    Flipped,
    Zeros,
    Swapped,
    Twice,
    Ahead,
    Folder,
}

impl Damage {
    const ALL: [Self; 11] = [
        Self::None,
        Self::Missing,
        Self::Empty,
        Self::Torn,
        Self::Behind,
        Self::Flipped,
        Self::Zeros,
        Self::Swapped,
        Self::Twice,
        Self::Ahead,
        Self::Folder,
    ];

    fn label(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Missing | Self::Empty | Self::Behind => Some("loop-15"),
            Self::Torn => Some("loop-16"),
            _ => Some("loop-17"),
        }
    }

    /// What the file has instead; `longer` is what it had later on.
    fn of(self, bytes: &[u8], longer: &[u8], random: &SeededRandom) -> Vec<u8> {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let below = |max: usize| random.next_u64() as usize % max;
        match self {
            Self::None | Self::Missing | Self::Folder => bytes.to_vec(),
            Self::Empty => Vec::new(),
            Self::Torn => {
                let last = lines.last().unwrap().len();
                bytes[..bytes.len() - 1 - below(last - 1)].to_vec()
            }
            Self::Behind => lines[..lines.len() - 1].concat(),
            Self::Flipped => {
                let mut bytes = bytes.to_vec();
                // Not the end of the last line: without it that is a torn one.
                let at = below(bytes.len() - 1);
                bytes[at] ^= 1 << below(8);
                bytes
            }
            Self::Zeros => {
                let mut bytes = bytes.to_vec();
                let at = below(bytes.len() - 2);
                bytes[at..].iter_mut().take(4_096).for_each(|byte| *byte = 0);
                bytes.push(b'\n');
                bytes
            }
            Self::Swapped => [lines[1], lines[0], &lines[2..].concat()].concat(),
            Self::Twice => [bytes, *lines.last().unwrap()].concat(),
            Self::Ahead => longer.to_vec(),
        }
    }
}

/// Whatever becomes of a transcript, the start says what, nothing that happened is lost, and the
/// file is as it was; what was damaged lies beside it.
///
/// proves: L4
/// produces: loop-16, loop-17
#[test]
fn every_damage_has_its_verdict_and_is_mended_from_the_journal() {
    let random = SeededRandom::new(7);
    for round in 0..8 {
        for damage in Damage::ALL {
            let store = Store::new();
            let plan = start(&store, &plan(1, vec![spec("fix", &[])]));
            let id = only(&store, plan).id;
            ends(&store, WELL);
            ends(&store, BADLY);
            store.services.shutdown().unwrap();
            let whole = read(&store, &file(id)).unwrap();
            // What would have been written, had the rest of its life been kept.
            let future = Store::on(
                store.disk.crash(Survival::None, 7),
                Arc::new(ManualClock::new(Clock::wall_ms(&*store.clock))),
            );
            ends(&future, WELL);
            future.services.tick().unwrap();
            let longer = read(&future, &file(id)).unwrap();
            let bytes = damage.of(&whole, &longer, &random);
            match damage {
                Damage::Missing => durable::remove_file(&store.disk, &file(id)).unwrap(),
                Damage::Folder => {
                    store.disk.remove_file(&file(id)).unwrap();
                    durable::create_dir_all(&store.disk, &file(id)).unwrap();
                }
                _ => write(&store, &file(id), &bytes),
            }
            let store = store.restart();
            let context = format!("{damage:?}, round {round}: {:?}", store.reports);
            assert_eq!(labels(&store).first().copied(), damage.label(), "{context}");
            store.services.tick().unwrap();
            assert_eq!(read(&store, &file(id)).unwrap(), whole, "{context}");
            let aside = Path::new(TRANSCRIPTS).join("quarantine").join(format!("{id}.jsonl"));
            if damage.label() == Some("loop-17") {
                assert!(store.figure("corrupted_records") > 0, "{context}");
                assert_eq!(loops(&store).transcripts().set_aside, 1, "{context}");
                if damage != Damage::Folder {
                    assert_eq!(read(&store, &aside).unwrap(), bytes, "{context}");
                }
            } else {
                assert_eq!(store.disk.stat(&aside).unwrap(), None, "{context}");
            }
            // It goes on.
            assert_eq!(ends(&store, WELL).step.iteration, 2);
            let store = store.restart();
            assert_eq!(labels(&store), [""; 0], "{context}");
        }
    }
}

/// Whoever does steps, and asks for things, at random.
fn live(mut store: Store, random: &SeededRandom, turns: u32) -> Store {
    let below = |max: u64| random.next_u64() % max;
    let specs = |count: u64| {
        let idempotent = Spec { run: step("run", true), ..spec("s0", &[]) };
        let others = (1..=count).map(|at| {
            let needs = format!("s{}", at - 1);
            let needs: &[&str] = if at % 2 == 0 { &[needs.as_str()] } else { &[] };
            let budget = Budget { iterations: 9, ..Budget::default() };
            Spec { budget, stuck_after: Some(4), ..spec(&format!("s{at}"), needs) }
        });
        std::iter::once(idempotent).chain(others).collect::<Vec<_>>()
    };
    for _ in 0..turns {
        match below(16) {
            0 => drop(loops(&store).start(&plan(2, specs(below(4))), below(3) == 0, "ada", None)),
            1..=8 => {
                if let Some((claimed, _)) = next(&store) {
                    let failure = Failure { error: "went wrong", ..Failure::default() };
                    let done = match below(4) {
                        0 => Done::Fail(failure),
                        1 => Done::Complete(BADLY.as_bytes()),
                        _ => Done::Complete(WELL.as_bytes()),
                    };
                    tell(&store, &claimed, done).unwrap();
                }
            }
            9 => {
                let _held = next(&store);
                // Ids are drawn anew from the same seed: the time tells them apart.
                store = store.crash(1 + below(3) * 1_000_000);
            }
            10 => _ = store.pass(below(70_000)),
            11 | 12 => {
                let items = store.services.reviews().list(None, 9).unwrap().0;
                if let Some(item) = items.first() {
                    let which = [Decision::Approve, Decision::Retry, Decision::Fail];
                    let decision = which[below(3) as usize];
                    store.services.reviews().decide(item.id, decision, "so", "ada").unwrap();
                }
            }
            _ => {
                let ids = all(&store);
                if !ids.is_empty() {
                    let id = ids[below(ids.len() as u64) as usize];
                    let ask = Ask::ALL[below(Ask::ALL.len() as u64) as usize];
                    match loops(&store).alter(id, ask, "so", "ada", None) {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), Kind::Conflict, "{error}"),
                    }
                }
            }
        }
    }
    store
}

/// The transcripts alone give an equal state; what would go on by itself asks first, and goes on.
///
/// proves: L5
/// produces: loop-18
#[test]
fn transcripts_alone_give_an_equal_state() {
    let mut met = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let random = SeededRandom::new(seed);
        let store = live(Store::new(), &random, 60);
        while loops(&store).transcripts().unchecked > 0 {
            store.services.tick().unwrap();
        }
        store.services.shutdown().unwrap();
        let ids = all(&store);
        if ids.is_empty() {
            continue;
        }
        let other = later(&store);
        let dir = Path::new(TRANSCRIPTS);
        let rebuilt = rebuild(&other.database, &store.disk, dir, "lost", "ada").unwrap();
        assert_eq!(rebuilt.corrupted_records, [], "seed {seed}");
        assert_eq!(rebuilt.executions, ids.len() as u64);
        assert_eq!(rebuilt.state_hash, state_hash(&store.database).unwrap(), "seed {seed}");
        if rebuilt.set_aside == 0 {
            assert_eq!(rebuilt.state_hash, state_hash(&other.database).unwrap(), "seed {seed}");
        }
        // Again: there is nothing to do, and a start finds nothing wrong.
        let again = rebuild(&other.database, &store.disk, dir, "lost", "ada").unwrap();
        assert_eq!((again.plans, again.executions, again.kept), (0, 0, ids.len() as u64));
        let other = other.crash(0);
        let findings = other.findings();
        assert!(findings.iter().all(|label| *label == "loop-6"), "seed {seed}: {findings:?}");
        for id in ids {
            let (was, is) = (status(&store, id), status(&other, id));
            let waits = matches!(was, Status::Pending | Status::Running | Status::Waiting);
            met.insert(was.as_str());
            match waits {
                true => assert_eq!(is, Status::NeedsReview, "seed {seed}: {was}"),
                false => assert_eq!(is, was, "seed {seed}"),
            }
        }
        // Everything goes on: approved, done, and over in the end.
        let other = to_the_end(other);
        let over = |status: &Status| {
            status.is_finished()
                || matches!(status, Status::Draft | Status::Paused | Status::Blocked)
        };
        let mut left: Vec<Status> = all(&other).iter().map(|id| status(&other, *id)).collect();
        left.retain(|status| !over(status));
        assert_eq!(left, [], "seed {seed}");
    }
    let all = "blocked cancelled completed draft failed needs_review paused running waiting";
    assert_eq!(met.into_iter().collect::<Vec<_>>().join(" "), all);
}

/// Another store, whose ids are others.
fn later(store: &Store) -> Store {
    let now_ms = Clock::wall_ms(&*store.clock) + 1;
    Store::on(SimulatedDisk::new(1), Arc::new(ManualClock::new(now_ms)))
}

fn status(store: &Store, id: LoopId) -> Status {
    let page = loops(store).list(&LoopFilter::default()).unwrap();
    page.executions.iter().find(|execution| execution.id == id).unwrap().status
}

/// All that waits for a person is approved, and all steps are done well.
fn to_the_end(store: Store) -> Store {
    let mut idle = 0;
    while idle < 3 {
        let items = store.services.reviews().list(None, 9).unwrap().0;
        for item in &items {
            let ReviewId::Execution(_) = item.id else { continue };
            store.services.reviews().decide(item.id, Decision::Approve, "on", "ada").unwrap();
        }
        let mut done = 0;
        while let Some((claimed, _)) = next(&store) {
            tell(&store, &claimed, Done::Complete(WELL.as_bytes())).unwrap();
            done += 1;
        }
        store.pass(70_000);
        idle = if items.is_empty() && done == 0 { idle + 1 } else { 0 };
    }
    store
}

/// What is damaged is told, each place of it; what is before the damage is made again, and a spec
/// of which there is nothing is told to have failed.
///
/// proves: L5
#[test]
fn of_damaged_transcripts_everything_before_the_damage_is_made_again() {
    let store = Store::new();
    let specs = vec![spec("a", &[]), spec("b", &[]), spec("c", &["a"])];
    let plan = start(&store, &plan(3, specs));
    for told in [WELL, WELL, BADLY, BADLY] {
        ends(&store, told);
    }
    store.services.shutdown().unwrap();
    assert_eq!(statuses(&store, plan), ["running", "running", "blocked"]);
    let [a, b, c] = <[_; 3]>::try_from(executions(&store, plan)).unwrap().map(|it| it.id);
    // In the middle of one, the whole first line of another.
    let bytes = read(&store, &file(a)).unwrap();
    let mut text: Vec<Vec<u8>> = bytes.split_inclusive(|it| *it == b'\n').map(Vec::from).collect();
    let count = text.len() as u64;
    text[2][40] ^= 1;
    write(&store, &file(a), &text.concat());
    let bytes = read(&store, &file(c)).unwrap();
    let (_, behind) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap());
    write(&store, &file(c), behind);
    let other = later(&store);
    let dir = Path::new(TRANSCRIPTS);
    let rebuilt = rebuild(&other.database, &store.disk, dir, "lost", "ada").unwrap();
    let told: Vec<String> = rebuilt.corrupted_records.iter().map(ToString::to_string).collect();
    let name = file(a).display().to_string();
    assert_eq!(
        (told[0].clone(), rebuilt.plans),
        (format!("{name} line 3: its checksum is of something else"), 1)
    );
    let lost = count - 3;
    assert!(told[1].starts_with(&format!("{name}: event 3 is missing")), "{told:?}");
    assert!(told[1].ends_with(&format!("{} events behind it are lost", lost - 1)), "{told:?}");
    assert!(told.iter().any(|it| it.contains(&format!("no transcript of spec 2 of plan {plan}"))));
    assert_eq!(executions(&other, plan)[1].id, b);
    assert_eq!(executions(&other, plan)[2].spec, "lost-2");
    let other = other.crash(0);
    assert_eq!(statuses(&other, plan), ["needs_review", "needs_review", "failed"]);
    assert_eq!(executions(&other, plan)[0].used.iterations, 1);
    assert!(to_the_end(other).services.loops().show(plan).is_ok());
    // A folder without any is told, and so is a store that knows something else.
    let error = rebuild(&store.database, &store.disk, Path::new("/none"), "", "ada").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let record = store.services.audit().list(None, 9).unwrap().records;
    assert!(!record.iter().any(|it| it.action == "loop.rebuild"));
}

/// A long transcript goes on in a new file; all of them are read, and what is damaged in the last
/// one is made again behind the others.
///
/// proves: L2, L5
#[test]
fn a_long_transcript_goes_on_in_new_files() {
    let store = Store::new();
    let wall_time_ms = 300 * 24 * 3_600_000;
    let budget = Budget { iterations: 10_000, wall_time_ms, ..Budget::default() };
    let plan = start(&store, &plan(1, vec![Spec { budget, ..spec("fix", &[]) }]));
    let id = only(&store, plan).id;
    let output = "o".repeat(4_000);
    let told = format!(r#"{{"exit_code":1,"output":"{output}"}}"#);
    for _ in 0..2_400 {
        if let Some((claimed, _)) = next(&store) {
            tell(&store, &claimed, Done::Complete(told.as_bytes())).unwrap();
        }
        store.pass(61_000);
    }
    let names: Vec<String> = store
        .disk
        .list(Path::new(TRANSCRIPTS))
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    let whole = read(&store, &file(id)).unwrap();
    let mut damaged = whole.clone();
    damaged[9] ^= 1;
    write(&store, &file(id), &damaged);
    let store = store.restart();
    assert_eq!(labels(&store), ["loop-17"]);
    store.services.tick().unwrap();
    assert_eq!(read(&store, &file(id)).unwrap(), whole);
    let other = Store::new();
    let rebuilt = rebuild(&other.database, &store.disk, Path::new(TRANSCRIPTS), "", "ada").unwrap();
    assert_eq!(rebuilt.state_hash, state_hash(&store.database).unwrap());
    // An earlier part that is damaged is found out where it is needed.
    let part = Path::new(TRANSCRIPTS).join(&names[0]);
    let mut damaged = read(&store, &part).unwrap();
    damaged[200] ^= 1;
    write(&store, &part, &damaged);
    durable::remove_file(&store.disk, &file(id)).unwrap();
    let store = store.restart();
    store.services.tick().unwrap();
    let other = Store::new();
    let rebuilt = rebuild(&other.database, &store.disk, Path::new(TRANSCRIPTS), "", "ada").unwrap();
    assert_eq!(rebuilt.corrupted_records.len(), 3, "{:?}", rebuilt.corrupted_records);
}
