#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

/// The definition in RFC 9162, 2.1.1.
fn plain_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => blake3::hash(b"").into(),
        [leaf] => *leaf,
        _ => {
            let powers = (0..).map(|i| 1_usize << i);
            let k = powers.take_while(|k| *k < leaves.len()).last().unwrap();
            let (left, right) = (plain_root(&leaves[..k]), plain_root(&leaves[k..]));
            blake3::hash(&[&[1][..], &left, &right].concat()).into()
        }
    }
}

fn leaves(n: usize) -> Vec<Hash> {
    (0..n as u64).map(|i| leaf_hash(&i.to_le_bytes())).collect()
}

fn log(leaves: &[Hash]) -> MerkleLog {
    let mut log = MerkleLog::new();
    log.extend(leaves.iter().copied());
    log
}

#[test]
fn every_root_is_that_of_the_definition_and_the_state_stays_small() {
    let leaves = leaves(300);
    let mut log = MerkleLog::new();
    for n in 0..=leaves.len() {
        assert_eq!(log.root(), plain_root(&leaves[..n]), "{n}");
        assert_eq!(log.len(), n as u64);
        assert!(log.peaks.len() <= 9, "{n}");
        if let Some(leaf) = leaves.get(n) {
            log.push(*leaf);
        }
    }
}

#[test]
fn every_leaf_has_a_proof_and_no_other_place() {
    for n in 1..=40 {
        let leaves = leaves(n);
        let root = log(&leaves).root();
        for (i, leaf) in leaves.iter().enumerate() {
            let proof = inclusion_proof(&leaves, i);
            assert!(proof.len() <= 6);
            for at in 0..=n as u64 {
                let holds = verify_inclusion(*leaf, at, n as u64, &proof, root);
                assert_eq!(holds, at == i as u64, "leaf {i} of {n} at {at}");
            }
        }
    }
}

#[test]
fn a_longer_log_is_shown_to_begin_with_a_shorter_one_and_with_no_other() {
    for n in 1..=40_usize {
        let all = leaves(n);
        let root = log(&all).root();
        for m in 1..=n {
            let first = log(&all[..m]).root();
            let proof = consistency_proof(&all, m);
            assert!(proof.len() <= 7);
            let holds = |m: usize, first, n: usize, root, proof: &[Hash]| {
                verify_consistency((m as u64, first), (n as u64, root), proof)
            };
            assert!(holds(m, first, n, root, &proof), "{m} of {n}");
            for other in (0..=n + 1).filter(|other| *other != m) {
                assert!(!holds(other, first, n, root, &proof), "{m} of {n} as {other}");
            }
            // Another leaf anywhere is another log.
            for at in 0..m {
                let mut forged = all[..m].to_vec();
                forged[at] = leaf_hash(b"forged");
                assert!(!holds(m, log(&forged).root(), n, root, &proof), "{at} of {m} of {n}");
            }
            for at in 0..proof.len() {
                let mut forged = proof.clone();
                forged[at][0] ^= 1;
                assert!(!holds(m, first, n, root, &forged), "{m} of {n}");
                assert!(!holds(m, first, n, root, &proof[..at]), "{m} of {n}");
            }
            assert!(!holds(m, first, n, root, &[&proof[..], &[first]].concat()), "{m} of {n}");
        }
        assert!(consistency_proof(&all, 0).is_empty() && consistency_proof(&all, n + 1).is_empty());
    }
}

#[test]
fn leaves_nodes_and_lengths_do_not_pass_for_each_other() {
    let leaves = leaves(2);
    let root = log(&leaves).root();
    assert_eq!(leaf_hash(b"abc"), Hash::from(blake3::hash(b"\0abc")));
    // A node's two children as the data of a leaf.
    assert_ne!(leaf_hash(&leaves.concat()), root);
    assert_eq!(inclusion_proof(&leaves, 2), Vec::<Hash>::new());
    assert!(!verify_inclusion(root, 0, 0, &[], root));
    assert!(verify_inclusion(root, 0, 1, &[], root));
    assert!(!verify_inclusion(root, 0, u64::MAX, &[], root));
    let proof = inclusion_proof(&leaves, 0);
    assert!(!verify_inclusion(leaves[0], 0, 2, &[], root));
    assert!(!verify_inclusion(leaves[0], 0, 2, &[proof[0], proof[0]], root));
}

/// Roots are signed and kept: they must not change with the code.
#[test]
fn roots_are_those_of_earlier_versions() {
    let hex = |log: &MerkleLog| blake3::Hash::from(log.root()).to_string();
    let roots = [0, 1, 5].map(|n| hex(&log(&leaves(n))));
    assert_eq!(
        roots,
        [
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            "9d15372b1830735a0a2d05214669e3271a754aac46fe303b68bb3046013a0574",
            "49c8fc0c045016dd643efade4b32a2b3e86455f0e443800e31c209eb9a017e31",
        ]
    );
}

#[test]
fn a_stored_log_goes_on_and_a_damaged_one_is_refused() {
    let leaves = leaves(22);
    let (first, rest) = leaves.split_at(13);
    let stored = serde_json::to_string(&log(first)).unwrap();
    let mut read: MerkleLog = serde_json::from_str(&stored).unwrap();
    read.extend(rest.iter().copied());
    assert_eq!(read, log(&leaves));

    for (from, to) in [(":13", ":14"), (":13", ":12"), ("[\"", "[\"x"), ("]}", ",\"00\"]}")] {
        let damaged = stored.replacen(from, to, 1);
        assert_ne!(damaged, stored);
        let read = serde_json::from_str::<MerkleLog>(&damaged);
        // Of 13 leaves and of 14 there are three perfect trees: only a root tells these apart.
        assert_eq!(read.is_ok(), to == ":14", "{damaged}");
    }
}

proptest! {
    #[test]
    fn altered_proofs_show_nothing(
        n in 1_usize..200,
        i: prop::sample::Index,
        byte: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let leaves = leaves(n);
        let i = i.index(n);
        let root = log(&leaves).root();
        let mut proof = inclusion_proof(&leaves, i);
        let n = n as u64;
        prop_assert!(verify_inclusion(leaves[i], i as u64, n, &proof, root));
        prop_assert_eq!(root, plain_root(&leaves));
        let mut more = proof.clone();
        more.push(root);
        prop_assert!(!verify_inclusion(leaves[i], i as u64, n, &more, root));
        if !proof.is_empty() {
            let byte = byte.index(proof.len() * 32);
            proof[byte / 32][byte % 32] ^= 1 << bit;
            prop_assert!(!verify_inclusion(leaves[i], i as u64, n, &proof, root));
            proof.pop();
            prop_assert!(!verify_inclusion(leaves[i], i as u64, n, &proof, root));
        }
    }
}
