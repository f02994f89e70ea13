//! The report: codes, the JSON that scripts rely on, and the text for people.

use rekindle_recovery::report::figures;
use rekindle_recovery::{
    Acked, Action, ActionKind, Finding, Label, LayerReport, Place, Report, Stage, Verdict, exit,
    report::StageTime,
};
use serde_json::{Value, json};

fn finding(label: &'static str, verdict: Option<Verdict>) -> Finding {
    let place = Place { file: "shards/0/journal/1".to_owned(), offset: 64, from: 8, to: 24 };
    let (expected, found) = ("a frame".to_owned(), "zeros".to_owned());
    Finding { label: Label(label), place, verdict, acked: Acked::No, expected, found }
}

fn layer(name: &'static str, findings: Vec<Finding>) -> LayerReport {
    LayerReport { findings, ..LayerReport::new(name) }
}

fn torn() -> Report {
    let mut report =
        Report { incarnation: 7, started_wall_ms: 5, micros: 12_345, ..Report::default() };
    report.add(LayerReport::new("store"));
    let findings = vec![finding("journal-3", Some(Verdict::Torn)), finding("journal-9", None)];
    let mut journal = layer("journal", findings);
    journal.figure(figures::BYTES_CUT, 312);
    journal.figure(figures::TRANSACTIONS_REPLAYED, 1_203);
    journal.figure(figures::LEASES_KEPT, 1);
    journal.actions.push(Action {
        kind: ActionKind::Cut,
        label: Label("journal-3"),
        target: "shards/0/journal/1".to_owned(),
        detail: "nothing proves it".to_owned(),
    });
    journal.stages.push(StageTime { stage: Stage::Scan, micros: 1_500 });
    report.add(journal);
    report
}

#[test]
fn the_worst_finding_decides() {
    let code = |verdicts: &[Option<Verdict>]| {
        let mut report = Report::default();
        for verdict in verdicts {
            report.add(layer("journal", vec![finding("journal-3", *verdict)]));
        }
        report.code
    };
    assert_eq!(code(&[None]), exit::CLEAN);
    assert_eq!(code(&[Some(Verdict::Torn), None]), exit::TORN);
    assert_eq!(code(&[Some(Verdict::Healed), Some(Verdict::Torn)]), exit::HEALED);
    assert_eq!(code(&[Some(Verdict::Healed), Some(Verdict::Corrupt)]), exit::CORRUPT);
}

/// Stages that ran twice add up; each has the name that the report and the progress print.
#[test]
fn the_time_of_a_stage_is_the_sum_of_its_runs() {
    let mut layer = layer("journal", vec![]);
    for (stage, micros) in [(Stage::Scan, 5), (Stage::Act, 7), (Stage::Scan, 2)] {
        layer.stages.push(StageTime { stage, micros });
    }
    assert_eq!((layer.micros(Stage::Scan), layer.micros(Stage::Plan)), (7, 0));
    let all = [Stage::Scan, Stage::Validate, Stage::Plan, Stage::Act, Stage::Report];
    for stage in all {
        let json = serde_json::to_value(StageTime { stage, micros: 1 }).unwrap();
        assert_eq!(json, json!({ "stage": stage.to_string(), "micros": 1 }));
    }
    assert_eq!(all.map(|s| s.to_string()).join(" "), "scan validate plan act report");
}

#[test]
fn a_refusal_without_damage_is_a_configuration() {
    let mut refusing = layer("store", vec![]);
    refusing.actions.push(Action {
        kind: ActionKind::Refuse,
        label: Label("store-8"),
        target: "x".to_owned(),
        detail: "x is no store".to_owned(),
    });
    let mut report = Report::default();
    report.add(layer("journal", vec![finding("journal-4", Some(Verdict::Corrupt))]));
    report.add(refusing);
    assert_eq!(report.code, exit::CONFIG);
    assert_eq!(report.summary_line(), "did not recover: x is no store");
    assert_eq!(report.verdict_line(), "x is no store (exit code 78)");
}

#[test]
fn the_json_has_the_promised_shape() {
    let value: Value = serde_json::from_str(&torn().to_json()).unwrap();
    assert_eq!(value["code"], 3);
    assert_eq!(
        value["findings"],
        json!([{
            "label": "journal-3", "file": "shards/0/journal/1", "offset": 64, "from": 8, "to": 24,
            "verdict": "torn", "acked": "no", "expected": "a frame", "found": "zeros"
        }])
    );
    assert_eq!(value["notes"][0]["label"], "journal-9");
    assert_eq!(value["notes"][0]["verdict"], Value::Null);
    assert_eq!(value["incarnation"], 7);
    assert_eq!(value["started_wall_ms"], 5);
    assert_eq!(value["micros"], 12_345);
    let journal = &value["layers"][1];
    assert_eq!(journal["layer"], "journal");
    assert_eq!(journal["actions"][0]["kind"], "cut");
    assert_eq!(journal["figures"]["bytes_cut"], 312);
    assert_eq!(journal["stages"], json!([{"stage": "scan", "micros": 1500}]));
    assert!(torn().to_json().starts_with(r#"{"code":3,"findings":[{"label":"journal-3","file":"#));
}

#[test]
fn the_summary_is_one_line() {
    assert_eq!(
        torn().summary_line(),
        "recovered in 12 ms: replayed 1,203 transactions, kept 1 lease, cut a torn tail of 312 \
         bytes (journal-3)"
    );
    assert_eq!(Report::default().summary_line(), "recovered in 0 µs: nothing to do");
    let mut report = Report::default();
    let healed = finding("store-5", Some(Verdict::Healed));
    report.add(layer("store", vec![healed.clone()]));
    assert_eq!(report.summary_line(), "recovered in 0 µs: healed 1 damaged place (store-5)");
    report.add(layer("engine", vec![healed, finding("engine-2", Some(Verdict::Healed))]));
    report.add(layer("journal", vec![finding("journal-3", Some(Verdict::Torn))]));
    report.add(layer("queue", vec![finding("queue-4", Some(Verdict::Corrupt))]));
    assert_eq!(
        report.summary_line(),
        "recovered in 0 µs: cut a torn tail (journal-3), healed 3 damaged places (engine-2, \
         store-5), left 1 corrupt place to a person (queue-4)"
    );
}

#[test]
fn the_verdict_says_what_the_code_means() {
    let line = |verdict| {
        let mut report = Report::default();
        report.add(layer("journal", vec![finding("journal-3", verdict)]));
        report.verdict_line()
    };
    assert_eq!(line(None), "clean: nothing is wrong (exit code 0)");
    assert!(line(Some(Verdict::Torn)).starts_with("torn tail: normal after a kill"));
    assert!(line(Some(Verdict::Healed)).ends_with("(exit code 4)"));
    assert!(line(Some(Verdict::Corrupt)).contains("'rekindle serve' refuses"));
}

#[test]
fn the_text_holds_everything() {
    assert_eq!(
        torn().text(),
        "\
findings
  journal-3 torn: shards/0/journal/1 at 64 (8..24), acked no: expected a frame, found zeros
notes
  journal-9 note: shards/0/journal/1 at 64 (8..24): expected a frame, found zeros
actions
  cut shards/0/journal/1: nothing proves it (journal-3)
figures
  journal: bytes_cut 312, txns_applied 1,203, leases_kept 1
stages
  journal: scan 1 ms
"
    );
    assert_eq!(Report::default().text(), "");
}
