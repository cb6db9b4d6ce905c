//! Manifests: read or refused; what is read is exported and read again as the same.
#![no_main]

use lampas_manifest::{ManifestFile, export, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let sources = |_: &str, source: &str| Ok(format!("#!/bin/sh\n# {source}\n").into_bytes());
    let read = |text: &str| parse(&[ManifestFile { name: "fuzz.toml", text }], &sources);
    let Ok(entries) = read(text) else { return };
    let objects: Vec<_> = entries.into_iter().filter_map(|entry| entry.spec).collect();
    let again = read(&export(&objects)).expect("an export is right");
    assert_eq!(again.into_iter().filter_map(|entry| entry.spec).collect::<Vec<_>>(), objects);
});
