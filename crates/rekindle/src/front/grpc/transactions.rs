//! The gRPC service `rekindle.v1.Transactions`.
//!
//! Invariant: nothing here decides; a call becomes one transaction, its answer one answer.

use rekindle_services::jobs::{Done, Failure};
use rekindle_services::kv::{Scope, Write};
use rekindle_services::queues::{Nack, NewMessage};
use rekindle_services::transact::{Effect, Operation, Transactions};
use rekindle_services::{Error, Kind};
use rekindle_wire::v1::{self, any_operation::Operation as Asked};
use tonic::{Request, Response, Status};

use super::convert::{self, invalid, refuse};
use super::job_convert;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    transactions: Transactions,
}

impl Service {
    pub(super) fn new(transactions: Transactions) -> Self {
        Self { transactions }
    }
}

/// An error of the operation at this place.
fn at(place: usize, error: &Error) -> Status {
    refuse(&Error::new(error.kind(), format!("operation {place}: {}", error.message())))
}

/// What operations borrow from: the scope of each, and the headers of its message.
struct Parts<'a> {
    scope: Scope,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Parts<'a> {
    fn of(asked: &'a v1::AnyOperation) -> Result<Self, Status> {
        let scope = match &asked.operation {
            Some(Asked::Check(it)) => it.scope.clone(),
            Some(Asked::Put(it)) => it.scope.clone(),
            Some(Asked::Delete(it)) => it.scope.clone(),
            _ => None,
        };
        let message = match &asked.operation {
            Some(Asked::Send(it)) => it.message.as_ref(),
            _ => None,
        };
        let headers = message.map(|message| message.headers.as_slice()).unwrap_or_default();
        let pair = |header: &'a v1::Header| (header.name.as_str(), header.value.as_str());
        Ok(Self { scope: convert::scope(scope)?, headers: headers.iter().map(pair).collect() })
    }
}

fn operation<'a>(
    asked: &'a v1::AnyOperation,
    parts: &'a Parts<'a>,
) -> Result<Operation<'a>, Error> {
    let scope = &parts.scope;
    let nothing = || Error::new(Kind::Invalid, "it says nothing");
    Ok(match asked.operation.as_ref().ok_or_else(nothing)? {
        Asked::Check(it) => {
            Operation::Check { scope, key: &it.key, expect: convert::expect(it.version) }
        }
        Asked::Put(it) => {
            Operation::Write { scope, write: Write::Put { key: &it.key, value: &it.value } }
        }
        Asked::Delete(it) => Operation::Write { scope, write: Write::Delete { key: &it.key } },
        Asked::Send(it) => {
            let message = it.message.as_ref();
            let message = NewMessage {
                body: message.map(|message| message.body.as_ref()).unwrap_or_default(),
                headers: &parts.headers,
                fairness_key: message.map_or("", |message| message.fairness_key.as_str()),
                delay_ms: message.map_or(0, |message| message.delay_ms),
            };
            Operation::Send { queue: &it.queue, message }
        }
        Asked::Ack(it) => Operation::Ack(it.token.parse()?),
        Asked::Nack(it) => {
            let (delay_ms, reason, release) = (it.delay_ms, it.reason.as_str(), it.release);
            Operation::Nack(it.token.parse()?, Nack { delay_ms, reason, release })
        }
        Asked::Submit(it) => Operation::Submit { kind: &it.r#type, job: job_convert::new_job(it)? },
        Asked::Complete(it) => {
            let token = job_convert::token(&it.token, &it.id)?;
            Operation::Job(token, Done::Complete(&it.result))
        }
        Asked::Fail(it) => {
            let (error, retry_in_ms, last) = (it.error.as_str(), it.retry_in_ms, it.last);
            let token = job_convert::token(&it.token, &it.id)?;
            Operation::Job(token, Done::Fail(Failure { error, retry_in_ms, last }))
        }
    })
}

fn result(effect: Effect) -> v1::OperationResult {
    match effect {
        Effect::Done | Effect::Settled(_) => v1::OperationResult::default(),
        Effect::Sent(id) => v1::OperationResult { id: id.to_string(), ..Default::default() },
        Effect::Submitted(job) => {
            let (id, new) = (job.id.to_string(), job.new);
            v1::OperationResult { id, new, ..Default::default() }
        }
        Effect::Changed(job) => {
            let (id, status) = (job.id.to_string(), job_convert::status(job.status).into());
            v1::OperationResult { id, status, ..Default::default() }
        }
    }
}

#[tonic::async_trait]
impl v1::transactions_server::Transactions for Service {
    async fn run(
        &self,
        request: Request<v1::RunTransactionRequest>,
    ) -> Result<Response<v1::RunTransactionResponse>, Status> {
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let most = rekindle_services::limits::TRANSACT_OPERATIONS_MAX;
        if request.operations.len() > most {
            let count = request.operations.len();
            return Err(invalid(format!("{count} operations; a transaction has at most {most}")));
        }
        let parts: Vec<Parts<'_>> =
            request.operations.iter().map(Parts::of).collect::<Result<_, _>>()?;
        let mut operations = Vec::with_capacity(parts.len());
        for (place, (asked, parts)) in request.operations.iter().zip(&parts).enumerate() {
            operations.push(operation(asked, parts).map_err(|error| at(place, &error))?);
        }
        let ticket = self.transactions.submit_run(&operations, identity).await;
        let done = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        Ok(Response::new(v1::RunTransactionResponse {
            durability: convert::durability(done.durability),
            version: done.version,
            results: done.value.into_iter().map(result).collect(),
        }))
    }
}
