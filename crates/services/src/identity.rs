//! The identity of a request, with which a retry after an unknown outcome has one effect.

/// Names one request (or one item of a request) of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Chosen at random by the producer, once.
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
