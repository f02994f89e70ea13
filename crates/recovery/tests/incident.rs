//! A report that was written down: read back, shown to people, and as an incident report.

use rekindle_recovery::report::{Before, Ended, StageTime, StoredReport, figures};
use rekindle_recovery::{
    Acked, Action, ActionKind, Finding, Label, LayerReport, Place, Report, Stage, Verdict,
};
use serde_json::json;

fn killed() -> Report {
    let before = Before {
        incarnation: 6,
        ended: Ended::Unclean,
        newest_version: 1_703,
        newest_position: 900,
        journal_segments: 2,
        journal_bytes: 81_920,
        checkpoints: 1,
        checkpoint_bytes: 4_096,
        checkpoint_version: 500,
    };
    let mut report = Report {
        incarnation: 7,
        started_wall_ms: 1_798_761_599_000,
        micros: 12_345,
        number: Some(3),
        store_id: Some([0xAB; 16]),
        before: Some(before),
        ..Report::default()
    };
    let mut journal = LayerReport::new("journal");
    journal.findings.push(Finding {
        label: Label("journal-3"),
        place: Place { file: "shards/0/journal/1".to_owned(), offset: 64, from: 8, to: 24 },
        verdict: Some(Verdict::Torn),
        acked: Acked::Unknown,
        expected: "a frame".to_owned(),
        found: "zeros".to_owned(),
    });
    journal.figure(figures::BYTES_CUT, 16);
    journal.actions.push(Action {
        kind: ActionKind::Cut,
        label: Label("journal-3"),
        target: "shards/0/journal/1".to_owned(),
        detail: "nothing proves it".to_owned(),
    });
    journal.stages.push(StageTime { stage: Stage::Scan, micros: 1_500 });
    journal.stages.push(StageTime { stage: Stage::Act, micros: 500 });
    report.add(journal);
    let mut database = LayerReport::new("database");
    database.figure(figures::TRANSACTIONS_REPLAYED, 1_203);
    report.add(database);
    let mut queue = LayerReport::new("queue");
    queue.figure(figures::LEASES_KEPT, 2);
    queue.actions.push(Action {
        kind: ActionKind::Ask,
        label: Label("queue-5"),
        target: "messages/q/9".to_owned(),
        detail: "left as it is".to_owned(),
    });
    report.add(queue);
    report
}

/// The keys that scripts rely on beside those of `the_json_has_the_promised_shape`.
#[test]
fn the_json_says_whose_report_it_is() {
    let value = serde_json::to_value(killed()).unwrap();
    assert_eq!(value["number"], 3);
    assert_eq!(value["program"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["store_id"], "ab".repeat(16));
    assert_eq!(value["summary"], killed().summary_line());
    assert!(killed().summary_line().contains("replayed 1,203 transactions"));
    assert_eq!(
        value["before"],
        json!({
            "incarnation": 6, "ended": "unclean", "newest_version": 1703, "newest_position": 900,
            "journal_segments": 2, "journal_bytes": 81920, "checkpoints": 1,
            "checkpoint_bytes": 4096, "checkpoint_version": 500
        })
    );
    let empty = serde_json::to_value(Report::default()).unwrap();
    for field in ["number", "store_id", "before"] {
        assert!(empty[field].is_null(), "{field}");
    }
}

#[test]
fn what_was_written_is_read_back() {
    let report = StoredReport::parse(killed().to_json().as_bytes()).unwrap();
    assert_eq!((report.code, report.number, report.incarnation), (3, Some(3), 7));
    assert_eq!(report.findings[0].line(), killed().findings().next().unwrap().to_string());
    assert_eq!(report.figure(figures::TRANSACTIONS_REPLAYED), 1_203);
    assert_eq!(report.before.as_ref().unwrap().ended, Ended::Unclean);
    assert!(!report.is_refused());
    let text = report.text();
    assert!(text.starts_with("report 3 of run 7, 2026-12-31 23:59:59 UTC, code 3: recovered in"));
    assert!(text.contains("  cut shards/0/journal/1: nothing proves it (journal-3)\n"), "{text}");
    assert!(text.contains("  journal: scan 1 ms, act 500 µs\n"), "{text}");
}

/// What an older program wrote is read; what is no report is not.
#[test]
fn older_reports_are_read_and_garbage_is_not() {
    let old = r#"{"code":0,"findings":[],"notes":[],"incarnation":1,"started_wall_ms":0,"micros":5,
                  "layers":[{"layer":"journal","actions":[],"figures":{},"stages":[]}]}"#;
    let report = StoredReport::parse(old.as_bytes()).unwrap();
    assert_eq!((report.before, report.number), (None, None));
    assert!(report.markdown().contains("Nothing is known of the state before."));
    for garbage in ["", "{}", "[]", "null", "{\"code\":0}", "{\"code\":-1e99}"] {
        assert!(StoredReport::parse(garbage.as_bytes()).is_err(), "{garbage}");
    }
}

#[test]
fn an_incident_report_can_be_pasted() {
    let report = StoredReport::parse(killed().to_json().as_bytes()).unwrap();
    let expected = include_str!("incident.md").replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(report.markdown(), expected);
}

/// Nothing that a report holds begins a row, a heading, a link or markup of its own.
#[test]
fn hostile_texts_stay_in_their_cells() {
    let mut report = StoredReport::parse(killed().to_json().as_bytes()).unwrap();
    let hostile = "a|b\n# heading\r\n<script>`[x](y)\\\u{1b}[31m";
    report.summary = hostile.to_owned();
    report.program = hostile.to_owned();
    report.findings[0].found = hostile.to_owned();
    report.layers[0].layer = hostile.to_owned();
    report.layers[0].actions[0].target = hostile.to_owned();
    let markdown = report.markdown();
    for line in markdown.lines().filter(|line| line.contains("heading")) {
        assert!(!line.starts_with("# heading"), "{line}");
        assert!(!line.contains("a|b") && !line.contains(" <script"), "{line}");
        assert!(line.contains("\\<script>\\`\\[x\\](y)\\\\ \\[31m"), "{line}");
    }
    assert!(!markdown.contains('\u{1b}') && !report.text().contains('\u{1b}'));
    let headings = markdown.lines().filter(|line| line.starts_with('#')).count();
    let before = include_str!("incident.md").lines().filter(|line| line.starts_with('#')).count();
    assert_eq!(headings, before);
}

/// However many there are, the report stays readable.
#[test]
fn long_lists_are_counted() {
    let mut report = StoredReport::parse(killed().to_json().as_bytes()).unwrap();
    report.notes = vec![report.findings[0].clone(); 10_000];
    let markdown = report.markdown();
    assert!(markdown.contains("And 9,800 more."), "{}", markdown.len());
    assert!(markdown.len() < 100_000);
}

#[test]
fn a_refused_start_says_what_to_do() {
    let mut report = Report { number: Some(4), ..Report::default() };
    let mut journal = LayerReport::new("journal");
    let mut finding = killed().findings().next().unwrap().clone();
    finding.verdict = Some(Verdict::Corrupt);
    finding.acked = Acked::Yes;
    journal.findings.push(finding);
    journal.actions.push(Action {
        kind: ActionKind::Refuse,
        label: Label("journal-3"),
        target: "shards/0/journal/1".to_owned(),
        detail: "acknowledged bytes are lost".to_owned(),
    });
    report.add(journal);
    let stored = StoredReport::parse(report.to_json().as_bytes()).unwrap();
    assert!(stored.is_refused());
    let markdown = stored.markdown();
    assert!(markdown.starts_with("# Recovery report 4: refused, acknowledged data is damaged\n"));
    assert!(markdown.contains("no run began"), "{markdown}");
    assert!(markdown.contains("One item is left to a person."), "{markdown}");
    assert!(markdown.contains("rekindle verify --data DIR"), "{markdown}");
}
