#![allow(clippy::unwrap_used)]

use syncline_change::ErrorKind;

use super::*;
use crate::disk::RealDisk;

type Fill = fn(&mut Vec<u8>) -> Result<()>;

fn put(payload: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> Result<()> + '_ {
    |out| {
        out.extend_from_slice(payload);
        Ok(())
    }
}

fn create(path: &Path) -> FrameWriter {
    FrameWriter::create(&RealDisk, path, Kind::Letters, None::<Fill>).unwrap()
}

/// A log of `payloads`, each durable before the next. Returns where each begins, and the end.
fn log_of(path: &Path, payloads: &[&[u8]]) -> Vec<u64> {
    let mut log = create(path);
    let mut offsets = Vec::new();
    for payload in payloads {
        offsets.push(log.stage(put(payload)).unwrap());
        log.write_durably().unwrap();
    }
    offsets.push(log.end());
    offsets
}

type Scanned = (Vec<Vec<u8>>, u64, Option<Cut>);

fn read(path: &Path) -> Result<Scanned> {
    let mut payloads = Vec::new();
    let (end, cut) = scan(path, Kind::Letters, |frame| {
        payloads.push(frame.payload.to_vec());
        Ok(())
    })?;
    Ok((payloads, end, cut))
}

#[test]
fn what_is_written_is_read() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    let large = vec![7; 3 * READ_BUFFER_BYTES];
    let offsets = log_of(&path, &[b"one", &large, b"three"]);
    let (payloads, end, cut) = read(&path).unwrap();
    assert_eq!(payloads, [b"one".to_vec(), large, b"three".to_vec()]);
    assert_eq!((end, cut), (offsets[3], None));

    let mut reader = FrameReader::open(&path, Kind::Letters).unwrap();
    reader.seek(offsets[2]).unwrap();
    let Next::Frame(frame) = reader.next().unwrap() else { panic!("no frame") };
    assert_eq!((frame.offset, frame.payload.as_slice()), (offsets[2], &b"three"[..]));
}

#[test]
fn a_reader_sees_what_is_appended_after_its_end() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    let mut log = create(&path);
    let mut reader = FrameReader::open(&path, Kind::Letters).unwrap();
    for payload in [&b"one"[..], b"two"] {
        assert!(matches!(reader.next().unwrap(), Next::End));
        log.stage(put(payload)).unwrap();
        log.write().unwrap();
        let Next::Frame(frame) = reader.next().unwrap() else { panic!("no frame") };
        assert_eq!(frame.payload.as_slice(), payload);
    }
}

#[test]
fn a_log_cut_anywhere_keeps_its_whole_frames() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    let offsets = log_of(&path, &[b"one", b"two", b"three"]);
    let bytes = std::fs::read(&path).unwrap();
    for length in HEADER_BYTES..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let (payloads, end, cut) = read(&path).unwrap();
        let whole = offsets[1..].iter().filter(|end| **end <= length as u64).count();
        assert_eq!((payloads.len(), end), (whole, offsets[whole]), "{length}");
        let torn = length as u64 - offsets[whole];
        assert_eq!(cut.map_or(0, |cut| cut.bytes), torn, "{length}");
    }
    for length in 0..HEADER_BYTES {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_flipped_byte_is_found_and_named() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    let offsets = log_of(&path, &[b"one", b"two", b"three"]);
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            std::fs::write(&path, &bytes).unwrap();
            if at as u64 >= offsets[2] {
                // Nothing is behind the last frame: it may be a write that a crash interrupted.
                let (payloads, end, cut) = read(&path).unwrap();
                assert_eq!((payloads.len(), end), (2, offsets[2]));
                assert_eq!(cut.unwrap().offset, offsets[2]);
                continue;
            }
            let error = read(&path).unwrap_err();
            let frame = offsets.iter().rev().find(|offset| **offset <= at as u64);
            let offset = frame.copied().unwrap_or(0);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}: {error}");
            let expected = format!("{} is damaged at byte {offset}", path.display());
            assert_eq!(error.message(), expected);
            assert!(error.hint_text().unwrap().contains("backup"));
        }
    }
}

#[test]
fn zeros_after_a_power_loss_are_torn() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    let offsets = log_of(&path, &[b"one", b"two"]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(&[0; 5000]);
    std::fs::write(&path, &bytes).unwrap();
    let (payloads, end, cut) = read(&path).unwrap();
    assert_eq!((payloads.len(), end, cut.unwrap().bytes), (2, offsets[2], 5000));
    // Also where the length of the file was durable and the last frame was not.
    bytes[offsets[1] as usize..].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path).unwrap().0.len(), 1);
}

#[test]
fn frames_that_were_never_synced_may_have_holes() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    let mut log = create(&path);
    let mut offsets = Vec::new();
    for payload in [&b"durable"[..], b"lost", b"kept"] {
        offsets.push(log.stage(put(payload)).unwrap());
        log.write().unwrap();
        if offsets.len() == 1 {
            log.sync().unwrap();
        }
    }
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[offsets[1] as usize + 17] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path).unwrap().0, [b"durable"]);
    // The first frame was durable when the third was written.
    bytes[offsets[0] as usize + 17] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_length_is_not_believed() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    let offsets = log_of(&path, &[b"one"]);
    let bytes = std::fs::read(&path).unwrap();
    for len in [0, 1, 7, 8, 1 << 20, PAYLOAD_BYTES_MAX as u32 + 9, u32::MAX] {
        let mut bytes = bytes.clone();
        bytes[offsets[0] as usize..][..4].copy_from_slice(&len.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let (payloads, end, cut) = read(&path).unwrap();
        assert_eq!((payloads.len(), end), (0, offsets[0]), "{len}");
        assert_eq!(cut.unwrap().offset, offsets[0]);
    }
}

#[test]
fn opening_a_writer_cuts_and_goes_on() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    let offsets = log_of(&path, &[b"one", b"two"]);
    let mut log = FrameWriter::open(&RealDisk, &path, offsets[1]).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), offsets[1]);
    log.stage(put(b"three")).unwrap();
    log.write_durably().unwrap();
    assert_eq!(read(&path).unwrap().0, [&b"one"[..], b"three"]);
    log.roll_back(offsets[1]);
    assert_eq!(read(&path).unwrap().0, [b"one"]);
}

#[test]
fn a_failed_fill_leaves_nothing() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    let mut log = create(&path);
    let failed = log.stage(|out| {
        out.extend_from_slice(b"half");
        Err(Error::bug("no"))
    });
    assert!(failed.is_err());
    assert!(log.stage(put(b"")).is_err());
    log.stage(put(b"whole")).unwrap();
    log.write_durably().unwrap();
    assert_eq!(read(&path).unwrap().0, [b"whole"]);
}

#[test]
fn another_kind_or_format_is_refused() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a.log");
    create(&path);
    let error = FrameReader::open(&path, Kind::Journal).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let mut newer = header(Kind::Letters)[..12].to_vec();
    newer[8] = 2;
    let crc = crc32fast::hash(&newer).to_le_bytes();
    newer.extend_from_slice(&crc);
    std::fs::write(&path, newer).unwrap();
    let error = FrameReader::open(&path, Kind::Letters).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
