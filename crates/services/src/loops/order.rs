//! In which order the specs of a plan are done. Pure.
//!
//! The waves of Kahn's algorithm (A. B. Kahn, "Topological sorting of large networks", 1962): those
//! that need nothing, then those that need only these, and so on; what is left has a cycle.

use std::collections::{BTreeMap, BTreeSet};

use crate::loops::plan::{Spec, WRONG_MAX, brief};

/// Indexes of the specs by waves, or everything that is wrong with what they need.
pub(super) fn waves(specs: &[Spec]) -> Result<Vec<Vec<usize>>, Vec<String>> {
    let mut wrong = Vec::new();
    let mut named = BTreeMap::new();
    for (index, spec) in specs.iter().enumerate() {
        if named.insert(spec.name.as_str(), index).is_some() {
            let name = brief(&spec.name);
            wrong.push(format!("two specs are called {name}; give each its own name"));
        }
    }
    let mut needs = Vec::with_capacity(specs.len());
    for spec in specs {
        let mut known = BTreeSet::new();
        let of = brief(&spec.name);
        for name in &spec.needs {
            if wrong.len() > WRONG_MAX {
                return Err(wrong);
            }
            let needed = brief(name);
            match named.get(name.as_str()) {
                None => wrong
                    .push(format!("spec {of}: it needs {needed}, which is no spec of this plan")),
                Some(_) if *name == spec.name => wrong.push(format!("spec {of}: it needs itself")),
                Some(index) if !known.insert(*index) => {
                    wrong.push(format!("spec {of}: it needs {needed} twice"));
                }
                Some(_) => {}
            }
        }
        needs.push(known);
    }
    let mut left: BTreeSet<usize> = (0..specs.len()).collect();
    let mut waves = Vec::new();
    while !left.is_empty() {
        let needed = |index: &usize| needs.get(*index).is_some_and(|it| !it.is_disjoint(&left));
        let wave: Vec<usize> = left.iter().copied().filter(|index| !needed(index)).collect();
        if wave.is_empty() {
            wrong.push(describe(specs, &cycle(&needs, &left)));
            break;
        }
        left.retain(|index| !wave.contains(index));
        waves.push(wave);
    }
    if wrong.is_empty() { Ok(waves) } else { Err(wrong) }
}

/// A cycle among these, each of which needs another one of them.
fn cycle(needs: &[BTreeSet<usize>], left: &BTreeSet<usize>) -> Vec<usize> {
    let mut way: Vec<usize> = Vec::new();
    let mut at = left.first().copied();
    while let Some(index) = at {
        if let Some(first) = way.iter().position(|earlier| *earlier == index) {
            return way.split_off(first);
        }
        way.push(index);
        at = needs.get(index).and_then(|it| it.intersection(left).next().copied());
    }
    unreachable!("each of them needs another one of them, and they are finitely many")
}

fn describe(specs: &[Spec], cycle: &[usize]) -> String {
    let around = cycle.iter().chain(cycle.first());
    let names = around.filter_map(|index| specs.get(*index)).map(|spec| spec.name.as_str());
    format!(
        "the specs need each other: {}; leave out one of these",
        names.collect::<Vec<_>>().join(" needs ")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::loops::plan_tests::spec;

    #[test]
    fn what_is_needed_comes_first() {
        let specs = [
            spec("release", &["fix", "docs"]),
            spec("docs", &["prepare"]),
            spec("fix", &["prepare"]),
            spec("prepare", &[]),
            spec("alone", &[]),
        ];
        assert_eq!(waves(&specs).unwrap(), [vec![3, 4], vec![1, 2], vec![0]]);
    }

    #[test]
    fn wrong_dependencies_are_named() {
        let told = |specs: &[Spec]| waves(specs).unwrap_err().join("\n");
        assert_eq!(
            told(&[spec("a", &["c"]), spec("b", &["a"]), spec("c", &["b"]), spec("d", &["a"])]),
            "the specs need each other: a needs c needs b needs a; leave out one of these"
        );
        // One that leads into a cycle is no part of it.
        assert_eq!(
            told(&[spec("a", &["b"]), spec("b", &["c"]), spec("c", &["b"])]),
            "the specs need each other: b needs c needs b; leave out one of these"
        );
        assert_eq!(told(&[spec("a", &["a"])]).lines().next(), Some("spec \"a\": it needs itself"));
        assert_eq!(
            told(&[spec("a", &["x"])]),
            "spec \"a\": it needs \"x\", which is no spec of this plan"
        );
        assert_eq!(
            told(&[spec("a", &["b", "b"]), spec("b", &[])]),
            "spec \"a\": it needs \"b\" twice"
        );
        assert_eq!(
            told(&[spec("a", &[]), spec("a", &[])]),
            "two specs are called \"a\"; give each its own name"
        );
    }

    proptest! {
        /// A graph without a cycle has waves that hold each spec once and after what it needs; one
        /// with a cycle is refused, and what is named is a cycle.
        ///
        /// proves: L1
        #[test]
        fn waves_or_a_cycle(
            edges in proptest::collection::btree_set((0_usize..12, 0_usize..12), 0..40),
        ) {
            let edges: BTreeSet<_> = edges.into_iter().filter(|(from, to)| from != to).collect();
            let specs: Vec<Spec> = (0..12)
                .map(|index| {
                    let needs = edges.iter().filter(|(from, _)| *from == index);
                    let needs: Vec<String> = needs.map(|(_, to)| to.to_string()).collect();
                    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                    spec(&index.to_string(), &needs)
                })
                .collect();
            // Reachability by the definition: a spec is in a cycle when it reaches itself.
            let mut reaches = edges.clone();
            loop {
                let more: Vec<_> = reaches
                    .iter()
                    .flat_map(|(a, b)| {
                        edges.iter().filter(move |(c, _)| c == b).map(move |(_, d)| (*a, *d))
                    })
                    .filter(|pair| !reaches.contains(pair))
                    .collect();
                if more.is_empty() {
                    break;
                }
                reaches.extend(more);
            }
            let has_cycle = reaches.iter().any(|(from, to)| from == to);
            match waves(&specs) {
                Ok(waves) => {
                    prop_assert!(!has_cycle);
                    let all: Vec<usize> = waves.iter().flatten().copied().collect();
                    let place = |index: usize| waves.iter().position(|wave| wave.contains(&index));
                    prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 12);
                    prop_assert_eq!(all.len(), 12);
                    for (from, to) in &edges {
                        prop_assert!(place(*from) > place(*to), "{from} needs {to}");
                    }
                }
                Err(wrong) => {
                    prop_assert!(has_cycle && wrong.len() == 1, "{wrong:?}");
                    let names = wrong[0].strip_prefix("the specs need each other: ").unwrap();
                    let names = names.strip_suffix("; leave out one of these").unwrap();
                    let around: Vec<usize> =
                        names.split(" needs ").map(|name| name.parse().unwrap()).collect();
                    prop_assert!(around.len() >= 3 && around.first() == around.last());
                    for pair in around.windows(2) {
                        prop_assert!(edges.contains(&(pair[0], pair[1])), "{pair:?}");
                    }
                }
            }
        }
    }
}
