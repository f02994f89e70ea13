//! The identity of a request, with which a retry after an unknown outcome has one effect.

/// Names one request (or one item of a request) of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Chosen by the producer, once: a UUIDv7, whose time lets it be told apart from one that was
    /// forgotten, or any 16 random bytes.
    pub producer: [u8; 16],
    /// Grows by one with each item that the producer asks for.
    pub sequence: u64,
}

impl Identity {
    /// The identity of item `index` of a request whose first item has this one.
    #[must_use]
    pub fn item(self, index: usize) -> Self {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        Self { producer: self.producer, sequence: self.sequence.saturating_add(index) }
    }
}

/// When a producer id was made, milliseconds since 1970 by the clock that made it, if it is a
/// UUIDv7 (RFC 9562, section 5.7).
pub(crate) fn made_ms(producer: &[u8; 16]) -> Option<u64> {
    let [a, b, c, d, e, f, version, _, variant, ..] = *producer;
    let seven = version >> 4 == 7 && variant >> 6 == 0b10;
    seven.then(|| u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_of_version_seven_has_a_time() {
        let mut id = [0xFF; 16];
        id[..6].copy_from_slice(&[0x01, 0x7F, 0x22, 0xE2, 0x79, 0xB0]);
        assert_eq!(made_ms(&id), None);
        (id[6], id[8]) = (0x7C, 0x98);
        // The example of RFC 9562: 22 February 2022, 19:22:22 UTC.
        assert_eq!(made_ms(&id), Some(1_645_557_742_000));
        id[8] = 0xC8;
        assert_eq!(made_ms(&id), None, "another variant");
        (id[6], id[8]) = (0x4C, 0x98);
        assert_eq!(made_ms(&id), None, "another version");
    }
}
