//! TOML manifests ⇄ objects: what `lampasctl apply -f` reads and `export` writes.
//!
//! A manifest is a list of tables, one for each object: `[[cron]]`, `[[hosts]]`, `[[script]]`, `[[file]]`,
//! `[[directory]]` and `[[link]]`. Each has `name` and `scope`, may have `drift`, `state` and `previous_name`, and then the fields of its
//! kind, flat. All mistakes of all files are reported together, each as `FILE:LINE: field "value": reason`.
//!
//! [`parse`] and [`export`] are inverse: what is exported is read back as the same objects. Nothing here reads files;
//! the caller brings the text, and [`Sources`] for what `source = "…"` names.

mod error;
mod export;
mod parse;

pub use error::{ManifestError, ManifestErrors};
pub use export::export;
pub use parse::{
    MAX_ENTRIES, MAX_MANIFEST_BYTES, ManifestEntry, ManifestFile, NoSources, Sources, State, check_source_path, parse,
};
