//! What a crash, a lost write or a bad disk can leave behind: always a prefix of whole epochs, or a
//! `Corrupt` error that names the file. Never a wrong row, never a panic.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A journal of `inputs`, in segments of `segment_bytes`.
fn write(inputs: &[EpochInput], segment_bytes: u64) -> tempfile::TempDir {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let (mut journal, _) = Journal::open(&data, &sources(&["a", "b"]), 0).unwrap();
    journal.set_segment_bytes_max(segment_bytes);
    for input in inputs {
        journal.append(input).unwrap();
    }
    dir
}

/// The last segment of each folder.
fn last_segments(dir: &Path) -> Vec<PathBuf> {
    let last = |folder: segment::Folder| Some(segment::list(&folder.path).unwrap().pop()?.1);
    segment::folders(&dir.join("journal")).unwrap().into_iter().filter_map(last).collect()
}

/// What opening a journal that something happened to comes to.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Opened with the first epochs.
    Prefix(u64),
    Corrupt,
}

/// Opens the journal of `dir` and compares it with what was written; then takes it further.
fn outcome(dir: &Path, inputs: &[EpochInput], durable_epoch: u64) -> Outcome {
    let data = DataDir::open(dir).unwrap();
    let read_only: Vec<_> = replay(&data, 1).unwrap().collect();
    let (mut journal, recovery) = match Journal::open(&data, &sources(&["a", "b"]), durable_epoch) {
        Ok(opened) => opened,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.report());
            assert!(error.message().contains("journal"), "{}", error.report());
            assert!(error.hint_text().is_some());
            return Outcome::Corrupt;
        }
    };
    let last = recovery.last_epoch;
    assert!(last >= durable_epoch);
    let mut whole: Vec<_> = inputs[..last as usize].to_vec();
    let mut replayed = Vec::new();
    for input in journal.replay(1).unwrap() {
        match input {
            Ok(input) => replayed.push(input),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.report());
                assert!(error.message().contains("journal"), "{}", error.report());
                return Outcome::Corrupt;
            }
        }
    }
    assert_eq!(replayed.len(), whole.len());
    replayed.iter().zip(&whole).for_each(|(read, written)| assert_same(read, written));
    // Without the lock and before the cut, the same epochs were there.
    let seen = read_only.iter().take_while(|input| input.is_ok()).count();
    assert_eq!((seen, read_only.len()), (whole.len(), whole.len()));

    // Goes on as if nothing had been.
    let next = epoch(last + 1, &["b", "a"]);
    journal.append(&next).unwrap();
    drop(journal);
    whole.push(next);
    let (journal, recovery) = Journal::open(&data, &sources(&["a", "b"]), last + 1).unwrap();
    assert_eq!(recovery.cuts, []);
    assert_replays(journal.replay(1).unwrap(), &whole);
    Outcome::Prefix(last)
}

/// A copy of `dir` with the content of one file changed.
fn altered(dir: &Path, file: &Path, edit: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let copy = crate::scratch::dir();
    copy_all(dir, copy.path());
    let file = copy.path().join(file.strip_prefix(dir).unwrap());
    let mut bytes = fs::read(&file).unwrap();
    edit(&mut bytes);
    fs::write(&file, bytes).unwrap();
    copy
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn one_source_cut_at_every_byte() {
    let inputs: Vec<_> = (1..=4).map(|n| epoch(n, &["a"])).collect();
    let dir = write(&inputs, u64::MAX);
    let file = &last_segments(dir.path())[0];
    let length = fs::read(file).unwrap().len();
    let mut seen = Vec::new();
    for cut in 0..length {
        let copy = altered(dir.path(), file, |bytes| bytes.truncate(cut));
        let found = outcome(copy.path(), &inputs, 0);
        if seen.last() != Some(&found) {
            seen.push(found);
        }
    }
    // The head of a segment is durable before the segment has a name: no crash cuts it.
    let prefixes = [Outcome::Corrupt].into_iter().chain((0..4).map(Outcome::Prefix));
    assert_eq!(seen, prefixes.collect::<Vec<_>>());
}

#[test]
fn of_several_sources_an_epoch_is_there_as_a_whole() {
    let mut inputs: Vec<_> = (1..=4).map(|n| epoch(n, &["a", "b"])).collect();
    inputs.push(epoch(5, &["b"]));
    inputs.push(epoch(6, &["b", "a"]));
    let dir = write(&inputs, u64::MAX);
    for file in last_segments(dir.path()) {
        let bytes = fs::read(&file).unwrap();
        let starts = frame_offsets(&file);
        let last = *starts.last().unwrap() as usize;
        for cut in starts[1] as usize..bytes.len() {
            let copy = altered(dir.path(), &file, |bytes| bytes.truncate(cut));
            let found = outcome(copy.path(), &inputs, 0);
            // The other source's frame proves that everything before epoch 6 was durable.
            let expected = if cut >= last { Outcome::Prefix(5) } else { Outcome::Corrupt };
            assert_eq!(found, expected, "{} cut at {cut}", file.display());
        }
    }
}

#[test]
fn flipped_bytes_are_noticed() {
    let inputs: Vec<_> = (1..=5).map(|n| epoch(n, &["a", "b"])).collect();
    let dir = write(&inputs, u64::MAX);
    let file = &last_segments(dir.path())[0];
    let last = *frame_offsets(file).last().unwrap() as usize;
    let length = fs::read(file).unwrap().len();
    for at in 0..length {
        let copy = altered(dir.path(), file, |bytes| bytes[at] ^= 1 << (at % 8));
        // In the last frame it looks like a write that a crash interrupted.
        let expected = if at >= last { Outcome::Prefix(4) } else { Outcome::Corrupt };
        assert_eq!(outcome(copy.path(), &inputs, 0), expected, "{at}");
        assert_eq!(outcome_again(dir.path(), file, at), Outcome::Corrupt, "{at}");
    }

    /// The same, with all epochs known to be durable.
    fn outcome_again(dir: &Path, file: &Path, at: usize) -> Outcome {
        let inputs: Vec<_> = (1..=5).map(|n| epoch(n, &["a", "b"])).collect();
        let copy = altered(dir, file, |bytes| bytes[at] ^= 1 << (at % 8));
        outcome(copy.path(), &inputs, 5)
    }
}

#[test]
fn older_segments_are_never_torn() {
    let inputs: Vec<_> = (1..=9).map(|n| epoch(n, &["a"])).collect();
    let dir = write(&inputs, 1500);
    let segments = segment::list(&dir.path().join("journal/a")).unwrap();
    assert!(segments.len() >= 3, "{segments:?}");
    let (_, older) = &segments[segments.len() - 2];
    let length = fs::read(older).unwrap().len();
    for at in (0..length).step_by(7) {
        let copy = altered(dir.path(), older, |bytes| bytes.truncate(at));
        assert_eq!(outcome_of_replay(copy.path(), &inputs), Outcome::Corrupt, "cut at {at}");
        let copy = altered(dir.path(), older, |bytes| bytes[at] ^= 0x10);
        assert_eq!(outcome_of_replay(copy.path(), &inputs), Outcome::Corrupt, "flipped at {at}");
    }
    // Nor do they go missing.
    for (_, gone) in &segments {
        let copy = crate::scratch::dir();
        copy_all(dir.path(), copy.path());
        fs::remove_file(copy.path().join(gone.strip_prefix(dir.path()).unwrap())).unwrap();
        assert_eq!(outcome_of_replay_through(copy.path(), &inputs), Outcome::Corrupt, "{gone:?}");
    }
}

/// Opening reads only the ends of the files, so that the first epochs may come before the error.
fn outcome_of_replay(dir: &Path, inputs: &[EpochInput]) -> Outcome {
    let data = DataDir::open(dir).unwrap();
    let (journal, _) = Journal::open(&data, &sources(&["a", "b"]), 0).unwrap();
    read_all(journal.replay(1).unwrap(), inputs)
}

fn outcome_of_replay_through(dir: &Path, inputs: &[EpochInput]) -> Outcome {
    let data = DataDir::open(dir).unwrap();
    read_all(replay(&data, 1).unwrap().through(inputs.len() as u64), inputs)
}

fn read_all(replay: Replay, inputs: &[EpochInput]) -> Outcome {
    for (read, written) in replay.zip(inputs) {
        match read {
            Ok(read) => assert_same(&read, written),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.report());
                return Outcome::Corrupt;
            }
        }
    }
    Outcome::Prefix(inputs.len() as u64)
}

#[test]
fn a_segment_whose_only_frame_was_torn_is_used_again() {
    let inputs: Vec<_> = (1..=6).map(|n| epoch(n, &["a", "b"])).collect();
    // Every epoch begins a segment.
    let dir = write(&inputs, 1);
    for file in last_segments(dir.path()) {
        let start = frame_offsets(&file)[1] as usize;
        for cut in start..fs::read(&file).unwrap().len() {
            let copy = altered(dir.path(), &file, |bytes| bytes.truncate(cut));
            assert_eq!(outcome(copy.path(), &inputs, 0), Outcome::Prefix(5));
        }
    }
}

#[test]
fn a_segment_that_has_no_frame_yet_is_used() {
    // Nothing but the segment before tells of the last whole epoch.
    for last in [&["a"][..], &["a", "b"]] {
        let mut inputs: Vec<_> = (1..=3).map(|n| epoch(n, &["b"])).collect();
        inputs.extend((4..=5).map(|n| epoch(n, last)));
        inputs.push(epoch(6, &["a"]));
        let dir = write(&inputs, 1);
        let file = dir.path().join("journal/a/00000000000000000006.seg");
        let start = frame_offsets(&file)[1] as usize;
        for cut in start..fs::read(&file).unwrap().len() {
            let copy = altered(dir.path(), &file, |bytes| bytes.truncate(cut));
            assert_eq!(outcome(copy.path(), &inputs, 5), Outcome::Prefix(5), "{last:?}, {cut}");
        }
    }
}

#[test]
fn a_torn_clock_tick_is_cut() {
    let inputs = [epoch(1, &["a"]), epoch(2, &[]), epoch(3, &[])];
    let dir = write(&inputs, u64::MAX);
    let file = dir.path().join("journal/.ticks/00000000000000000002.seg");
    let copy = altered(dir.path(), &file, |bytes| bytes.truncate(bytes.len() - 1));
    assert_eq!(outcome(copy.path(), &inputs, 0), Outcome::Prefix(2));
}

#[test]
fn zeros_at_the_end_are_torn() {
    let inputs: Vec<_> = (1..=3).map(|n| epoch(n, &["a", "b"])).collect();
    let dir = write(&inputs, u64::MAX);
    for file in last_segments(dir.path()) {
        let copy = altered(dir.path(), &file, |bytes| bytes.resize(bytes.len() + 4096, 0));
        assert_eq!(outcome(copy.path(), &inputs, 3), Outcome::Prefix(3));
        let last = *frame_offsets(&file).last().unwrap() as usize;
        let copy = altered(dir.path(), &file, |bytes| bytes[last..].fill(0));
        assert_eq!(outcome(copy.path(), &inputs, 0), Outcome::Prefix(2));
        let copy = altered(dir.path(), &file, |bytes| bytes[last..].fill(0));
        assert_eq!(outcome(copy.path(), &inputs, 3), Outcome::Corrupt);
    }
}

#[test]
fn a_source_restored_from_an_older_backup_is_noticed() {
    let mut inputs: Vec<_> = (1..=3).map(|n| epoch(n, &["a", "b"])).collect();
    inputs.extend((4..=9).map(|n| epoch(n, &["b"])));
    let dir = write(&inputs, u64::MAX);
    let file = dir.path().join("journal/a/00000000000000000001.seg");
    let starts = frame_offsets(&file);
    for start in &starts[1..] {
        // Ends with a whole frame, long before the journal does: nothing in the file tells.
        let copy = altered(dir.path(), &file, |bytes| bytes.truncate(*start as usize));
        let data = DataDir::open(copy.path()).unwrap();
        let error = Journal::open(&data, &sources(&["a", "b"]), 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.detail_text().unwrap().contains("parts are there"), "{error}");
    }
}

#[test]
fn a_journal_that_ends_too_early_is_corrupt() {
    let inputs: Vec<_> = (1..=3).map(|n| epoch(n, &["a"])).collect();
    let dir = write(&inputs, u64::MAX);
    let data = DataDir::open(dir.path()).unwrap();
    let error = Journal::open(&data, &sources(&["a"]), 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("lacks a part of epoch 4"), "{error}");
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    assert_eq!(Journal::open(&data, &sources(&["a"]), 1).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Where the frames of a segment begin, that of its head first.
fn frame_offsets(file: &Path) -> Vec<u64> {
    use crate::frame::{Kind, scan};
    let mut offsets = Vec::new();
    scan(file, Kind::Journal, |frame| {
        offsets.push(frame.offset);
        Ok(())
    })
    .unwrap();
    offsets
}
