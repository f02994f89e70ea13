//! The workload of jobs: that it contains what the campaigns are to crash.

use std::collections::BTreeMap;

use rekindle_env::SimulatedDisk;
use rekindle_services::jobs::{Change, Status};
use rekindle_sim::effect::Effect;
use rekindle_sim::jobs::effect::JobEffect;
use rekindle_sim::jobs::evidence::Lead;
use rekindle_sim::jobs::job::{Job, Place};
use rekindle_sim::jobs::model::Jobs;
use rekindle_sim::jobs::{Deed, JobRequest};
use rekindle_sim::model::Model;
use rekindle_sim::request::{Answer, Request};
use rekindle_sim::seed::seed;
use rekindle_sim::workload::{Length, Run, run};

/// How often each thing happened.
fn census(run: &Run) -> BTreeMap<String, u32> {
    let (mut census, mut model) = (BTreeMap::new(), Model::default());
    let mut note = |what: String| *census.entry(what).or_default() += 1;
    for asked in &run.oracle.asked {
        match (&asked.request, &asked.answer) {
            (Request::Job(JobRequest::Run { refused, .. }), Some(Answer::Refused(_))) => {
                note(format!("transaction refused, as it must be: {refused}"));
            }
            (Request::Job(JobRequest::Run { steps, .. }), Some(Answer::Job(_))) => {
                note(format!("transaction of {} and more", steps.len().min(4)));
            }
            _ => {}
        }
        for (version, effect) in &asked.effects {
            let before = model.clone();
            model.apply(*version, effect).unwrap();
            (reviews(&before.jobs)..reviews(&model.jobs))
                .for_each(|_| note("under review".to_owned()));
            let Effect::Job(effect) = effect else { continue };
            match effect {
                JobEffect::Submitted { task, result, .. } => {
                    note(format!("submitted, new: {}", result.new));
                    note(format!("submitted in a transaction: {}", task.mark > 0));
                }
                JobEffect::Granted { picked, .. } => {
                    note(format!("claimed, attempt {}", picked.attempt.min(3)));
                    note(format!("claimed inside: {}", picked.inside));
                }
                JobEffect::Worked { deed, result, .. } => {
                    let status = result.as_ref().map(|changed| changed.status);
                    let deed = match deed {
                        Deed::Complete { .. } => "complete",
                        Deed::Fail { last: true, .. } => "fail for good",
                        Deed::Fail { .. } => "fail",
                        Deed::Release => "release",
                        Deed::Heartbeat { .. } => "heartbeat",
                        Deed::Hold { .. } => "hold",
                        Deed::Stop => "stop",
                        Deed::Died => "died",
                        Deed::WorkerDied => "worker died",
                    };
                    note(format!("{deed}: {status:?}"));
                }
                JobEffect::Altered { change, result, .. } => {
                    let status = result.as_ref().map(|changed| changed.status);
                    note(format!("{change:?}: {status:?}"));
                }
                JobEffect::Fired(fired) => note(format!("fired by {}", fired.schedule)),
                JobEffect::Unscheduled(_) => note("unscheduled".to_owned()),
                JobEffect::Led(lead) => {
                    at_start(&before.jobs, lead).into_iter().for_each(&mut note)
                }
                JobEffect::Typed(..) | JobEffect::Scheduled(..) | JobEffect::Marked(..) => {}
            }
        }
    }
    census
}

/// How many jobs wait for a person.
fn reviews(jobs: &Jobs) -> usize {
    jobs.jobs.values().filter(|job| job.place == Place::Review).count()
}

/// What a start makes of the claims of executors.
fn at_start(jobs: &Jobs, lead: &Lead) -> Vec<String> {
    let held = jobs.jobs.values().filter_map(Job::held_inside);
    let cause = |(own, token, until_ms)| lead.cause(own, token, until_ms, || None);
    held.map(|held| format!("at a start: {:?}", cause(held))).collect()
}

/// The run that the ordinary test crashes at every operation.
///
/// proves: J1, J2, J10
#[test]
fn the_workload_does_everything_to_jobs() {
    let seed = seed(20_261_138);
    let run = run(&SimulatedDisk::new(seed), seed, Length::strict(820, 55, 87)).unwrap();
    let census = census(&run);
    println!("{census:#?}");
    let status = |status: Status| format!("{:?}", Ok::<_, String>(status));
    let fenced = format!("{:?}", Err::<Status, _>("Fenced".to_owned()));
    let conflict = format!("{:?}", Err::<Status, _>("Conflict".to_owned()));
    for (what, least) in [
        ("transaction refused, as it must be: true".to_owned(), 10),
        ("transaction of 4 and more".to_owned(), 5),
        ("submitted, new: false".to_owned(), 1),
        ("submitted in a transaction: true".to_owned(), 10),
        ("claimed, attempt 2".to_owned(), 5),
        ("claimed, attempt 3".to_owned(), 1),
        (format!("complete: {}", status(Status::Completed)), 20),
        (format!("complete: {fenced}"), 2),
        (format!("heartbeat: {}", status(Status::Processing)), 5),
        (format!("fail: {}", status(Status::Scheduled)), 2),
        (format!("fail: {}", status(Status::Pending)), 1),
        (format!("fail for good: {}", status(Status::Failed)), 2),
        (format!("release: {}", status(Status::Pending)), 2),
        (format!("{:?}: {}", Change::Cancelled, status(Status::Cancelled)), 3),
        (format!("{:?}: {}", Change::Retried, status(Status::Pending)), 3),
        (format!("{:?}: {conflict}", Change::Retried), 1),
        ("fired by steady".to_owned(), 10),
        ("fired by lone".to_owned(), 5),
        ("fired by late".to_owned(), 1),
        ("unscheduled".to_owned(), 2),
        ("claimed inside: true".to_owned(), 20),
        ("at a start: None".to_owned(), 3),
        ("at a start: Some(Released)".to_owned(), 2),
        ("at a start: Some(Shutdown)".to_owned(), 2),
        ("at a start: Some(ServerCrash)".to_owned(), 2),
        (format!("hold: {}", status(Status::Processing)), 3),
        ("under review".to_owned(), 1),
        (format!("stop: {}", status(Status::Pending)), 2),
    ] {
        let found = census.get(&what).copied().unwrap_or(0);
        assert!(found >= least, "{what}: {found} times in {census:#?}");
    }
}
