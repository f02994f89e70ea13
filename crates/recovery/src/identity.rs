//! The identity of a directory: `store.a` and `store.b`.
/// Who a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random, made once.
    pub store_id: [u8; 16],
    /// Random, made anew by each restore.
    pub lineage: [u8; 16],
    /// This node's number (1 on a single node).
    pub node: u64,
    /// Feature level of the records in use.
    pub feature_level: u32,
    /// Which engine holds the state (1: memory).
    pub engine: u8,
}
