//! Splitting input into lines, whatever the chunks are.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn split(input: &[u8], chunk: usize, max: usize) -> Vec<Line> {
    let (mut splitter, mut lines) = (Splitter::new(max), Vec::new());
    for piece in input.chunks(chunk) {
        splitter.feed(Bytes::copy_from_slice(piece), &mut lines);
    }
    lines.extend(splitter.finish());
    lines
}

fn bodies(lines: &[&'static str]) -> Vec<Line> {
    lines.iter().map(|line| Line::Body(Bytes::from_static(line.as_bytes()))).collect()
}

#[test]
fn lines_end_with_lf_or_crlf_and_the_last_one_may_not_end() {
    for chunk in 1..20 {
        let split = |input: &str| split(input.as_bytes(), chunk, 10);
        assert_eq!(split(""), bodies(&[]));
        assert_eq!(split("\n"), bodies(&[""]));
        assert_eq!(split("a\r\nb\n\nc"), bodies(&["a", "b", "", "c"]));
        assert_eq!(split("a\r\n\r\n"), bodies(&["a", ""]));
        assert_eq!(split("a\rb\r\r\n"), bodies(&["a\rb\r"]), "only the CR of the line's end goes");
        assert_eq!(split("a\r"), bodies(&["a\r"]), "a CR without its LF is a byte like others");
    }
}

#[test]
fn a_line_that_is_too_long_is_skipped_and_counted() {
    for chunk in 1..20 {
        let lines = split(b"12345\r\n123456\n123456\r\nx\n1234567", chunk, 5);
        let long = Line::TooLong;
        let mut expected = bodies(&["12345"]);
        expected.extend([long(6), lines.get(2).cloned().unwrap()]);
        assert!(matches!(lines.get(2), Some(Line::TooLong(6 | 7))));
        expected.extend(bodies(&["x"]));
        expected.push(long(7));
        assert_eq!(lines, expected);
    }
}

#[test]
fn what_is_skipped_is_not_kept() {
    let mut splitter = Splitter::new(1_000);
    let mut lines = Vec::new();
    for _ in 0..1_000 {
        splitter.feed(Bytes::from(vec![b'x'; 1_000]), &mut lines);
        assert!(splitter.partial.capacity() <= 4_000, "{}", splitter.partial.capacity());
    }
    splitter.feed(Bytes::from_static(b"\nok\n"), &mut lines);
    let ok = Line::Body(Bytes::from_static(b"ok"));
    assert_eq!(lines, [Line::TooLong(1_000_000), ok]);
}

#[test]
fn the_whole_input_is_one_message_up_to_the_limit() {
    let read = |length: usize| {
        let input = io::Cursor::new(vec![b'\n'; length]);
        let mut reader = Reader::new(Box::new(input), true);
        let lines = reader.next().unwrap().unwrap();
        assert_eq!(reader.next().unwrap(), None);
        lines
    };
    assert_eq!(read(0), bodies(&[""]));
    assert_eq!(read(3), bodies(&["\n\n\n"]));
    let full = Line::Body(Bytes::from(vec![b'\n'; MESSAGE_BYTES_MAX]));
    assert_eq!(read(MESSAGE_BYTES_MAX), [full]);
    assert_eq!(read(MESSAGE_BYTES_MAX + 9), [Line::TooLong((1 << 20) + 9)]);
}

proptest! {
    #[test]
    fn chunks_do_not_change_lines(input in "[a\r\n]{0,40}", chunk in 1_usize..10) {
        let whole = split(input.as_bytes(), 1_000, 100);
        prop_assert_eq!(split(input.as_bytes(), chunk, 100), whole.clone());
        let expected: Vec<String> = input
            .split_inclusive('\n')
            .map(|line| match line.strip_suffix('\n') {
                Some(line) => line.strip_suffix('\r').unwrap_or(line).to_owned(),
                None => line.to_owned(),
            })
            .collect();
        let got: Vec<String> = whole
            .into_iter()
            .map(|line| match line {
                Line::Body(body) => String::from_utf8(body.to_vec()).unwrap(),
                Line::TooLong(_) => unreachable!(),
            })
            .collect();
        prop_assert_eq!(got, expected);
    }
}
