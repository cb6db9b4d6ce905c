//! The way back: the managed block of a hosts file, edited by hand, as lines again.

use lampas_shared::{TextError, check_line, host::HostName};
use thiserror::Error;

use super::{HostsLine, InvalidLine, LineContent, parse};

/// Why a block can't be adopted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostsAdoptError {
    /// A line says nothing to the resolver.
    #[error("line {line} of the block can't be adopted: {reason}")]
    Line {
        /// The line's number within the block, from 1.
        line: usize,
        /// What is wrong with it.
        reason: InvalidLine,
    },
    /// A name or comment isn't allowed in an object.
    #[error("line {line} of the block can't be adopted")]
    Text {
        /// The line's number within the block, from 1.
        line: usize,
        /// What is wrong with it.
        source: TextError,
    },
}

/// Reads the lines of a managed block, with or without its markers. Lines that are only a comment are left out.
///
/// # Errors
/// At the first line that can't be an entry of an object.
pub fn read_back(block: &[u8]) -> Result<Vec<HostsLine>, HostsAdoptError> {
    let mut lines = Vec::new();
    for (index, line) in parse(block).lines.into_iter().enumerate() {
        let number = index + 1;
        match line.content {
            LineContent::Blank | LineContent::Comment => {}
            LineContent::Invalid(reason) => return Err(HostsAdoptError::Line { line: number, reason }),
            LineContent::Entry { address, names, comment } => {
                let wrong = |source| HostsAdoptError::Text { line: number, source };
                let names = names.into_iter().map(HostName::parse).collect::<Result<_, _>>().map_err(wrong)?;
                check_line("comment", &comment, 200).map_err(wrong)?;
                lines.push(HostsLine { address, names, comment });
            }
        }
    }
    Ok(lines)
}
