//! Gives up all that a process can do but to talk over the network.

use lampas_shared::error::{Chain, Fault};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::getppid,
};

use crate::system::sandbox;

/// Gives it up; returns an error when it can't, and then nothing may be asked.
pub(super) fn give_up() -> Result<(), Fault> {
    let failed = |why: String| Fault::lasting("probe.no_sandbox", why);
    let parent = getppid();
    sandbox::keep_the_network().map_err(|e| failed(Chain(&e).to_string()))?;
    // The change of user took away that it ends with whoever watches over it.
    prctl::set_pdeathsig(Some(Signal::SIGKILL)).map_err(|e| failed(format!("no signal at the shim's end: {e}")))?;
    if getppid() != parent {
        return Err(failed("the shim is gone".to_owned()));
    }
    Ok(())
}
