//! `lampas-agent eject`: the node's owner takes LAMPAS off, with or without an agent that runs.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use lampas_runtime::config::load_or_default;
use lampas_shared::{error::Chain, scan::Ejected};

use super::{
    Output, ask,
    show::{put, say},
};
use crate::{
    config::{Config, Paths},
    control::{AskError, EjectedHere, Request},
    host::Tools,
    journal::Journal,
    link::Credentials,
    reconcile::{self, Settings},
    system::sandbox::Helper,
};

pub(super) fn run(paths: &Paths, yes: bool, output: Output) -> anyhow::Result<ExitCode> {
    if !yes {
        confirm()?;
    }
    let here: EjectedHere = match ask::ask(paths, &Request::Eject) {
        Ok(here) => here,
        Err(AskError::NotRunning { .. }) => {
            let untold = Some("the agent does not run".to_owned());
            EjectedHere { ejected: offline(paths)?, untold }
        }
        // The owner's word is the policy, and ends with the agent that follows it.
        Err(AskError::Fault(fault)) if fault.code == "policy.observe" => {
            bail!("{}; stop the agent first: systemctl stop lampas-agent", fault.message)
        }
        Err(error) => return Err(error.into()),
    };
    if output == Output::Json {
        put(&serde_json::to_string_pretty(&here)?);
        return Ok(ExitCode::SUCCESS);
    }
    let EjectedHere { ejected, untold } = &here;
    for place in &ejected.places {
        say(format!("{}   {}", place.path, place.what));
    }
    ejected.manifests.iter().for_each(|manifest| say(format!("manifest   {manifest}")));
    say("LAMPAS manages nothing here any more; the agent has no identity and stops");
    match untold {
        None => say("the controller knows, and no change is meant for this node any more"),
        Some(why) => say(format!(
            "no controller knows of it ({why}): take the node out of the fleet there, with lampasctl node remove"
        )),
    }
    Ok(ExitCode::SUCCESS)
}

fn confirm() -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!("what LAMPAS wrote stays as plain files, and the agent stops: give --yes to do this without a terminal");
    }
    eprint!("Leave plain files behind and forget this node's identity? [y/N] ");
    io::stderr().flush().context("asking")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("reading the answer")?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was done");
    }
    Ok(())
}

/// Without an agent: what the journal says is given back.
fn offline(paths: &Paths) -> anyhow::Result<Ejected> {
    let node = Credentials::load(&paths.identity()).context("this node has no identity: it is not in a fleet")?.node();
    let config: Config = load_or_default(&paths.config())?;
    let journal = Journal::open(&paths.journal()).map_err(|e| anyhow::anyhow!("{}", Chain(&e)))?;
    let wrapper = std::env::current_exe().context("finding the agent's own binary")?;
    let sandbox = Helper { path: wrapper.display().to_string(), args: vec!["sandbox".to_owned()], env: Vec::new() };
    let tools = Tools { sandbox };
    let settings = Settings { node, paths: paths.clone(), times: config.reconcile, wrapper, tools };
    let runtime = super::small_runtime()?;
    let (handle, _reconciler) = reconcile::open(settings, journal)?;
    Ok(runtime.block_on(handle.eject_now())?)
}
