//! Random histories against a simple model: each message is in exactly one place, whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rekindle_services::queues::{MessageId, Nack, NewMessage, QueueSettings, Settled, Token};

use crate::store::{START_MS, Store};

const VISIBILITY_MS: u64 = 1_000;
const MAX_ATTEMPTS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Send { key: u8, delay_ms: u64 },
    Receive { max: usize },
    Ack { pick: usize },
    Nack { pick: usize, delay_ms: u64, release: bool },
    Extend { pick: usize, by_ms: u64 },
    Pass { ms: u64 },
    Crash { down_ms: u64 },
    Checkpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Ready,
    Leased { deadline_ms: u64 },
    Delayed { due_ms: u64 },
    Acked,
    Dead,
}

#[derive(Clone, Debug)]
struct Modelled {
    key: u8,
    at: At,
    attempts: u32,
    charged: u32,
    /// The token that is still good.
    token: Option<Token>,
}

/// What should be.
#[derive(Default)]
struct Model {
    now_ms: u64,
    messages: BTreeMap<MessageId, Modelled>,
    /// Every token that was ever handed out.
    tokens: Vec<Token>,
}

impl Model {
    fn count(&self, wanted: impl Fn(At) -> bool) -> u64 {
        self.messages.values().filter(|message| wanted(message.at)).count() as u64
    }

    /// Time passed: delays end, leases run out.
    fn tick(&mut self) {
        for message in self.messages.values_mut() {
            match message.at {
                At::Delayed { due_ms } if due_ms <= self.now_ms => message.at = At::Ready,
                At::Leased { deadline_ms } if deadline_ms <= self.now_ms => {
                    message.settle(true, 0, self.now_ms);
                }
                _ => {}
            }
        }
    }

    /// The first ready message of a key.
    fn first(&self, key: u8) -> Option<MessageId> {
        let mut ready = self.messages.iter();
        let first = ready.find(|(_, message)| message.key == key && message.at == At::Ready);
        first.map(|(id, _)| *id)
    }

    /// The message of a token that is still good.
    fn good(&mut self, token: Token) -> Option<&mut Modelled> {
        self.messages.values_mut().find(|message| message.token == Some(token))
    }
}

impl Modelled {
    fn settle(&mut self, charged: bool, delay_ms: u64, now_ms: u64) -> Settled {
        self.charged += u32::from(charged);
        if charged && self.charged >= MAX_ATTEMPTS {
            (self.at, self.token) = (At::Dead, None);
            return Settled::DeadLettered;
        }
        self.at = match delay_ms {
            0 => At::Ready,
            delay_ms => At::Delayed { due_ms: now_ms + delay_ms },
        };
        Settled::Returned
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ms = prop_oneof![Just(0_u64), 1_u64..1_500];
    let pick = 0_usize..1_000;
    let step = prop_oneof![
        4 => (0_u8..3, prop_oneof![3 => Just(0_u64), 1 => 1_u64..2_000])
            .prop_map(|(key, delay_ms)| Step::Send { key, delay_ms }),
        4 => (1_usize..4).prop_map(|max| Step::Receive { max }),
        3 => pick.clone().prop_map(|pick| Step::Ack { pick }),
        2 => (pick.clone(), ms.clone(), any::<bool>())
            .prop_map(|(pick, delay_ms, release)| Step::Nack { pick, delay_ms, release }),
        2 => (pick, 1_u64..2_000).prop_map(|(pick, by_ms)| Step::Extend { pick, by_ms }),
        2 => ms.clone().prop_map(|ms| Step::Pass { ms }),
        1 => ms.prop_map(|down_ms| Step::Crash { down_ms }),
        1 => Just(Step::Checkpoint),
    ];
    proptest::collection::vec(step, 1..60)
}

fn send(store: &Store, model: &mut Model, key: u8, delay_ms: u64) {
    let name = key.to_string();
    let message = NewMessage { fairness_key: &name, delay_ms, ..NewMessage::default() };
    let id = store.queues().send("q", &message, None).unwrap().value;
    let due_ms = model.now_ms + delay_ms;
    let at = if delay_ms == 0 { At::Ready } else { At::Delayed { due_ms } };
    let last = model.messages.last_key_value().map(|(id, _)| *id);
    assert!(last < Some(id), "numbers rise");
    model.messages.insert(id, Modelled { key, at, attempts: 0, charged: 0, token: None });
}

fn receive(store: &Store, model: &mut Model, max: usize) {
    let ready = model.count(|at| at == At::Ready);
    let deliveries = store.receive("q", max);
    assert_eq!(deliveries.len() as u64, ready.min(max as u64), "all that is ready, up to {max}");
    for delivery in deliveries {
        let key: u8 = delivery.fairness_key.parse().unwrap();
        assert_eq!(model.first(key), Some(delivery.id), "first in, first out");
        let deadline_ms = model.now_ms + VISIBILITY_MS;
        assert_eq!(delivery.deadline_ms, deadline_ms);
        let message = model.messages.get_mut(&delivery.id).unwrap();
        message.attempts += 1;
        assert_eq!(delivery.attempt, message.attempts);
        message.at = At::Leased { deadline_ms };
        message.token = Some(delivery.token);
        assert!(!model.tokens.contains(&delivery.token), "each grant has a token of its own");
        model.tokens.push(delivery.token);
    }
}

fn pick(model: &Model, at: usize) -> Option<Token> {
    (!model.tokens.is_empty()).then(|| model.tokens[at % model.tokens.len()])
}

fn ack(store: &Store, model: &mut Model, at: usize) {
    let Some(token) = pick(model, at) else { return };
    let done = store.ack(token);
    match model.good(token) {
        Some(message) => {
            done.unwrap();
            (message.at, message.token) = (At::Acked, None);
        }
        None => assert_eq!(done.unwrap_err().kind(), rekindle_services::Kind::Fenced),
    }
}

fn nack(store: &Store, model: &mut Model, at: usize, delay_ms: u64, release: bool) {
    let Some(token) = pick(model, at) else { return };
    let nack = Nack { delay_ms, reason: "", release };
    let done = store.queues().nack(None, &[token], &nack, None).unwrap().value.remove(0);
    let now_ms = model.now_ms;
    match model.good(token) {
        Some(message) if matches!(message.at, At::Leased { .. }) => {
            assert_eq!(done, Ok(message.settle(!release, delay_ms, now_ms)));
        }
        Some(_) => assert_eq!(done, Ok(Settled::Returned)),
        None => assert!(done.is_err()),
    }
}

fn extend(store: &Store, model: &mut Model, at: usize, by_ms: u64) {
    let Some(token) = pick(model, at) else { return };
    let done = store.queues().extend(None, &[token], Some(by_ms), None).unwrap().value.remove(0);
    let deadline_ms = model.now_ms + by_ms;
    match model.good(token) {
        Some(message) => {
            assert_eq!(done, Ok(Settled::Extended { deadline_ms }));
            message.at = At::Leased { deadline_ms };
        }
        None => assert!(done.is_err()),
    }
}

/// The store says what the model says, and has no row of nothing.
fn compare(store: &Store, model: &Model) {
    let stats = store.queues().show("q").unwrap().stats;
    assert_eq!(stats.ready, model.count(|at| at == At::Ready), "ready");
    assert_eq!(stats.leased, model.count(|at| matches!(at, At::Leased { .. })), "leased");
    assert_eq!(stats.delayed, model.count(|at| matches!(at, At::Delayed { .. })), "delayed");
    let dead = store.queues().show("q.dead").unwrap().stats;
    assert_eq!(dead.ready, model.count(|at| at == At::Dead), "dead");
    let live = stats.ready + stats.leased + stats.delayed;
    assert_eq!(store.rows("messages").len() as u64, live + dead.ready);
    assert_eq!(store.rows("leases").len() as u64, stats.leased);
    assert_eq!(store.rows("lease_expiry").len() as u64, stats.leased);
}

fn run(mut store: Store, steps: Vec<Step>) {
    let settings = QueueSettings {
        visibility_ms: VISIBILITY_MS,
        max_attempts: MAX_ATTEMPTS,
        dead_letter: None,
    };
    store.queues().create("q", &settings, None).unwrap();
    let mut model = Model { now_ms: START_MS, ..Model::default() };
    for step in steps {
        match step {
            Step::Send { key, delay_ms } => send(&store, &mut model, key, delay_ms),
            Step::Receive { max } => receive(&store, &mut model, max),
            Step::Ack { pick } => ack(&store, &mut model, pick),
            Step::Nack { pick, delay_ms, release } => {
                nack(&store, &mut model, pick, delay_ms, release);
            }
            Step::Extend { pick, by_ms } => extend(&store, &mut model, pick, by_ms),
            Step::Pass { ms } => {
                model.now_ms += ms;
                store.pass(ms);
                model.tick();
            }
            Step::Crash { down_ms } => {
                model.now_ms += down_ms;
                store = store.crash_somewhere(down_ms);
                model.tick();
                assert!(store.findings().is_empty());
            }
            Step::Checkpoint => store.database.checkpoint().unwrap(),
        }
        compare(&store, &model);
    }
    // And once more: recovering what was recovered changes nothing.
    let store = store.crash(0);
    let hash = store.database.state_hash();
    let store = store.crash(0);
    assert_eq!(store.database.state_hash(), hash);
    assert_eq!(store.figure("leases_reclaimed") + store.figure("dead_lettered"), 0);
    compare(&store, &model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// proves: B3, B4, B5, B7
    /// fault: S2, T4, T7
    #[test]
    fn every_message_is_in_exactly_one_place(steps in steps()) {
        run(Store::new(), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// On the engine in files, where a start takes up the index of the run before. (A debug build
    /// holds it against all rows.)
    ///
    /// proves: B3, B4, B5, B7
    /// fault: S2, T4, T7
    #[test]
    fn every_message_is_in_exactly_one_place_in_files(steps in steps()) {
        run(Store::in_files(), steps);
    }
}
