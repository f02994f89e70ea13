//! Services that could not be recovered, as their layer's report: why, and whether stored bytes are
//! at fault.
//!
//! Invariant: whatever stops a start behind an open database is in its report under a label, as
//! every refusal below it is.

use rekindle_recovery::{
    Acked, Action, ActionKind, Finding, Label, LayerReport, Place, Row, Table, Verdict,
};

use crate::error::{Error, Kind};

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Rows of the store.
    Rows,
    /// The machine, a limit, or a journal that stopped: nothing is known to be damaged.
    Machine,
}

/// What that means for the data.
static CAUSES: Table<Cause, Option<Verdict>> = Table {
    rows: &[
        Row {
            label: Label("services-1"),
            when: |c| *c == Cause::Rows,
            then: Some(Verdict::Corrupt),
        },
        Row { label: Label("services-2"), when: |c| *c == Cause::Machine, then: None },
    ],
};

/// The report of the layer that stopped: a refusal, with its reason.
#[must_use]
pub fn unled(error: &Error) -> LayerReport {
    let cause = match error.kind() {
        Kind::Corrupt => Cause::Rows,
        _ => Cause::Machine,
    };
    let row = CAUSES.decide(&cause);
    let (expected, acked, detail) = match cause {
        Cause::Rows => ("rows that services can read", Acked::Yes, "the services cannot start"),
        Cause::Machine => (
            "a machine and a journal that take what recovery settles",
            Acked::No,
            "the services cannot start, and nothing is known to be damaged: look at the machine, \
             then start again",
        ),
    };
    let mut report = LayerReport::new("services");
    report.findings.push(Finding {
        label: row.label,
        place: Place { file: "services".to_owned(), ..Place::default() },
        verdict: row.then,
        acked,
        expected: expected.to_owned(),
        found: error.message().to_owned(),
    });
    report.actions.push(Action {
        kind: ActionKind::Refuse,
        label: row.label,
        target: "services".to_owned(),
        detail: format!("{detail}: {}", error.message()),
    });
    assert!(report.refusal().is_some(), "what stops a start refuses it");
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_recovery::exit;

    /// Bytes that are wrong are corrupt; everything else names its cause and is no damage.
    ///
    /// produces: services-1, services-2
    #[test]
    fn a_refusal_of_services_has_a_label() {
        assert_eq!(CAUSES.check([Cause::Rows, Cause::Machine]), Vec::<String>::new());
        let report = unled(&Error::corrupt("the definition of queue \"q\""));
        assert_eq!(report.exit_code(), exit::CORRUPT);
        let label = |report: &LayerReport| report.findings.first().map(|it| it.label.0);
        assert_eq!(label(&report), Some("services-1"));
        for kind in [Kind::Io, Kind::Full, Kind::Poisoned, Kind::Unknown, Kind::Retry] {
            let report = unled(&Error::new(kind, "the disk is gone"));
            assert_eq!(label(&report), Some("services-2"));
            assert!(report.findings.iter().all(|it| it.verdict.is_none()), "{report:?}");
            let refusal = report.refusal().map(|it| it.to_string()).unwrap_or_default();
            assert!(refusal.contains("the disk is gone"), "{refusal}");
        }
    }
}
