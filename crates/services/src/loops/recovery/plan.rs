//! What is done about each execution, decided before anything is done. Pure.

use std::collections::BTreeMap;

use rekindle_recovery::{Action, ActionKind, Label, Plan};

use crate::loops::id::LoopId;
use crate::loops::recovery::transcripts;
use crate::loops::recovery::validator::{Trusted, Verdict};

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A person decides whether it goes on.
    Ask(LoopId),
    /// It has failed.
    Fail(LoopId),
    /// Its step is lost.
    Tell(LoopId),
    /// It goes on: what comes next is begun, where it was not.
    GoOn(LoopId),
}

impl Step {
    /// Of which execution.
    pub(super) fn id(self) -> LoopId {
        let (Self::Ask(id) | Self::Fail(id) | Self::Tell(id) | Self::GoOn(id)) = self;
        id
    }
}

pub(super) fn plan(trusted: &Trusted) -> Plan<Step> {
    let mut counts: BTreeMap<(&'static str, &'static str), (ActionKind, Label, u64)> =
        BTreeMap::new();
    let mut steps = Vec::new();
    for judged in &trusted.executions {
        let id = judged.id;
        let (kind, detail, step) = match judged.verdict {
            Verdict::Over | Verdict::Unread => continue,
            Verdict::Waits => (ActionKind::Keep, "they wait, and go on waiting", None),
            Verdict::GoOn => {
                let needed = judged.stored.state.in_flight().is_none();
                let detail = "they go on where they were";
                (ActionKind::Resume, detail, needed.then_some(Step::GoOn(id)))
            }
            Verdict::Ask => {
                let detail = "nothing was alive for too long; a person decides";
                (ActionKind::Ask, detail, Some(Step::Ask(id)))
            }
            Verdict::Fail => {
                let detail = "nothing was alive for far too long; they have failed";
                (ActionKind::Fail, detail, Some(Step::Fail(id)))
            }
            Verdict::Tell => {
                let detail = "the job of their step is gone; its end is not known";
                (ActionKind::Reclaim, detail, Some(Step::Tell(id)))
            }
        };
        steps.extend(step);
        counts.entry((judged.label.0, detail)).or_insert((kind, judged.label, 0)).2 += 1;
    }
    let mut transcripts: BTreeMap<&'static str, (transcripts::Verdict, Label, u64)> =
        BTreeMap::new();
    for it in &trusted.transcripts {
        transcripts.entry(it.label.0).or_insert((it.verdict, it.label, 0)).2 += 1;
    }
    let actions = counts.into_iter().map(|((_, detail), (kind, label, count))| Action {
        kind,
        label,
        target: format!("{count} executions"),
        detail: detail.to_owned(),
    });
    let transcripts = transcripts.into_values().filter_map(|(verdict, label, count)| {
        let (kind, detail) = verdict.action()?;
        let (target, detail) = (format!("{count} transcripts"), detail.to_owned());
        Some(Action { kind, label, target, detail })
    });
    Plan { steps, actions: actions.chain(transcripts).collect() }
}
