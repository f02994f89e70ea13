//! The gRPC service `rekindle.v1.Schedules`.
//!
//! Invariant: nothing here decides; a call becomes one call of the service, its answer one answer.

use rekindle_services::schedules::{Missed, NewSchedule, ScheduleInfo, Schedules};
use rekindle_services::{Error, Kind};
use rekindle_wire::v1;
use tonic::{Request, Response, Status};

use super::caller;
use super::convert::{self, refuse};

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    schedules: Schedules,
}

impl Service {
    pub(super) fn new(schedules: Schedules) -> Self {
        Self { schedules }
    }
}

fn missed(number: i32) -> Result<Missed, Error> {
    match v1::Missed::try_from(number) {
        Ok(v1::Missed::Unspecified | v1::Missed::One) => Ok(Missed::One),
        Ok(v1::Missed::All) => Ok(Missed::All),
        Ok(v1::Missed::Skip) => Ok(Missed::Skip),
        Err(_) => Err(Error::new(Kind::Invalid, format!("there is no policy {number}"))),
    }
}

fn schedule(definition: &v1::ScheduleDefinition) -> Result<NewSchedule<'_>, Error> {
    let priority = i16::try_from(definition.priority).map_err(|_| {
        let message = format!("a priority of {}; -32768 to 32767 may be", definition.priority);
        Error::new(Kind::Invalid, message)
    })?;
    Ok(NewSchedule {
        kind: &definition.r#type,
        cron: &definition.cron,
        zone: convert::optional(&definition.zone).unwrap_or("UTC"),
        missed: missed(definition.missed)?,
        payload: &definition.payload,
        priority,
        max_attempts: definition.max_attempts,
    })
}

fn info(info: ScheduleInfo) -> v1::ScheduleInfo {
    let missed = match info.missed {
        Missed::One => v1::Missed::One,
        Missed::All => v1::Missed::All,
        Missed::Skip => v1::Missed::Skip,
    };
    let definition = v1::ScheduleDefinition {
        name: info.name,
        r#type: info.kind,
        cron: info.cron,
        zone: info.zone,
        missed: missed.into(),
        payload: info.payload.into(),
        priority: info.priority.into(),
        max_attempts: info.max_attempts,
    };
    v1::ScheduleInfo {
        definition: Some(definition),
        created_ms: info.created_ms,
        fired: info.fired,
        last_job: info.last_job.map(|id| id.to_string()).unwrap_or_default(),
        next_ms: info.next_ms,
    }
}

#[tonic::async_trait]
impl v1::schedules_server::Schedules for Service {
    async fn create(
        &self,
        request: Request<v1::CreateScheduleRequest>,
    ) -> Result<Response<v1::ScheduleChangedResponse>, Status> {
        let who = caller::name(&request);
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let definition = request.definition.unwrap_or_default();
        let new = schedule(&definition).map_err(|e| refuse(&e))?;
        let ticket = self.schedules.submit_create(&definition.name, &new, &who, identity).await;
        let made = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(made.durability);
        Ok(Response::new(v1::ScheduleChangedResponse { durability, changed: made.value }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteScheduleRequest>,
    ) -> Result<Response<v1::ScheduleChangedResponse>, Status> {
        let who = caller::name(&request);
        let request = request.into_inner();
        let identity = convert::identity(request.identity.as_ref()).map_err(|e| refuse(&e))?;
        let ticket = self.schedules.submit_delete(&request.name, &who, identity).await;
        let gone = ticket.map_err(|e| refuse(&e))?.await.map_err(|e| refuse(&e))?;
        let durability = convert::durability(gone.durability);
        Ok(Response::new(v1::ScheduleChangedResponse { durability, changed: true }))
    }

    async fn list(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let request = request.into_inner();
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        self.schedules.settled().await.map_err(|e| refuse(&e))?;
        let (found, more) = self.schedules.list(&request.after, limit).map_err(|e| refuse(&e))?;
        let schedules = found.into_iter().map(info).collect();
        Ok(Response::new(v1::ListSchedulesResponse { schedules, more }))
    }

    async fn show(
        &self,
        request: Request<v1::ShowScheduleRequest>,
    ) -> Result<Response<v1::ShowScheduleResponse>, Status> {
        self.schedules.settled().await.map_err(|e| refuse(&e))?;
        let found = self.schedules.show(&request.into_inner().name).map_err(|e| refuse(&e))?;
        Ok(Response::new(v1::ShowScheduleResponse { schedule: Some(info(found)) }))
    }
}
