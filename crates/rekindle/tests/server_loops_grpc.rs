//! Loops over gRPC on the real binary: by the client, and how each call is refused.

use std::time::Duration;

use rekindle_client::{
    ClaimJobs, Client, Error, JobCompletion, ListLoops, LoopExecution, LoopExecutionDetail,
    LoopStatus, ShownLoop, StartLoop,
};
use rekindle_wire::error::kind;
use rekindle_wire::v1::loops_client::LoopsClient;
use rekindle_wire::v1::{self, Kind};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::harness::{Server, block_on};

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(20);

/// A plan whose steps are done by workers outside.
const PLAN: &str = r#"+++
name = "far"
[[spec]]
name = "fix"
worker = "agents"
run = ["./agent.sh"]
check = [["./check.sh"]]
[[spec]]
name = "docs"
needs = ["fix"]
worker = "agents"
run = ["./docs.sh"]
+++
## fix
Make it so.
"#;

fn client(server: &Server) -> Client {
    Client::connect(&server.grpc.to_string()).unwrap().with_timeout(LONG)
}

fn plan() -> StartLoop {
    StartLoop { plan: PLAN.to_owned(), ..StartLoop::default() }
}

/// The next step is done so; its task.
async fn done(client: &Client, result: &Value) -> Value {
    let claim = ClaimJobs { wait: LONG, ..ClaimJobs::new(["agents"]) };
    let job = client.jobs().claim(&claim).await.unwrap().pop().unwrap();
    let result = result.to_string().into();
    let done = JobCompletion { token: job.token, id: String::new(), result };
    client.jobs().complete(vec![done]).await.pop().unwrap().unwrap();
    serde_json::from_slice(&job.payload).unwrap()
}

async fn executions(client: &Client, plan: &str) -> Vec<LoopExecution> {
    let ShownLoop::Plan(plan) = client.loops().show(plan).await.unwrap() else { panic!("{plan}") };
    plan.specs.into_iter().map(|spec| spec.execution.unwrap()).collect()
}

/// What happens to an execution to its end, in words.
async fn follow(client: Client, id: String) -> String {
    let (mut words, mut after) = (Vec::new(), 0);
    loop {
        let page = client.loops().events(&id, after, LONG).await.unwrap();
        for event in page.events {
            assert_eq!(event.sequence, after + 1);
            after = event.sequence;
            words.push(event.event);
        }
        if page.over && !page.more {
            return words.join(" ");
        }
    }
}

async fn detail(client: &Client, id: &str) -> LoopExecutionDetail {
    let ShownLoop::Execution(detail) = client.loops().show(id).await.unwrap() else { panic!() };
    detail
}

/// From the start to the end, with a fork: a follower is told of each thing as it happens, and all
/// of it is what HTTP tells.
///
/// proves: L1, L2, L10
#[test]
fn a_plan_goes_through_its_life_over_grpc() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    block_on(async {
        let client = client(&server);
        let loops = client.loops();
        let started = loops.start(&StartLoop { draft: true, ..plan() }).await.unwrap();
        assert_eq!(started.durability.word(), "disk");
        let plan = started.id;
        let [fix, docs] = executions(&client, &plan).await.try_into().unwrap();
        let statuses = [fix.status(), docs.status()];
        assert_eq!(statuses, [LoopStatus::Draft; 2]);
        assert_eq!(loops.approve(&plan, "").await.unwrap().changed, 2);
        let following = tokio::spawn(follow(client.clone(), fix.id.clone()));
        let task = done(&client, &json!({ "progress": 0.5, "cost": 2 })).await;
        assert_eq!(
            (&task["spec"], &task["instructions"]),
            (&json!("fix"), &json!("Make it so.\n"))
        );
        done(&client, &json!({ "exit_code": 1 })).await;
        // Nobody has claimed the next step: it has not begun.
        assert_eq!(loops.pause(&fix.id, "lunch").await.unwrap().changed, 1);
        assert_eq!(detail(&client, &fix.id).await.execution.unwrap().status(), LoopStatus::Paused);
        let forked = loops.fork(&fix.id, 2, "another way").await.unwrap();
        let fork = detail(&client, &forked.execution).await;
        let from = fork.forked_from.clone().unwrap();
        assert_eq!((from.execution.as_str(), from.at), (fix.id.as_str(), 2));
        let fork = fork.execution.unwrap();
        let used = fork.used.unwrap();
        assert_eq!((fork.status(), fork.plan.as_str()), (LoopStatus::Running, forked.id.as_str()));
        assert_eq!((used.cost_micros, fork.progress_micros), (2_000_000, Some(500_000)));
        assert_eq!(
            fork.step.map(|step| (step.iteration, step.step, step.attempt)),
            Some((2, 0, 1))
        );
        assert_eq!(loops.cancel(&forked.id, "no").await.unwrap().changed, 1);
        assert_eq!(loops.retry(&forked.execution, "").await.unwrap().changed, 1);
        assert_eq!(loops.cancel(&forked.id, "no").await.unwrap().changed, 1);
        assert_eq!(loops.resume(&fix.id, "").await.unwrap().changed, 1);
        for _ in 0..2 {
            assert_eq!(done(&client, &json!({})).await["iteration"], 2);
        }
        assert_eq!(done(&client, &json!({})).await["spec"], "docs");
        let expected = "created approved step_started step_ended step_started step_ended \
            step_started step_not_begun paused resumed step_started step_ended step_started \
            step_ended completed";
        assert_eq!(following.await.unwrap(), expected);
        let [fix, docs] = executions(&client, &plan).await.try_into().unwrap();
        assert_eq!([fix.status(), docs.status()], [LoopStatus::Completed; 2]);
        same_over_http(&server, &client, &fix.id).await;
        lists(&client, &plan, [&fix.id, &docs.id, &forked.execution]).await;
    });
    let audit = server.get("/v1/audit").json();
    let records = audit["records"].as_array().unwrap().iter();
    let actions: Vec<&str> = records.clone().map(|it| it["action"].as_str().unwrap()).collect();
    let expected = "loop.draft loop.approve loop.pause loop.fork loop.cancel loop.retry \
        loop.cancel loop.resume";
    assert_eq!(actions, expected.split_whitespace().collect::<Vec<_>>());
    assert!(records.clone().all(|record| record["who"] == "grpc 127.0.0.1"));
    assert_eq!(server.stop(), 0);
}

/// What gRPC tells of an execution and its events is what HTTP tells.
async fn same_over_http(server: &Server, client: &Client, id: &str) {
    let http = server.get(&format!("/v1/loops/{id}")).json();
    let shown = detail(client, id).await;
    let of = shown.execution.unwrap();
    let used = of.used.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&shown.does).unwrap(), http["does"]);
    let told = json!({
        "iterations": used.iterations, "attempts": used.attempts,
        "cost_micros": used.cost_micros, "wall_time_ms": used.wall_time_ms,
    });
    assert_eq!(told, http["used"]);
    let names = json!([of.spec, of.plan, of.plan_name, of.events, of.created_ms, of.updated_ms]);
    let fields = ["spec", "plan", "plan_name", "events", "created_ms", "updated_ms"];
    assert_eq!(names, Value::Array(fields.map(|name| http[name].clone()).to_vec()));
    let events = server.get(&format!("/v1/loops/{id}/events")).json();
    let page = client.loops().events(id, 0, Duration::ZERO).await.unwrap();
    let events = events["events"].as_array().unwrap();
    assert_eq!(page.events.len(), events.len());
    for (event, http) in page.events.iter().zip(events) {
        let mut json: Value = serde_json::from_str(&event.json).unwrap();
        json["sequence"] = event.sequence.into();
        assert_eq!(&json, http);
        assert_eq!((&json!(event.event), &json!(event.at_ms)), (&http["event"], &http["at_ms"]));
        assert_eq!(json!(event.step.map(|step| step.step)), http["step"]);
        let well = http.get("outcome").map(|outcome| outcome["exited"] == 0);
        assert_eq!(event.well, well);
    }
    assert_eq!(page.events[8].who, "grpc 127.0.0.1");
}

/// Pages, of a plan and of statuses, in both orders.
async fn lists(client: &Client, plan: &str, [fix, docs, fork]: [&String; 3]) {
    let ids = async |list: &ListLoops| {
        let (executions, next) = client.loops().list(list).await.unwrap();
        (executions.into_iter().map(|it| it.id).collect::<Vec<_>>(), next)
    };
    let all = ListLoops::default();
    assert_eq!(ids(&all).await, (vec![fix.clone(), docs.clone(), fork.clone()], None));
    let newest = ListLoops { newest_first: true, limit: 2, ..all.clone() };
    let (page, next) = ids(&newest).await;
    assert_eq!((page, next.as_ref()), (vec![fork.clone(), docs.clone()], Some(docs)));
    let rest = ListLoops { after: next, ..newest };
    assert_eq!(ids(&rest).await, (vec![fix.clone()], None));
    let of_plan = ListLoops { plan: Some(plan.to_owned()), ..all.clone() };
    assert_eq!(ids(&of_plan).await.0, [fix.clone(), docs.clone()]);
    let cancelled = ListLoops { statuses: vec![LoopStatus::Cancelled], ..all };
    assert_eq!(ids(&cancelled).await.0, *std::slice::from_ref(fork));
}

/// Each refusal has its kind, and says what to do; nothing was done.
///
/// proves: L1
#[test]
fn calls_are_refused_over_grpc() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    block_on(async {
        let client = client(&server);
        let loops = client.loops();
        let start = async |plan: &str| {
            let plan = StartLoop { plan: plan.to_owned(), ..StartLoop::default() };
            loops.start(&plan).await.unwrap_err()
        };
        let wrong = PLAN.replace("[\"fix\"]", "[\"fx\"]").replace("[\"./docs.sh\"]", "[]");
        let both = start(&wrong).await;
        let Error::Invalid(told) = &both else { panic!("{both:?}") };
        assert!(told.contains("it needs \"fx\"") && told.contains("; "), "{told}");
        assert!(matches!(start("name = ").await, Error::Invalid(_)));
        let unnamed = start(&PLAN.replace("worker = \"agents\"", "")).await;
        let Error::Conflict(told) = &unnamed else { panic!("{unnamed:?}") };
        assert!(told.contains("--loop-commands"), "{told}");
        let json =
            StartLoop { plan: "{}".to_owned(), file_name: "plan.json".to_owned(), draft: false };
        assert!(matches!(loops.start(&json).await, Err(Error::Invalid(_))));
        assert_eq!(loops.list(&ListLoops::default()).await.unwrap(), (vec![], None));

        let id = loops.start(&plan()).await.unwrap().id;
        let fix = executions(&client, &id).await.remove(0).id;
        let nobody = "018bcfe5-6800-7fff-bfff-ffffffffffff";
        assert!(matches!(loops.show(nobody).await, Err(Error::NotFound(_))));
        assert!(matches!(loops.pause(nobody, "").await, Err(Error::NotFound(_))));
        assert!(matches!(loops.fork(nobody, 1, "").await, Err(Error::NotFound(_))));
        assert!(matches!(loops.events(nobody, 0, LONG).await, Err(Error::NotFound(_))));
        for wrong in ["", "x", &nobody.to_uppercase()] {
            assert!(matches!(loops.show(wrong).await, Err(Error::Invalid(_))), "{wrong}");
            assert!(matches!(loops.cancel(wrong, "").await, Err(Error::Invalid(_))), "{wrong}");
            assert!(matches!(loops.fork(wrong, 1, "").await, Err(Error::Invalid(_))), "{wrong}");
            let events = loops.events(wrong, 0, LONG).await;
            assert!(matches!(events, Err(Error::Invalid(_))), "{wrong}");
        }
        for meaningless in [loops.approve(&fix, "").await, loops.retry(&id, "").await] {
            assert!(matches!(meaningless, Err(Error::Conflict(_))), "{meaningless:?}");
        }
        let astray = loops.fork(&fix, 3, "").await.unwrap_err();
        assert!(matches!(&astray, Error::Invalid(told) if told.contains("use 1 to 2")), "{astray}");
        assert!(matches!(loops.fork(&id, 1, "").await, Err(Error::Invalid(_))));
        let long = loops.pause(&fix, &"x".repeat(100_000)).await;
        assert!(matches!(long, Err(Error::Invalid(_))));
        // Nothing happens to it: an answer comes all the same, when the wait is over.
        let page = loops.events(&fix, 2, Duration::from_millis(10)).await.unwrap();
        assert_eq!((page.events.len(), page.more, page.over), (0, false, false));
    });
    assert_eq!(server.stop(), 0);
}

/// Repeated requests have one effect; what is no identity or no status is refused.
#[test]
fn identities_and_statuses_are_checked_over_grpc() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    block_on(async {
        let channel = Channel::from_shared(format!("http://{}", server.grpc)).unwrap();
        let mut calls = LoopsClient::new(channel.connect().await.unwrap());
        let by = |producer_id: &'static [u8], sequence| {
            Some(v1::RequestIdentity { producer_id: producer_id.into(), sequence })
        };
        let identity = |sequence| by(&[7; 16], sequence);
        let start = v1::StartLoopRequest {
            plan: PLAN.to_owned(),
            identity: identity(1),
            ..Default::default()
        };
        let first = calls.start(start.clone()).await.unwrap().into_inner();
        let again = calls.start(start.clone()).await.unwrap().into_inner();
        assert_eq!(first, again);
        let listed = calls.list(v1::ListLoopsRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.executions.len(), 2);
        let fix = listed.executions[0].id.clone();
        let fork = v1::ForkLoopRequest {
            id: fix.clone(),
            at: 1,
            identity: identity(2),
            ..Default::default()
        };
        let forked = calls.fork(fork.clone()).await.unwrap().into_inner();
        assert_eq!(calls.fork(fork.clone()).await.unwrap().into_inner(), forked);
        let pause = v1::AlterLoopRequest { id: fix, identity: identity(3), ..Default::default() };
        for _ in 0..2 {
            assert_eq!(calls.pause(pause.clone()).await.unwrap().into_inner().changed, 1);
        }
        let wrong = v1::StartLoopRequest { identity: by(b"short", 1), ..start };
        let other = v1::ForkLoopRequest { at: 2, ..fork };
        let odd = v1::AlterLoopRequest { identity: by(b"", 1), ..pause };
        for refused in [
            calls.start(wrong).await.unwrap_err(),
            calls.fork(other).await.unwrap_err(),
            calls.resume(odd).await.unwrap_err(),
            calls
                .list(v1::ListLoopsRequest { statuses: vec![11], ..Default::default() })
                .await
                .unwrap_err(),
            calls
                .list(v1::ListLoopsRequest { statuses: vec![0], ..Default::default() })
                .await
                .unwrap_err(),
            calls
                .list(v1::ListLoopsRequest { after: "x".to_owned(), ..Default::default() })
                .await
                .unwrap_err(),
        ] {
            assert_eq!(kind(&refused), Some(Kind::Invalid), "{refused:?}");
        }
    });
    assert_eq!(server.stop(), 0);
}
