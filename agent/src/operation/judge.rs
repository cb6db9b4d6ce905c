//! What the node's own policy says of a run.

use std::{fs, os::unix::fs::MetadataExt as _};

use lampas_shared::{error::Fault, object::ObjectName, operation::RunOrder};

use crate::{
    policy::{Ruling, why_powerful},
    signature::{NO_SECRETS, SIGNATURE, loose_text},
    system::{Account, Accounts, Root},
};

/// Directories whose content root executes or obeys; who may write there is as good as root.
const EXECUTED: [&str; 12] = [
    "/bin",
    "/sbin",
    "/lib",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/etc",
    "/etc/cron.d",
    "/etc/systemd/system",
    "/etc/sudoers.d",
    "/root",
];

/// Decides about a run: returns the serial of the statement that it uses up, where the policy wants one. `signed` asks
/// for it; `loose` is a secret whose value could become code.
///
/// # Errors
/// Why it is refused.
pub(super) fn judge(
    ruling: &Ruling,
    root: &Root,
    order: &RunOrder,
    loose: Option<&ObjectName>,
    signed: &dyn Fn() -> Result<u64, String>,
) -> Result<Option<u64>, Fault> {
    if ruling.observes() {
        return Err(Fault::lasting("policy.observe", observed(ruling)));
    }
    let accounts = root.accounts();
    let account = accounts.user(order.user.as_str());
    let Some(effect) = account.and_then(|a| root_code(root, &accounts, order.user.as_str(), &a)) else {
        return Ok(None);
    };
    match ruling {
        Ruling::Malformed { why, .. } => {
            let text = format!("this is root code ({effect}), and the node's policy can't be followed; mend it: {why}");
            Err(Fault::lasting("policy.malformed", text))
        }
        Ruling::Known(policy) if !policy.root_code => {
            let text = format!("the node's policy allows no root code, and this is: {effect}");
            Err(Fault::lasting("policy.root_code", text))
        }
        Ruling::Known(policy) if policy.require_signature => {
            let refused = |why: &str| {
                let text = format!("the node's policy wants an operator's signature for root code ({effect}): {why}");
                Fault::lasting(SIGNATURE, text)
            };
            if !order.secrets.is_empty() && !policy.signed_secrets {
                return Err(refused(NO_SECRETS));
            }
            if let Some(name) = loose {
                return Err(refused(&loose_text(name)));
            }
            signed().map(Some).map_err(|why| refused(&why))
        }
        Ruling::Known(_) | Ruling::Observing(_) => Ok(None),
    }
}

/// Says why nothing runs on a node that observes, and how to end that.
pub(super) fn observed(ruling: &Ruling) -> &'static str {
    match (ruling.owner_observes(), ruling.is_malformed()) {
        (true, true) => "the node's policy can't be followed, and none before it was, so that nothing runs",
        (true, false) => "the node only observes: its policy says observe = true, so that nothing runs",
        (false, _) => "the node only observes, so that nothing runs: take it over first (lampasctl node manage NODE)",
    }
}

/// Returns whether a run may gain no power on its way: where root code is guarded, whoever isn't as good as root must not
/// get there by a set-uid program or a rule of sudo.
pub(super) fn gains_nothing(ruling: &Ruling, root: &Root, name: &str, account: &Account) -> bool {
    ruling.guards_root_code() && root_code(root, &root.accounts(), name, account).is_none()
}

/// Why a run of this user does what root could do; `None` when nothing says so.
fn root_code(root: &Root, accounts: &Accounts, name: &str, account: &Account) -> Option<String> {
    if let Some(why) = why_powerful(accounts, name, account) {
        return Some(if account.uid == 0 { "a run as root".to_owned() } else { format!("a run as {name}, {why}") });
    }
    // Below another root an unprivileged agent can only be itself.
    let groups = accounts.memberships(name, account.gid);
    let may_write = |path: &str| {
        let path = root.path().join(path.trim_start_matches('/'));
        fs::symlink_metadata(path).is_ok_and(|m| {
            let is_groups = groups.iter().any(|(_, gid)| *gid == m.gid()) && m.mode() & 0o020 != 0;
            (m.uid() == account.uid && m.mode() & 0o200 != 0) || is_groups || m.mode() & 0o1002 == 0o002
        })
    };
    EXECUTED.iter().find(|path| may_write(path)).map(|path| format!("a run as {name}, who can write {path}"))
}
