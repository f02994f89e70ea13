//! Rules with figures and times that a test chooses.

use std::time::Duration;

use super::*;
use crate::config::Config;

fn alerts() -> Alerts {
    Alerts::new(Config::default().alerts.thresholds)
}

/// What makes figures bad.
type Spoil = fn(&mut Figures);

/// Figures of a server with which nothing is the matter.
fn well() -> Figures {
    Figures {
        unclean_ends: Some(0),
        replay_seconds: Some(0.1),
        damages: Some(0),
        review_items: Some(0),
        most_attempts: Some(1),
        dead_letters: Some(0),
        backlog_seconds: Some(1.0),
        disk_free_bytes: Some(1 << 40),
        sync_seconds: Some(0.001),
        ..Figures::default()
    }
}

fn names(changed: &[Alert]) -> Vec<&'static str> {
    changed.iter().map(|alert| alert.alert).collect()
}

/// Each rule fires for its own figure and for no other, says what is the matter and what to do,
/// and is resolved when that is over.
///
/// proves: L11
#[test]
fn each_rule_fires_for_its_figure() {
    let cases: [(&str, Spoil); 10] = [
        ("recovery_failed", |f| f.unclean_ends = Some(1)),
        ("crash_loop", |f| f.unclean_ends = Some(3)),
        ("recovery_slow", |f| f.replay_seconds = Some(5.0)),
        ("corruption_found", |f| f.damages = Some(1)),
        ("review_waiting", |f| f.review_items = Some(1)),
        ("poison_item", |f| f.most_attempts = Some(10)),
        ("dead_letters", |f| f.dead_letters = Some(100)),
        ("backlog_old", |f| f.backlog_seconds = Some(3_600.0)),
        ("disk_low", |f| f.disk_free_bytes = Some((1 << 30) - 1)),
        ("sync_slow", |f| f.sync_seconds = Some(0.25)),
    ];
    assert_eq!(cases.map(|(name, _)| name).to_vec(), names(&alerts().all()));
    for (name, spoil) in cases {
        let alerts = alerts();
        let mut bad = well();
        spoil(&mut bad);
        assert!(alerts.judge(well(), 1).is_empty());
        let mut fired = vec![];
        for look in 2..5 {
            fired.extend(alerts.judge(bad.clone(), look));
        }
        let expected: &[&str] =
            if name == "crash_loop" { &["recovery_failed", "crash_loop"] } else { &[name] };
        assert_eq!(names(&fired), expected);
        let alert = fired.last().unwrap();
        assert_eq!(alert.state, State::Firing);
        assert!(!alert.summary.is_empty() && !alert.next_step.is_empty());
        assert_eq!(alerts.firing().len(), expected.len());
        assert!(alerts.judge(well(), 9).is_empty(), "one quiet look may be luck");
        let resolved = alerts.judge(well(), 10);
        assert_eq!(names(&resolved), expected);
        assert!(resolved.iter().all(|alert| alert.state == State::Resolved));
        assert!(resolved.iter().all(|alert| alert.since == Some(10)));
        assert!(alerts.firing().is_empty());
    }
}

/// A value that moves around its threshold fires once; one that is not known changes nothing.
#[test]
fn a_rule_does_not_come_and_go() {
    let alerts = alerts();
    let with = |seconds| Figures { backlog_seconds: seconds, ..well() };
    assert_eq!(alerts.judge(with(Some(3_600.0)), 1).len(), 1);
    for look in 2..20 {
        let seconds = if look % 2 == 0 { 3_500.0 } else { 3_700.0 };
        assert!(alerts.judge(with(Some(seconds)), look).is_empty());
    }
    for look in 20..30 {
        let seconds = if look % 2 == 0 { Some(10.0) } else { None };
        let changed = alerts.judge(with(seconds), look);
        assert_eq!(changed.len(), usize::from(look == 22), "{look}");
    }
}

/// Growth that is refused is told however much is free and whatever the threshold is: the store
/// knows better what it needs.
#[test]
fn refused_growth_is_a_low_disk() {
    let thresholds = Thresholds { disk_free: 0, ..Config::default().alerts.thresholds };
    let alerts = Alerts::new(thresholds);
    assert!(alerts.judge(well(), 1).is_empty());
    let low = Figures { disk_low: true, ..well() };
    let fired = alerts.judge(low, 2);
    assert_eq!(names(&fired), ["disk_low"]);
    assert!(fired[0].summary.contains("growth is refused"), "{:?}", fired[0]);
    assert!(alerts.judge(well(), 3).is_empty());
    assert_eq!(names(&alerts.judge(well(), 4)), ["disk_low"], "it is over");
}

/// One slow sync is no slow disk.
#[test]
fn a_slow_sync_must_stay() {
    let alerts = alerts();
    let with = |seconds| Figures { sync_seconds: Some(seconds), ..well() };
    for look in 0..12 {
        let seconds = if look % 3 == 2 { 0.001 } else { 1.0 };
        assert!(alerts.judge(with(seconds), look).is_empty());
    }
    assert!(alerts.judge(with(1.0), 12).is_empty() && alerts.judge(with(1.0), 13).is_empty());
    assert_eq!(names(&alerts.judge(with(1.0), 14)), ["sync_slow"]);
}

/// What is shown is JSON with the fields of docs/reference.md.
#[test]
fn alerts_are_shown_as_the_reference_says() {
    let alerts = alerts();
    let figures = Figures { review_items: Some(2), review_oldest_seconds: 61.0, ..well() };
    let changed = alerts.judge(figures, 7);
    let json = serde_json::to_value(&changed[0]).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "alert": "review_waiting", "state": "firing", "since": 7, "value": 2.0,
            "threshold": 1.0, "unit": "items",
            "summary": "2 items wait for a person, the oldest for 61 s",
            "next_step": "decide with 'rekindle review list' and 'rekindle review show ID'",
        })
    );
    assert_eq!(Config::default().alerts.interval, Duration::from_secs(10));
}
