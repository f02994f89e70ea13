//! The figures of all runs, and their medians.
//!
//! Invariant: a figure is known by its section and name; its goals are judged in each run by
//! figures of that run, and the median of those judgements counts.

use std::collections::BTreeMap;

use crate::args::Section;
use crate::phase::Reached;

/// One figure of one run.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    what: String,
    unit: &'static str,
    value: f64,
    /// Further numbers: name and value.
    extras: Vec<(&'static str, f64)>,
    goals: Vec<Goal>,
}

/// What a figure should be; reached from 1 on.
#[derive(Clone, Debug)]
struct Goal {
    text: String,
    reached: f64,
}

impl Figure {
    /// A figure.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { what: what.into(), unit, value, extras: vec![], goals: vec![] }
    }

    /// A load's figure, with its latencies and CPU time.
    pub(crate) fn load(what: impl Into<String>, unit: &'static str, reached: &Reached) -> Self {
        let mut figure = Self::new(what, unit, reached.per_second);
        if reached.p99_us > 0.0 {
            figure = figure.with("p50 us", reached.p50_us).with("p99 us", reached.p99_us);
        }
        figure.with("CPU us", reached.cpu_us)
    }

    /// The same with one more number.
    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.extras.push((name, value));
        self
    }

    /// The same with a goal: `value` should be at least `floor`.
    pub(crate) fn at_least(mut self, text: impl Into<String>, value: f64, floor: f64) -> Self {
        self.goals.push(Goal { text: text.into(), reached: value / floor });
        self
    }

    /// The same with a goal: `value` should be at most `ceiling`.
    pub(crate) fn at_most(mut self, text: impl Into<String>, value: f64, ceiling: f64) -> Self {
        self.goals.push(Goal { text: text.into(), reached: ceiling / value });
        self
    }
}

/// A figure over all runs.
#[derive(Clone, Debug)]
pub(crate) struct Median {
    /// Its name.
    pub(crate) what: String,
    /// Of the value.
    pub(crate) unit: &'static str,
    /// The median value.
    pub(crate) value: f64,
    /// The lowest and the highest one.
    pub(crate) range: (f64, f64),
    /// Further numbers, medians too.
    pub(crate) extras: Vec<(&'static str, f64)>,
    /// Each goal and how far it was reached; from 1 on it was.
    pub(crate) goals: Vec<(String, f64)>,
}

/// All figures.
#[derive(Debug, Default)]
pub(crate) struct Book {
    section: Option<Section>,
    run: Vec<(Section, Figure)>,
    notes: Vec<(String, String)>,
    sections: BTreeMap<Section, Vec<Vec<Figure>>>,
}

impl Book {
    /// The figures that follow are of this section.
    pub(crate) fn section(&mut self, section: Section) {
        self.section = Some(section);
    }

    /// Notes what a reader of the figures must know; of each name, what was said last.
    #[cfg(feature = "peer-servers")]
    pub(crate) fn note(&mut self, name: &str, value: String) {
        self.notes.retain(|(known, _)| known != name);
        self.notes.push((name.to_owned(), value));
    }

    /// What a reader of the figures must know.
    pub(crate) fn notes(&self) -> &[(String, String)] {
        &self.notes
    }

    /// Notes a figure of this run.
    pub(crate) fn add(&mut self, figure: Figure) {
        let section = self.section.expect("a section is begun before its figures");
        self.run.push((section, figure));
    }

    /// The value of a figure of this run.
    #[cfg(feature = "peers")]
    pub(crate) fn value(&self, section: Section, what: &str) -> Option<f64> {
        let found = self.run.iter().find(|(of, figure)| *of == section && figure.what == what);
        found.map(|(_, figure)| figure.value)
    }

    /// Ends a run.
    pub(crate) fn end_run(&mut self) {
        for (section, figure) in self.run.drain(..) {
            let figures = self.sections.entry(section).or_default();
            match figures.iter_mut().find(|known| known.iter().any(|it| it.what == figure.what)) {
                Some(known) => known.push(figure),
                None => figures.push(vec![figure]),
            }
        }
    }

    /// The sections with their figures, in the order in which they were first noted.
    pub(crate) fn medians(&self) -> Vec<(Section, Vec<Median>)> {
        let each =
            |figures: &Vec<Vec<Figure>>| figures.iter().filter_map(|f| median_of(f)).collect();
        self.sections.iter().map(|(section, figures)| (*section, each(figures))).collect()
    }
}

fn median_of(runs: &[Figure]) -> Option<Median> {
    let first = runs.first()?;
    let values: Vec<f64> = runs.iter().map(|run| run.value).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let extra = |name: &'static str| {
        let of = |run: &Figure| run.extras.iter().find(|(it, _)| *it == name).map(|(_, n)| *n);
        (name, median(runs.iter().filter_map(of).collect()))
    };
    let goal = |text: &String| {
        let of = |run: &Figure| run.goals.iter().find(|it| it.text == *text).map(|it| it.reached);
        (text.clone(), median(runs.iter().filter_map(of).collect()))
    };
    Some(Median {
        what: first.what.clone(),
        unit: first.unit,
        value: median(values),
        range: (least, most),
        extras: first.extras.iter().map(|(name, _)| extra(name)).collect(),
        goals: first.goals.iter().map(|it| goal(&it.text)).collect(),
    })
}

/// The middle one; of an even number, the mean of both in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_runs_and_goals_of_their_own_run() {
        let mut book = Book::default();
        for (value, raw) in [(10.0, 10.0), (30.0, 20.0), (20.0, 40.0)] {
            book.section(Section::Embedded);
            let figure = Figure::new("a", "1/s", value).with("CPU us", value / 10.0);
            book.add(figure.at_least("as raw", value, raw));
            book.end_run();
        }
        let medians = book.medians();
        let [(Section::Embedded, figures)] = &medians[..] else { panic!("one section") };
        let [figure] = &figures[..] else { panic!("one figure") };
        assert_eq!((figure.value, figure.range), (20.0, (10.0, 30.0)));
        assert_eq!(figure.extras, [("CPU us", 2.0)]);
        assert_eq!(figure.goals, [("as raw".to_owned(), 1.0)], "not 20 of 20, but the middle run");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![]), 0.0);
    }
}
