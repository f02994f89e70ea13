//! The gRPC service `rekindle.v1.Kv`.
//!
//! Invariant: nothing here decides; a call becomes one call of the service, its answer one answer.

use bytes::Bytes;
use rekindle_services::kv::{Changes, Expect, Kv, ScanRequest, Write};
use rekindle_wire::v1;
use rekindle_wire::v1::operation::Operation;
use tonic::{Request, Response, Status};

use super::convert::{self, invalid, refuse};

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    kv: Kv,
}

impl Service {
    pub(super) fn new(kv: Kv) -> Self {
        Self { kv }
    }
}

/// One operation of a transaction.
fn write(operation: &v1::Operation) -> Result<Write<'_>, Status> {
    match &operation.operation {
        Some(Operation::Put(put)) => Ok(Write::Put { key: &put.key, value: &put.value }),
        Some(Operation::Delete(delete)) => Ok(Write::Delete { key: &delete.key }),
        Some(Operation::DeleteRange(range)) => {
            Ok(Write::DeleteRange { start: &range.start, end: &range.end })
        }
        None => Err(invalid("an operation of the transaction is none that this server knows")),
    }
}

#[tonic::async_trait]
impl v1::kv_server::Kv for Service {
    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let request = request.into_inner();
        let scope = convert::scope(request.scope)?;
        self.kv.settled().await.map_err(|e| refuse(&e))?;
        let entry = self.kv.get(&scope, &request.key, request.at_version);
        let entry = entry.map_err(|e| refuse(&e))?;
        let version = entry.as_ref().map_or(0, |entry| entry.version);
        let value = entry.map(|entry| Bytes::from_owner(entry.value));
        Ok(Response::new(v1::GetResponse { value, version }))
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        let request = request.into_inner();
        let scope = convert::scope(request.scope)?;
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let (key, value) = (&request.key, &request.value);
        let ticket = self.kv.submit_put(&scope, key, value, Expect::Any, identity).await;
        let put = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(put.durability);
        Ok(Response::new(v1::PutResponse { version: put.version, durability }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let request = request.into_inner();
        let scope = convert::scope(request.scope)?;
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let ticket = self.kv.submit_delete(&scope, &request.key, Expect::Any, identity).await;
        let deleted = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(deleted.durability);
        let (version, existed) = (deleted.version, deleted.value);
        Ok(Response::new(v1::DeleteResponse { version, durability, existed }))
    }

    async fn scan(
        &self,
        request: Request<v1::ScanRequest>,
    ) -> Result<Response<v1::ScanResponse>, Status> {
        let request = request.into_inner();
        let scope = convert::scope(request.scope)?;
        let asked = ScanRequest {
            start: &request.start,
            end: &request.end,
            limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
            reverse: request.reverse,
            at_version: request.at_version,
            keys_only: request.keys_only,
        };
        self.kv.settled().await.map_err(|e| refuse(&e))?;
        let page = self.kv.scan(&scope, &asked).map_err(|e| refuse(&e))?;
        let row = |entry: rekindle_services::kv::Entry| v1::Row {
            key: entry.key.into(),
            value: Bytes::from_owner(entry.value),
            version: entry.version,
        };
        let rows = page.rows.into_iter().map(row).collect();
        Ok(Response::new(v1::ScanResponse { rows, more: page.more, version: page.version }))
    }

    async fn compare_and_set(
        &self,
        request: Request<v1::CompareAndSetRequest>,
    ) -> Result<Response<v1::CompareAndSetResponse>, Status> {
        let request = request.into_inner();
        let scope = convert::scope(request.scope)?;
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let (key, expect) = (&request.key, convert::expect(request.expected_version));
        let set = match &request.value {
            Some(value) => {
                let ticket = self.kv.submit_put(&scope, key, value, expect, identity).await;
                ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?
            }
            None => {
                let ticket = self.kv.submit_delete(&scope, key, expect, identity).await;
                let deleted = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
                deleted.map(|_existed| ())
            }
        };
        let durability = convert::durability(set.durability);
        Ok(Response::new(v1::CompareAndSetResponse { version: set.version, durability }))
    }

    async fn transact(
        &self,
        request: Request<v1::TransactRequest>,
    ) -> Result<Response<v1::TransactResponse>, Status> {
        let request = request.into_inner();
        let scope = convert::scope(request.scope)?;
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let checks: Vec<(&[u8], Expect)> = request
            .checks
            .iter()
            .map(|check| (check.key.as_ref(), convert::expect(check.version)))
            .collect();
        let writes: Vec<Write<'_>> =
            request.operations.iter().map(write).collect::<Result<_, _>>()?;
        let changes = Changes { checks: &checks, writes: &writes };
        let ticket = self.kv.submit_transact(&scope, &changes, identity).await;
        let done = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(done.durability);
        Ok(Response::new(v1::TransactResponse { version: done.version, durability }))
    }
}
