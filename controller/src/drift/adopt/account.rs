//! What a node says of accounts, groups and packages, as objects again. Pure.

use lampas_shared::object::{Body, Target};

/// Takes what stands on the node into an object.
///
/// # Errors
/// With a sentence that says why not.
pub(super) fn adopt(body: &mut Body, target: &Target, text: &str) -> Result<(), String> {
    let _ = text;
    Err(format!("{target} of a {} can't be read back; make the change by hand", body.kind()))
}
