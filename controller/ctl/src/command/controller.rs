//! The controller that answers.

use lampas_api::ControllerStatus;

use super::{CommandError, Context};
use crate::output;

/// Shows how the controller stands; fails when a key isn't the store's.
pub(super) async fn show(context: &Context) -> Result<u8, CommandError> {
    let status: ControllerStatus = context.client.get("/controller", &[]).await?;
    let is_good = status.keys.iter().all(|k| k.state.is_good());
    if context.is_json() {
        output::json(&status);
        return Ok(u8::from(!is_good));
    }
    output::line(format!("{}  controller {}  version {}", status.name, status.id, status.version));
    let row = |k: &lampas_api::SealingKey| vec![k.file.clone(), k.state.as_str().to_owned(), k.holds.clone()];
    output::table(&["KEY", "STATE", "HOLDS"], status.keys.iter().map(row).collect());
    for problem in status.keys.iter().filter_map(|k| k.problem.as_deref()) {
        output::note(problem);
    }
    Ok(u8::from(!is_good))
}
