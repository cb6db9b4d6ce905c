//! The documents are true: paths that they name exist.

use std::path::Path;

use anyhow::Result;

#[test]
fn every_path_that_the_documents_name_exists() -> Result<()> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests stand below the top");
    let mut entries: Vec<String> =
        top.read_dir()?.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned())).collect::<Result<_, _>>()?;
    // What a build makes is there once it was made.
    entries.retain(|e| e != "target");
    let mut missing = Vec::new();
    for document in ["ARCHITECTURE.md", "README.md"] {
        let text = std::fs::read_to_string(top.join(document))?;
        for quoted in text.split('`').skip(1).step_by(2) {
            let first = quoted.split('/').next().unwrap_or_default();
            let is_path = entries.iter().any(|e| e == first) && !quoted.contains([' ', '{', '*', '\n']);
            if is_path && !top.join(quoted).exists() {
                missing.push(format!("{document}: {quoted}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    Ok(())
}
