//! Opens a journal as the database does, and remembers what it replays and applies.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rekindle_env::{Disk, Env, ManualClock, SeededRandom};
use rekindle_journal::codec::record::TxnsPrefix;
use rekindle_journal::{
    Apply, Depth, Entry, Event, Journal, JournalLayer, Layout, LocalJournal, LocalOptions,
    MetaLayer, Record, RecordKind, Replayed, WriterConfig,
};
use rekindle_recovery::{Failure, Finding, examine, perform};

pub const STORE: [u8; 16] = [7; 16];
pub const DIR: &str = "store";
/// Every test transaction has this many bytes, so that a record can be cut into them.
pub const ENTRY_LEN: usize = 100;

/// What was applied.
#[derive(Default)]
pub struct Recorder {
    pub entries: Mutex<Vec<(u64, Vec<u8>)>>,
    pub events: Mutex<Vec<Event>>,
}

impl Recorder {
    pub fn take_record(&self, record: &Record<'_>) {
        if record.kind != RecordKind::Txns {
            return;
        }
        let (prefix, bytes) = TxnsPrefix::decode(record.payload).unwrap();
        let chunks = bytes.chunks(ENTRY_LEN);
        assert_eq!(chunks.len() as u32, prefix.count);
        let mut entries = self.entries.lock().unwrap();
        for (n, chunk) in chunks.enumerate() {
            entries.push((prefix.base_version + n as u64, chunk.to_vec()));
        }
    }
}

impl Apply for Recorder {
    fn apply(&self, record: &Record<'_>) -> Result<(), String> {
        self.take_record(record);
        Ok(())
    }

    fn event(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

/// A journal in use.
pub struct Opened {
    pub journal: LocalJournal,
    pub applied: Arc<Recorder>,
    pub replayed: Vec<(u64, Vec<u8>)>,
    pub findings: Vec<Finding>,
}

pub struct Setup {
    pub env: Env,
    pub clock: Arc<ManualClock>,
    pub segment_bytes: u64,
    pub options: LocalOptions,
    pub replay_from: u64,
}

impl Setup {
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let random = Arc::new(SeededRandom::new(1));
        let env = Env { disk, clock: clock.clone(), random };
        let options = LocalOptions { background: false, ..LocalOptions::default() };
        Self { env, clock, segment_bytes: 16 << 10, options, replay_from: 1 }
    }

    /// Findings and labels of decided actions, without acting.
    pub fn examine(&self, depth: Depth) -> Result<(Vec<Finding>, Vec<String>, bool), Failure> {
        let (layer, mut findings) = self.layer(depth)?;
        let examined = examine(&layer, &*self.env.disk, &*self.clock)?;
        let labels = examined.plan.actions.iter().map(|a| a.label.0.to_owned()).collect();
        let refuses = examined.plan.refuses();
        findings.extend(examined.report.findings);
        Ok((findings, labels, refuses))
    }

    fn layer(&self, depth: Depth) -> Result<(JournalLayer, Vec<Finding>), Failure> {
        let layout = Layout::new(Path::new(DIR), 0);
        let meta_layer = MetaLayer { layout: layout.clone(), store_id: STORE };
        let examined = examine(&meta_layer, &*self.env.disk, &*self.clock)?;
        let findings = examined.report.findings.clone();
        let (meta, _) = perform(&meta_layer, examined, &*self.env.disk, &*self.clock)?;
        let layer = JournalLayer {
            layout,
            store_id: STORE,
            node: 1,
            meta,
            replay_from: self.replay_from,
            depth,
            config: WriterConfig { segment_bytes: self.segment_bytes },
            env: self.env.clone(),
        };
        Ok((layer, findings))
    }

    /// A journal that tells `apply`, without replaying.
    pub fn open_with(&self, apply: Arc<dyn Apply>) -> Result<LocalJournal, Failure> {
        let (layer, _) = self.layer(Depth::Start)?;
        let examined = examine(&layer, &*self.env.disk, &*self.clock)?;
        let (recovered, _) = perform(&layer, examined, &(), &*self.clock)?;
        LocalJournal::start(recovered, self.options, apply)
    }

    pub fn open(&self) -> Result<Opened, Failure> {
        let (layer, mut findings) = self.layer(Depth::Start)?;
        let examined = examine(&layer, &*self.env.disk, &*self.clock)?;
        findings.extend(examined.report.findings.clone());
        let replayed = Recorder::default();
        if !examined.plan.refuses() {
            let listener = &mut |event: Replayed<'_>, _: &_| {
                if let Replayed::Record(record) = event {
                    replayed.take_record(record);
                }
                Ok(())
            };
            examined.trusted.replay(&*self.env.disk, self.replay_from, listener)?;
        }
        let (recovered, _) = perform(&layer, examined, &(), &*self.clock)?;
        let applied = Arc::new(Recorder::default());
        let journal = LocalJournal::start(recovered, self.options, applied.clone())?;
        let replayed = replayed.entries.into_inner().unwrap();
        Ok(Opened { journal, applied, replayed, findings })
    }
}

/// The bytes of transaction `version`.
pub fn content(version: u64) -> Vec<u8> {
    (0..ENTRY_LEN as u64).map(|n| (version.wrapping_mul(31) + n) as u8).collect()
}

/// Appends transaction `version`.
pub fn append(journal: &dyn Journal, version: u64) -> rekindle_journal::Ticket {
    let bytes = content(version);
    let entry = Entry { kind: RecordKind::Txns, version, log_time_ms: version * 10, bytes: &bytes };
    journal.append(entry).unwrap()
}

/// Checks that these are the transactions `1..=n` for some `n`, and returns it.
pub fn dense(entries: &[(u64, Vec<u8>)]) -> u64 {
    for (n, (version, bytes)) in entries.iter().enumerate() {
        assert_eq!(*version, n as u64 + 1, "versions are dense");
        assert_eq!(*bytes, content(*version), "version {version} has the bytes it was given");
    }
    entries.len() as u64
}
