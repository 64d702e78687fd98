//! The journal against a naive model, a vector, under random operations, kills and power cuts.

mod common;

use common::{Owned, SMALL, entry, items, open, read_all};
use journal::faulty::FaultyDisk;
use journal::{AppendError, Config, Journal, Recovery, SyncPolicy};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<usize>),
    Sync,
    Trim(u64),
    Cursor(u8, u64),
    Forget(u8),
    Checkpoint,
    Read(u64, usize),
    Reopen,
    Kill,
    PowerCut(u64),
    Discard(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => proptest::collection::vec(prop_oneof![0usize..64, 400usize..5000], 0..6).prop_map(Op::Append),
        2 => Just(Op::Sync),
        3 => (0u64..40).prop_map(Op::Trim),
        2 => (0u8..3, 0u64..40).prop_map(|(name, back)| Op::Cursor(name, back)),
        1 => (0u8..3).prop_map(Op::Forget),
        1 => Just(Op::Checkpoint),
        3 => (0u64..40, 1usize..20_000).prop_map(|(back, max)| Op::Read(back, max)),
        1 => Just(Op::Reopen),
        1 => Just(Op::Kill),
        2 => any::<u64>().prop_map(Op::PowerCut),
        1 => (0u64..50).prop_map(Op::Discard),
    ]
}

/// What must be in the journal.
struct Model {
    disk: FaultyDisk,
    config: Config,
    journal: Option<Journal<FaultyDisk>>,
    /// Items since the last discard, whose first has the index `base`; freed ones included.
    log: Vec<Owned>,
    base: u64,
    first: u64,
    durable: u64,
    cursors: std::collections::BTreeMap<String, u64>,
    tag: u64,
}

impl Model {
    fn new(sync: SyncPolicy) -> Self {
        let disk = FaultyDisk::new();
        let config = Config { sync, ..SMALL };
        let (journal, recovery) = open(&disk, config);
        assert!(recovery.created);
        let (log, cursors) = (Vec::new(), Default::default());
        Self { disk, config, journal: Some(journal), log, base: 1, first: 1, durable: 0, cursors, tag: 0 }
    }

    fn journal(&mut self) -> &mut Journal<FaultyDisk> {
        self.journal.as_mut().unwrap()
    }

    fn next(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Append(sizes) => self.append(&sizes),
            Op::Sync => {
                let durable = self.journal().sync().unwrap();
                self.durable = durable;
                assert_eq!(durable, self.next() - 1);
            }
            Op::Trim(back) => self.trim(back),
            Op::Cursor(name, back) => self.cursor(&format!("c{name}"), back),
            Op::Forget(name) => {
                let name = format!("c{name}");
                let known = self.cursors.remove(&name).is_some();
                assert_eq!(self.journal().remove_cursor(&name).unwrap(), known);
            }
            Op::Checkpoint => self.journal().checkpoint().unwrap(),
            Op::Read(back, max) => self.read(back, max),
            Op::Reopen => self.reopen(|_| ()),
            Op::Kill => self.reopen(FaultyDisk::kill),
            Op::PowerCut(seed) => self.reopen(|disk| disk.power_cut(seed)),
            Op::Discard(ahead) => self.discard(ahead),
        }
        self.check();
    }

    fn append(&mut self, sizes: &[usize]) {
        let batch: Vec<Owned> = sizes.iter().zip(self.tag..).map(|(&size, tag)| entry(tag, size)).collect();
        self.tag += batch.len() as u64;
        let next = self.next();
        let free = self.journal().bytes_free();
        match self.journal().append(&items(&batch)) {
            Ok(range) => {
                assert_eq!(range, next..next + batch.len() as u64);
                self.log.extend(batch);
                if self.config.sync == SyncPolicy::Each {
                    self.durable = self.next() - 1;
                }
            }
            // Space is lost at the end of each segment only, less than one item of it.
            Err(AppendError::Full { needed, free: said }) => assert!(said == free && needed + 4 * 5160 > free),
            Err(other) => panic!("{other}"),
        }
    }

    fn trim(&mut self, back: u64) {
        let through = (self.next() - 1).saturating_sub(back);
        let first = self.journal().trim(through);
        let limit = self.cursors.values().copied().fold(through, u64::min);
        assert!(first >= self.first);
        assert!(first == self.first || first <= limit + 1, "freed {first} beyond {limit}");
        self.first = first;
    }

    fn cursor(&mut self, name: &str, back: u64) {
        let through = (self.next() - 1).saturating_sub(back);
        let known = self.cursors.get(name).copied();
        let result = self.journal().set_cursor(name, through);
        if known.is_none() && through + 1 < self.first {
            assert!(result.is_err());
            return;
        }
        result.unwrap();
        self.cursors.insert(name.into(), through.max(known.unwrap_or(0)));
    }

    fn read(&mut self, back: u64, max: usize) {
        let from = (self.next() - 1).saturating_sub(back).max(self.first);
        let got = read_all(&mut self.journal().reader(), from, max);
        assert_eq!(got, self.log[(from - self.base) as usize..]);
    }

    fn discard(&mut self, ahead: u64) {
        let next = (self.next() + ahead).saturating_sub(25).max(1);
        self.journal().discard_all(next).unwrap();
        self.log.clear();
        (self.base, self.first, self.durable) = (next, next, next - 1);
        self.cursors.values_mut().for_each(|through| *through = next - 1);
    }

    /// Closes the journal, lets `fate` happen to the disk, and opens it again.
    fn reopen(&mut self, fate: impl FnOnce(&FaultyDisk)) {
        let written = self.next() - 1;
        let before = self.journal().durable();
        assert_eq!(before, self.durable);
        let mut reader = self.journal().reader();
        self.journal = None;
        assert!(matches!(reader.read(self.first, 1), Err(journal::ReadError::Closed)));
        fate(&self.disk);
        let (journal, recovery) = open(&self.disk, self.config);
        assert!(!recovery.created && recovery.damaged.is_none(), "{recovery:?}");
        assert!(recovery.next > self.durable && recovery.next <= written + 1, "{recovery:?}, durable {before}");
        assert!(recovery.first <= self.first && recovery.first >= self.base, "{recovery:?}, first {}", self.first);
        self.adopt(journal, &recovery);
    }

    fn adopt(&mut self, journal: Journal<FaultyDisk>, recovery: &Recovery) {
        self.log.truncate((recovery.next - self.base) as usize);
        (self.first, self.durable) = (recovery.first, recovery.next - 1);
        let found: Vec<_> = journal.cursors().iter().map(|c| (c.name.clone(), c.through)).collect();
        assert_eq!(found.len(), self.cursors.len());
        for (name, through) in found {
            assert!(through <= self.cursors[&name] && through < recovery.next);
            assert!(through + 1 >= recovery.first, "what {name} needs is gone");
            self.cursors.insert(name, through);
        }
        self.journal = Some(journal);
        let first = self.first;
        let all = read_all(&mut self.journal().reader(), first, 1 << 20);
        assert_eq!(all, self.log[(first - self.base) as usize..]);
    }

    fn check(&mut self) {
        let (first, next, durable) = (self.first, self.next(), self.durable);
        let journal = self.journal();
        assert_eq!((journal.first(), journal.next(), journal.durable()), (first, next, durable));
        assert!(journal.bytes_used() <= journal.bytes_total());
        assert!(matches!(journal.reader().read(first - 1, 1), Err(journal::ReadError::Trimmed { .. })));
        assert!(journal.reader().read(next, 1).unwrap().is_empty());
        let cursors: std::collections::BTreeMap<_, _> =
            journal.cursors().iter().map(|c| (c.name.clone(), c.through)).collect();
        assert_eq!(cursors, self.cursors);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn behaves_like_a_vector(each: bool, short: bool, ops in proptest::collection::vec(op(), 1..60)) {
        let mut model = Model::new(if each { SyncPolicy::Each } else { SyncPolicy::Never });
        model.disk.set_short_writes(short);
        ops.into_iter().for_each(|op| model.run(op));
    }
}
