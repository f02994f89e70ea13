//! The driver: runs the stages of a layer in their one order and times them.

use std::io;

use rekindle_env::Clock;

use crate::action::{Action, ActionKind};
use crate::exit;
use crate::finding::Finding;
use crate::meter::Meter;
use crate::report::{LayerReport, Stage};

/// Why recovery stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The disk refused an operation; the start stops (exit 70).
    #[error("{context}: {source}")]
    Io {
        /// What was being done, with the path.
        context: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A plan refused: acknowledged bytes are lost or not proved whole (exit 65).
    #[error("refused: {0}")]
    Refused(String),
    /// The directory or what was asked of it is wrong, nothing is damaged (exit 78).
    #[error("{0}")]
    Config(String),
    /// Another process holds the directory (exit 73).
    #[error("{0} is locked by another process")]
    Locked(String),
}

impl Failure {
    /// An I/O failure with what was being done.
    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }

    /// The exit code that it means.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Io { .. } => exit::IO,
            Self::Refused(_) => exit::CORRUPT,
            Self::Config(_) => exit::CONFIG,
            Self::Locked(_) => exit::LOCKED,
        }
    }
}

/// What a layer decided: steps for its own `act`, and the same as reported actions.
#[derive(Debug)]
pub struct Plan<S> {
    /// What `act` will do, in order.
    pub steps: Vec<S>,
    /// The same for the report; a `Refuse` among them stops every layer's `act`.
    pub actions: Vec<Action>,
}

impl<S> Plan<S> {
    /// Whether this plan refuses the start.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.actions.iter().any(|action| action.kind == ActionKind::Refuse)
    }
}

/// One layer's recovery. `Source` can only be read; `Sink` can be changed.
pub trait Layer {
    /// Its name in the report: `store`, `engine`, `journal`, `database`, `queue`…
    const NAME: &'static str;
    /// What scan reads from: a read-only disk, a snapshot.
    type Source: ?Sized;
    /// What act changes: a disk, a database.
    type Sink: ?Sized;
    /// Raw pieces with their place.
    type Pieces;
    /// Values that were validated; nothing else may be used further up.
    type Trusted;
    /// A step of this layer's plan.
    type Step;
    /// What the layer hands to the one above.
    type Recovered;

    /// Reads; changes nothing.
    fn scan(&self, source: &Self::Source) -> Result<Self::Pieces, Failure>;
    /// Turns pieces into trusted values or findings. No I/O.
    fn validate(&self, pieces: Self::Pieces) -> (Self::Trusted, Vec<Finding>);
    /// Decides. No I/O.
    fn plan(&self, trusted: &Self::Trusted, findings: &[Finding]) -> Plan<Self::Step>;
    /// Does what was decided; repeatable.
    fn act(
        &self,
        trusted: Self::Trusted,
        steps: Vec<Self::Step>,
        sink: &Self::Sink,
    ) -> Result<Self::Recovered, Failure>;
}

/// A layer that was scanned, validated and planned, and not yet acted on.
#[derive(Debug)]
pub struct Examined<L: Layer> {
    /// The validated values.
    pub trusted: L::Trusted,
    /// The decided steps.
    pub plan: Plan<L::Step>,
    /// What the report says so far.
    pub report: LayerReport,
}

impl<L: Layer> Examined<L> {
    /// Why this layer refuses the start, if it does.
    #[must_use]
    pub fn refusal(&self) -> Option<Failure> {
        self.report.refusal()
    }
}

/// Runs scan, validate and plan.
pub fn examine<L: Layer>(
    layer: &L,
    source: &L::Source,
    clock: &dyn Clock,
) -> Result<Examined<L>, Failure> {
    examine_metered(layer, source, clock, &Meter::default())
}

/// The same, and tells `meter` where it is.
pub fn examine_metered<L: Layer>(
    layer: &L,
    source: &L::Source,
    clock: &dyn Clock,
    meter: &Meter,
) -> Result<Examined<L>, Failure> {
    let mut report = LayerReport::new(L::NAME);
    meter.enter(L::NAME, Stage::Scan);
    let pieces = report.timed(Stage::Scan, clock, || layer.scan(source))?;
    meter.enter(L::NAME, Stage::Validate);
    let (trusted, findings) = report.timed(Stage::Validate, clock, || layer.validate(pieces));
    meter.enter(L::NAME, Stage::Plan);
    let plan = report.timed(Stage::Plan, clock, || layer.plan(&trusted, &findings));
    report.findings = findings;
    report.actions.clone_from(&plan.actions);
    Ok(Examined { trusted, plan, report })
}

/// Runs act. Refuses when the plan does.
pub fn perform<L: Layer>(
    layer: &L,
    examined: Examined<L>,
    sink: &L::Sink,
    clock: &dyn Clock,
) -> Result<(L::Recovered, LayerReport), Failure> {
    perform_metered(layer, examined, sink, clock, &Meter::default())
}

/// The same, and tells `meter` where it is.
pub fn perform_metered<L: Layer>(
    layer: &L,
    examined: Examined<L>,
    sink: &L::Sink,
    clock: &dyn Clock,
    meter: &Meter,
) -> Result<(L::Recovered, LayerReport), Failure> {
    if let Some(failure) = examined.refusal() {
        return Err(failure);
    }
    let Examined { trusted, plan, mut report } = examined;
    assert!(!plan.refuses(), "a plan that refuses is never acted on");
    meter.enter(L::NAME, Stage::Act);
    let recovered = report.timed(Stage::Act, clock, || layer.act(trusted, plan.steps, sink))?;
    Ok((recovered, report))
}
