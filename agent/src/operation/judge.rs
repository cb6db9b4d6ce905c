//! What the node's own policy says of a run.

use std::{fs, os::unix::fs::MetadataExt as _};

use lampas_shared::{error::Fault, object::ObjectName, operation::RunOrder};

use crate::{
    policy::Ruling,
    signature::{NO_SECRETS, SIGNATURE, loose_text},
    system::{Account, Accounts, Root},
};

/// Groups whose members can make themselves root, on the distributions that LAMPAS runs on.
const POWERFUL: [&str; 9] = ["root", "sudo", "wheel", "admin", "docker", "lxd", "disk", "kmem", "shadow"];
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
        let text = "the node only observes: its policy says observe = true, so that nothing runs";
        return Err(Fault::lasting("policy.observe", text));
    }
    let accounts = root.accounts();
    let account = accounts.user(order.user.as_str());
    let Some(effect) = account.and_then(|a| root_code(root, &accounts, order.user.as_str(), &a)) else {
        return Ok(None);
    };
    match ruling {
        Ruling::Malformed(why) => {
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

/// Why a run of this user does what root could do; `None` when nothing says so.
fn root_code(root: &Root, accounts: &Accounts, name: &str, account: &Account) -> Option<String> {
    if account.uid == 0 || account.gid == 0 {
        return Some("a run as root".to_owned());
    }
    // Below another root an unprivileged agent can only be itself.
    let groups = accounts.memberships(name, account.gid);
    if let Some(group) = POWERFUL.iter().find(|g| groups.iter().any(|(n, _)| n == *g)) {
        return Some(format!("a run as {name}, who is in the group {group}"));
    }
    let may_write = |path: &str| {
        let path = root.path().join(path.trim_start_matches('/'));
        fs::symlink_metadata(path).is_ok_and(|m| {
            let is_groups = groups.iter().any(|(_, gid)| *gid == m.gid()) && m.mode() & 0o020 != 0;
            (m.uid() == account.uid && m.mode() & 0o200 != 0) || is_groups || m.mode() & 0o1002 == 0o002
        })
    };
    EXECUTED.iter().find(|path| may_write(path)).map(|path| format!("a run as {name}, who can write {path}"))
}
