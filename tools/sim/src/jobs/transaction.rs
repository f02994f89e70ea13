//! A transaction over everything, asked of a store.

use rekindle_services::Identity;
use rekindle_services::kv::{Scope, Write};
use rekindle_services::queues::NewMessage;
use rekindle_services::transact::Operation;

use crate::jobs::execute::new_job;
use crate::jobs::{JobAnswer, Step, Task};
use crate::request::Answer;
use crate::store::Store;

/// Asks for all of it.
pub(super) fn run(store: &Store, steps: &[Step], identity: Option<Identity>) -> Answer {
    let scope = Scope::default();
    let bytes: Vec<Vec<u8>> = steps.iter().map(bytes_of).collect();
    let results: Vec<[u8; 8]> = steps.iter().map(result_of).collect();
    let operations: Vec<Operation<'_>> = steps
        .iter()
        .zip(bytes.iter().zip(&results))
        .map(|(step, (bytes, result))| operation(&scope, step, bytes, result))
        .collect();
    match store.services.transactions().run(&operations, identity) {
        Ok(answer) => Answer::Job(JobAnswer::Ran(answer.version, answer.value)),
        Err(error) => Answer::Refused(error.into()),
    }
}

/// The body of a message, or the payload of a job.
fn bytes_of(step: &Step) -> Vec<u8> {
    match step {
        Step::Send(_, message) => message.body(),
        Step::Submit(task) => Task::payload(task),
        _ => vec![],
    }
}

fn result_of(step: &Step) -> [u8; 8] {
    if let Step::Work(_, deed) = step { deed.bytes() } else { [0; 8] }
}

fn operation<'a>(
    scope: &'a Scope,
    step: &'a Step,
    bytes: &'a [u8],
    result: &'a [u8; 8],
) -> Operation<'a> {
    match step {
        Step::Check(key, expect) => Operation::Check { scope, key, expect: *expect },
        Step::Put(key, value) => Operation::Write { scope, write: Write::Put { key, value } },
        Step::Send(queue, message) => {
            let (fairness_key, delay_ms) = (message.key.as_str(), message.delay_ms);
            let message = NewMessage { body: bytes, headers: &[], fairness_key, delay_ms };
            Operation::Send { queue, message }
        }
        Step::Ack(token) => Operation::Ack(*token),
        Step::Submit(task) => Operation::Submit { kind: &task.kind, job: new_job(task, bytes) },
        Step::Work(token, deed) => Operation::Job(*token, deed.done(result)),
    }
}
