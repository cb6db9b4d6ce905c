//! The hash that chains the entries of the audit: made by the controller, checked by whoever holds an export.

/// The texts of an entry, in the order of its columns: principal, from, act, object, reason, result, details.
pub type Fields<'a> = [&'a str; 7];

/// `audit/v1`: BLAKE3 over the number, the time and each field with its length before it, the hash of the entry before
/// being the last.
pub fn chain_hash(seq: u64, at_ms: i64, fields: Fields<'_>, prev: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"lampas audit/v1");
    hasher.update(&seq.to_le_bytes());
    hasher.update(&at_ms.to_le_bytes());
    for field in fields.into_iter().chain([prev]) {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The head of the chain at some moment, as agents keep and countersign it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// The epoch of generations: a restored backup opens a new one, in which the chain may be shorter.
    pub epoch: u64,
    /// The number of the last entry.
    pub seq: u64,
    /// Its hash.
    pub hash: crate::desired::ContentHash,
}

impl Head {
    /// Returns what a node signs: that it saw this head.
    pub fn to_signed_text(&self, fleet: crate::id::FleetId, node: crate::id::NodeId, at_ms: i64) -> String {
        let Self { epoch, seq, hash } = self;
        format!(
            "LAMPAS audit head, version 1\nfleet {fleet}\nnode {node}\nepoch {epoch}\nseq {seq}\nhash {hash}\nat {at_ms}\n"
        )
    }

    /// Returns whether a chain that had this head can't have the other one later: the number went back, or the same entry
    /// has another hash. A new epoch begins anew.
    pub fn is_contradicted_by(&self, later: &Self) -> bool {
        later.epoch < self.epoch
            || (later.epoch == self.epoch
                && (later.seq < self.seq || (later.seq == self.seq && later.hash != self.hash)))
    }
}

/// A head with a node's signature under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Countersigned {
    /// The head.
    pub head: Head,
    /// When, by the node's clock, in milliseconds.
    pub at_ms: i64,
    /// Over [`Head::to_signed_text`], with the key of the node's certificate: ECDSA P-256, SHA-256, ASN.1.
    pub signature: Vec<u8>,
    /// A head that the node was shown before and that this one contradicts.
    pub contradicts: Option<Head>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_counts_and_none_flows_into_the_next() {
        let fields = ["user:admin", "10.0.0.1", "node.update", "web-1", "", "done", "{}"];
        let whole = chain_hash(7, 1000, fields, "p");
        // Frozen: entries of every release are checked by it.
        assert_eq!(whole, "40ede9cf2b470c8316bc1efee6357f360e8ec0d0f95d72f65fef37b7fcc674a2");
        let mut seen = std::collections::BTreeSet::from([whole]);
        assert!(seen.insert(chain_hash(8, 1000, fields, "p")));
        assert!(seen.insert(chain_hash(7, 1001, fields, "p")));
        assert!(seen.insert(chain_hash(7, 1000, fields, "q")));
        for at in 0..7 {
            let mut other = fields;
            other[at] = "x";
            assert!(seen.insert(chain_hash(7, 1000, other, "p")), "{at}");
        }
        let moved = ["user:admin1", "0.0.0.1", "node.update", "web-1", "", "done", "{}"];
        assert!(seen.insert(chain_hash(7, 1000, moved, "p")));
    }
}
