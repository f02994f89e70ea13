//! Whatever time does, nothing that was asked for under one identity happens twice.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use rekindle_services::limits::{PRODUCER_IDLE_MS_MAX, PRODUCER_RESULT_MS_MIN};
use rekindle_services::queues::NewMessage;
use rekindle_services::{Identity, Kind};

use crate::store::{START_MS, Store};

const HOUR_MS: u64 = 3_600_000;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A client makes an id; its clock is ahead by less than what forgets it, or behind.
    Begin { ahead: bool, skew_ms: u64 },
    /// It asks for something, perhaps again, perhaps long after.
    Ask { client: usize, sequence: u64 },
    /// Time passes, and what is due is done.
    Pass { ms: u64 },
    /// The machine loses its power for so long.
    Crash { down_ms: u64 },
    /// The table follows the state: a checkpoint is as good as a journal.
    Checkpoint,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ms = prop_oneof![
        1_u64..HOUR_MS,
        Just(PRODUCER_RESULT_MS_MIN),
        Just(PRODUCER_IDLE_MS_MAX / 2),
        Just(PRODUCER_IDLE_MS_MAX),
    ];
    let begin = (any::<bool>(), prop_oneof![Just(0), 1..20 * HOUR_MS]);
    let step = prop_oneof![
        3 => begin.prop_map(|(ahead, skew_ms)| Step::Begin { ahead, skew_ms }),
        9 => (0_usize..8, prop_oneof![0_u64..3, 8_u64..10])
            .prop_map(|(client, sequence)| Step::Ask { client, sequence }),
        4 => ms.clone().prop_map(|ms| Step::Pass { ms }),
        1 => ms.prop_map(|down_ms| Step::Crash { down_ms }),
        1 => Just(Step::Checkpoint),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The id of client `number`, made at this time.
fn id(number: usize, ms: u64) -> [u8; 16] {
    let mut id = [number as u8; 16];
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    (id[6], id[8]) = (0x70, 0x80);
    id
}

fn run(steps: Vec<Step>) {
    let mut store = Store::new();
    store.create("q");
    let mut now_ms = START_MS + 30 * 24 * HOUR_MS;
    store.pass(now_ms - START_MS);
    let mut clients: Vec<[u8; 16]> = vec![];
    let mut asked: BTreeMap<String, bool> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Begin { ahead, skew_ms } => {
                let made_ms = if ahead { now_ms + skew_ms } else { now_ms - skew_ms };
                clients.push(id(clients.len(), made_ms));
            }
            Step::Ask { client, sequence } => {
                // Mostly the newest ones.
                let Some(at) = clients.len().checked_sub(1 + client) else { continue };
                let producer = clients[at];
                let body = format!("{at}-{sequence}");
                let message = NewMessage { body: body.as_bytes(), ..NewMessage::default() };
                let sent =
                    store.queues().send("q", &message, Some(Identity { producer, sequence }));
                match sent {
                    Ok(_) => drop(asked.insert(body, true)),
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::Unknown, "{error}");
                        asked.entry(body).or_insert(false);
                    }
                }
            }
            Step::Pass { ms } => {
                now_ms += ms;
                store.pass(ms);
            }
            Step::Crash { down_ms } => {
                now_ms += down_ms;
                let before = store.services.producers();
                store = store.crash(down_ms);
                assert_eq!(store.services.producers(), before, "recovery builds the same table");
            }
            Step::Checkpoint => store.database.checkpoint().unwrap(),
        }
    }
    let mut expected: Vec<String> =
        asked.into_iter().filter_map(|(body, done)| done.then_some(body)).collect();
    expected.sort_unstable();
    let mut found = store.ready("q");
    found.sort_unstable();
    assert_eq!(found, expected, "each that was answered once, and nothing that was refused");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// fault: T6
    #[test]
    fn an_identity_has_one_effect_however_late_its_retry_comes(steps in steps()) {
        run(steps);
    }
}
