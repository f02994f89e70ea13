//! Between the messages of loops on the wire and the values of the loop service.

use rekindle_services::loops::{
    Event, EventPage, ExecutionDetail, ExecutionInfo, PlanInfo, Shown, Status, StepRef, What,
    event::Reason,
};
use rekindle_services::{Error, Kind};
use rekindle_wire::v1;
use rekindle_wire::v1::show_loop_response::Shown as OnWire;

/// Bytes of events from which on a page is full; its first event is in it in any case.
const PAGE_BYTES: usize = 4 << 20;

/// A status on the wire.
pub(super) fn status(status: Status) -> v1::LoopStatus {
    match status {
        Status::Draft => v1::LoopStatus::Draft,
        Status::Pending => v1::LoopStatus::Pending,
        Status::Running => v1::LoopStatus::Running,
        Status::Paused => v1::LoopStatus::Paused,
        Status::Blocked => v1::LoopStatus::Blocked,
        Status::Waiting => v1::LoopStatus::Waiting,
        Status::Completed => v1::LoopStatus::Completed,
        Status::Failed => v1::LoopStatus::Failed,
        Status::Cancelled => v1::LoopStatus::Cancelled,
        Status::NeedsReview => v1::LoopStatus::NeedsReview,
    }
}

/// Statuses that a list is asked for.
pub(super) fn statuses(wanted: &[i32]) -> Result<Vec<Status>, Error> {
    let known = |number: &i32| {
        let found = Status::ALL.into_iter().find(|it| i32::from(status(*it)) == *number);
        found.ok_or_else(|| Error::new(Kind::Invalid, format!("there is no status {number}")))
    };
    wanted.iter().map(known).collect()
}

fn step(step: StepRef) -> v1::LoopStep {
    let StepRef { iteration, step, attempt } = step;
    v1::LoopStep { iteration, step, attempt }
}

fn review(reason: Reason) -> v1::LoopReview {
    let of = |reason: &str| v1::LoopReview { reason: reason.to_owned(), ..Default::default() };
    match reason {
        Reason::Unknown { step: which, why } => {
            v1::LoopReview { step: Some(step(which)), why, ..of("unknown") }
        }
        Reason::Stuck { iterations } => v1::LoopReview { times: iterations, ..of("stuck") },
        Reason::Interrupted { down_ms } => v1::LoopReview { down_ms, ..of("interrupted") },
        Reason::Rebuilt { lost } => v1::LoopReview { lost, ..of("rebuilt") },
        Reason::Crashes { times } => v1::LoopReview { times, ..of("crashes") },
    }
}

/// An execution.
pub(super) fn execution(info: ExecutionInfo) -> v1::LoopExecution {
    v1::LoopExecution {
        id: info.id.to_string(),
        plan: info.plan.to_string(),
        plan_name: info.plan_name,
        spec: info.spec,
        status: status(info.status).into(),
        used: Some(v1::LoopUsed {
            iterations: info.used.iterations,
            attempts: info.used.attempts,
            cost_micros: info.used.cost_micros,
            wall_time_ms: info.used.wall_time_ms,
        }),
        step: info.step.map(step),
        job: info.job.unwrap_or_default(),
        review: info.review.map(review),
        resume_at_ms: info.resume_at_ms,
        progress_micros: info.best_micros,
        created_ms: info.created_ms,
        updated_ms: info.updated_ms,
        events: info.events,
    }
}

fn plan(plan: PlanInfo) -> v1::LoopPlan {
    let spec = |spec: rekindle_services::loops::PlanSpecInfo| v1::LoopPlanSpec {
        needs: spec.needs,
        execution: Some(execution(spec.execution)),
    };
    v1::LoopPlan {
        id: plan.id.to_string(),
        name: plan.name,
        description: plan.description,
        parallel: plan.parallel,
        by: plan.who,
        created_ms: plan.created_ms,
        specs: plan.specs.into_iter().map(spec).collect(),
    }
}

fn detail(detail: ExecutionDetail) -> v1::LoopExecutionDetail {
    let from = detail.forked_from;
    let from =
        from.map(|from| v1::LoopForkedFrom { execution: from.execution.to_string(), at: from.at });
    v1::LoopExecutionDetail {
        execution: Some(execution(detail.info)),
        does: json(&detail.spec),
        forked_from: from,
        last_events: detail.last.into_iter().map(event).collect(),
    }
}

/// A plan or an execution.
pub(super) fn shown(shown: Shown) -> OnWire {
    match shown {
        Shown::Plan(info) => OnWire::Plan(plan(*info)),
        Shown::Execution(info) => OnWire::Execution(detail(*info)),
    }
}

/// A page of events, as far as it is not too long.
pub(super) fn events(page: EventPage) -> v1::LoopEventsResponse {
    let count = page.events.len();
    let mut bytes = 0_usize;
    let mut events = Vec::with_capacity(count);
    for numbered in page.events {
        let event = event(numbered);
        bytes = bytes.saturating_add(event.json.len());
        if bytes > PAGE_BYTES && !events.is_empty() {
            break;
        }
        events.push(event);
    }
    let more = page.more || events.len() < count;
    v1::LoopEventsResponse { events, more, over: page.is_over }
}

fn event((sequence, event): (u64, Event)) -> v1::LoopEvent {
    let json = json(&event);
    let mut of = v1::LoopEvent {
        sequence,
        at_ms: event.at_ms,
        event: event.what.word().to_owned(),
        json,
        ..Default::default()
    };
    match event.what {
        What::StepStarted(which) | What::StepNotBegun(which) => of.step = Some(step(which)),
        What::StepEnded { step: which, outcome, .. } => {
            (of.step, of.well) = (Some(step(which)), Some(outcome.is_well()));
        }
        What::StepLost { step: which, why } => (of.step, of.why) = (Some(step(which)), why),
        What::SetAside { reason: Reason::Unknown { step: which, why } } => {
            (of.step, of.why) = (Some(step(which)), why);
        }
        What::SetAside { reason } => of.why = review(reason).reason,
        What::Decided { who, why, .. } => (of.who, of.why) = (who, why),
        What::Interrupted { cause } => of.why = cause,
        What::Created { plan, .. } => of.who = plan.who,
        What::Approved { who }
        | What::Paused { who }
        | What::Resumed { who }
        | What::Cancelled { who }
        | What::Retried { who } => of.who = who,
        What::Failed { why } => of.why = why,
        What::Unblocked | What::Completed => {}
    }
    of
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("it is text, numbers and lists")
}

#[cfg(test)]
mod tests {
    use rekindle_services::loops::Outcome;

    use super::*;

    fn ended(bytes: usize) -> Event {
        let which = StepRef { iteration: 1, step: 0, attempt: 1 };
        let (outcome, report) = (Outcome::Exited(3), Default::default());
        let what = What::StepEnded { step: which, outcome, report, output: "x".repeat(bytes) };
        Event { at_ms: 5, what }
    }

    /// A page has a bound in bytes, which one event may exceed; what is left out follows.
    #[test]
    fn a_page_of_events_has_a_size() {
        let page = |count: u64, bytes: usize, more| {
            let events = (1..=count).map(|number| (number, ended(bytes))).collect();
            let page = events_of(events, more);
            (page.events.len(), page.more)
        };
        assert_eq!(page(3, 10, false), (3, false));
        assert_eq!(page(3, 10, true), (3, true));
        assert_eq!(page(5, 1 << 20, false), (3, true));
        assert_eq!(page(2, 5 << 20, false), (1, true));
        assert_eq!(page(1, 5 << 20, false), (1, false));
    }

    fn events_of(list: Vec<(u64, Event)>, more: bool) -> v1::LoopEventsResponse {
        events(EventPage { events: list, more, is_over: true })
    }

    /// What people act on is told beside the whole text.
    #[test]
    fn an_event_is_told() {
        let told = event((7, ended(1)));
        let which = v1::LoopStep { iteration: 1, step: 0, attempt: 1 };
        assert_eq!((told.sequence, told.at_ms, told.event.as_str()), (7, 5, "step_ended"));
        assert_eq!((told.step, told.well), (Some(which), Some(false)));
        let text = concat!(
            r#"{"at_ms":5,"event":"step_ended","iteration":1,"step":0,"attempt":1,"#,
            r#""outcome":{"exited":3},"output":"x"}"#
        );
        assert_eq!(told.json, text);
        let reason = Reason::Stuck { iterations: 3 };
        let told = event((8, Event { at_ms: 6, what: What::SetAside { reason } }));
        assert_eq!((told.why.as_str(), told.step, told.well), ("stuck", None, None));
    }
}
