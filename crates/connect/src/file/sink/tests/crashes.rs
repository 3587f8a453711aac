//! A changelog holds each change once, whatever happens between its writes.

use std::io::{self, Write};

use proptest::prelude::*;

use super::super::disk::Target;
use super::*;

/// A disk that takes some bytes and is full from then on.
struct FullAfter {
    disk: Box<dyn Target>,
    bytes_left: usize,
}

impl Write for FullAfter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.bytes_left);
        if fits == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes_left -= fits;
        self.disk.write(&bytes[..fits])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl Target for FullAfter {
    fn length(&self) -> io::Result<u64> {
        self.disk.length()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        // Somebody makes room.
        self.bytes_left = usize::MAX;
        self.disk.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()
    }
}

/// One write of `epochs` epochs and what goes wrong with it.
#[derive(Clone, Copy, Debug)]
struct Step {
    epochs: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Everything is durable, and the run dies before its progress is.
    ProgressLost,
    /// The disk is full after some bytes; the same sink tries again.
    Full {
        after: usize,
    },
    /// The disk is full after some bytes, and the run dies.
    Torn {
        after: usize,
    },
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => Just(Fault::None),
        1 => Just(Fault::ProgressLost),
        1 => (0..600_usize).prop_map(|after| Fault::Full { after }),
        1 => (0..600_usize).prop_map(|after| Fault::Torn { after }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    (1..4_usize, fault()).prop_map(|(epochs, fault)| Step { epochs, fault })
}

/// What becomes of `all` epochs when they are written in `steps`, then what is left at once.
fn run(all: &[EpochChanges], steps: &[Step], lines: append::Lines) -> String {
    let folder = TempDir::new().unwrap();
    let mut sink = changes_file(&folder, "v", lines);
    sink.open(&shape(), None).unwrap();
    let mut saved: Option<Progress> = None;
    let mut next = 0;
    let rest = Step { epochs: all.len(), fault: Fault::None };
    for step in steps.iter().chain([&rest]) {
        let epochs = &all[next..all.len().min(next + step.epochs)];
        if epochs.is_empty() {
            break;
        }
        if let Fault::Full { after } | Fault::Torn { after } = step.fault {
            sink.wrap_target(|disk| Box::new(FullAfter { disk, bytes_left: after }));
        }
        let written = sink.write(epochs).or_else(|error| {
            assert_eq!(error.kind(), ErrorKind::Storage);
            if matches!(step.fault, Fault::Torn { .. }) { Err(error) } else { sink.write(epochs) }
        });
        let crashed = matches!(step.fault, Fault::ProgressLost | Fault::Torn { .. });
        if !crashed {
            saved = Some(written.unwrap());
        }
        if crashed {
            drop(sink);
            sink = changes_file(&folder, "v", lines);
            sink.open(&shape(), saved.as_ref()).unwrap();
        }
        next = saved.as_ref().map_or(0, |progress| progress.epoch as usize);
    }
    // A run that died before its first progress has left a file that was set aside.
    fs::read_to_string(folder.path().join("v")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_change_is_written_exactly_once(
        sizes in prop::collection::vec(0..4_i64, 1..20),
        steps in prop::collection::vec(step(), 0..12),
        csv in any::<bool>(),
    ) {
        let lines = if csv { append::Lines::Csv } else { append::Lines::Json };
        // Epochs count from 1, so that the last durable one says how many are done.
        let epochs: Vec<EpochChanges> = sizes
            .iter()
            .zip(1..)
            .map(|(size, n)| epoch(n, &(0..*size).map(|i| n as i64 * 10 + i).collect::<Vec<_>>()))
            .collect();
        let uninterrupted = run(&epochs, &[], lines);
        prop_assert_eq!(run(&epochs, &steps, lines), uninterrupted);
    }
}

#[test]
fn a_failed_sync_is_not_durable() {
    struct SyncFailsOnce(Box<dyn Target>, bool);
    impl Write for SyncFailsOnce {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    impl Target for SyncFailsOnce {
        fn length(&self) -> io::Result<u64> {
            self.0.length()
        }
        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.0.truncate(length)
        }
        fn sync(&mut self) -> io::Result<()> {
            if std::mem::take(&mut self.1) { Err(io::Error::other("lost")) } else { self.0.sync() }
        }
    }
    let folder = TempDir::new().unwrap();
    let mut sink = changes_file(&folder, "v", append::Lines::Json);
    sink.open(&shape(), None).unwrap();
    sink.wrap_target(|disk| Box::new(SyncFailsOnce(disk, true)));
    assert_eq!(sink.write(&[epoch(1, &[1])]).unwrap_err().kind(), ErrorKind::Storage);
    sink.write(&[epoch(1, &[1])]).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("v")).unwrap(), envelope(1, 1));
}
