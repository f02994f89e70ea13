//! Decision tables: what `check` finds, and that `decide` never guesses.

use rekindle_recovery::{Label, Row, Table};

const HALVES: Table<u8, &str> = Table {
    rows: &[
        Row { label: Label("store-1"), when: |number| *number < 5, then: "low" },
        Row { label: Label("store-2"), when: |number| *number >= 5, then: "high" },
    ],
};

const BROKEN: Table<u8, &str> = Table {
    rows: &[
        Row { label: Label("store-1"), when: |number| *number < 5, then: "low" },
        Row { label: Label("store-2"), when: |number| *number < 2, then: "lowest" },
        Row { label: Label("store-3"), when: |_| false, then: "never" },
    ],
};

#[test]
fn the_row_that_matches_decides() {
    assert_eq!(HALVES.decide(&4).then, "low");
    assert_eq!(HALVES.decide(&5).label, Label("store-2"));
    assert_eq!(HALVES.check(0..10), Vec::<String>::new());
}

#[test]
fn gaps_overlaps_and_dead_rows_are_named() {
    assert_eq!(
        BROKEN.check([1, 3, 7]),
        ["1 matches [\"store-1\", \"store-2\"]", "7 matches []", "store-3 is matched by nothing",]
    );
}

#[test]
#[should_panic(expected = "no row matches 7")]
fn a_gap_is_never_guessed() {
    let _ = BROKEN.decide(&7);
}

#[test]
#[should_panic(expected = "store-1 and store-2 both match 1")]
fn an_overlap_is_never_guessed() {
    let _ = BROKEN.decide(&1);
}
