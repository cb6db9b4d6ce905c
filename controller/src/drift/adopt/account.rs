//! What a node says of accounts, groups and packages, as objects again. Pure.

use lampas_render::{
    account::{Account, Login, parse_group, parse_members},
    package::Package as Installed,
};
use lampas_shared::{
    host::{AuthorizedKey, Ensure, Expiry, GroupName, ManagedPath, PackageEnsure, PackageVersion, User, UserName},
    object::{Body, Target},
};

/// Takes what stands on the node into an object: of what the object says, what the node says.
///
/// # Errors
/// With a sentence that says why not.
pub(super) fn adopt(body: &mut Body, target: &Target, text: &str) -> Result<(), String> {
    let unread = || format!("what the node says of {target} can't be read; make the change by hand");
    match body {
        Body::User(user) if target.as_str().starts_with("keys:") => adopt_keys(user, text),
        Body::User(user) => adopt_user(user, &Account::parse(text).ok_or_else(unread)?),
        Body::Group(group) if target.as_str().starts_with("members:") => {
            let members = parse_members(text).into_iter().map(|m| UserName::parse(m).map_err(|e| e.to_string()));
            group.members = Some(members.collect::<Result<_, _>>()?);
            Ok(())
        }
        Body::Group(group) => {
            let gid = parse_group(text).ok_or_else(unread)?;
            group.ensure = Ensure::Present;
            group.gid = group.gid.map(|_| gid);
            Ok(())
        }
        Body::Package(package) => {
            let (version, is_held) = Installed::parse_text(text)
                .ok_or_else(|| "the package is half installed on the node; revert it, or mend it there".to_owned())?;
            package.ensure = PackageEnsure::Present;
            if package.version.is_some() {
                package.version = Some(PackageVersion::parse(version).map_err(|e| e.to_string())?);
            }
            package.held = package.held.map(|_| is_held).or_else(|| is_held.then_some(true));
            Ok(())
        }
        _ => Err(unread()),
    }
}

fn adopt_user(user: &mut User, account: &Account) -> Result<(), String> {
    let wrong = |error: lampas_shared::TextError| error.to_string();
    user.ensure = Ensure::Present;
    user.remove_home = false;
    user.uid = user.uid.map(|_| account.uid);
    if user.group.is_some() {
        user.group = Some(GroupName::parse(account.group.as_str()).map_err(wrong)?);
    }
    if user.groups.is_some() {
        let groups = account.groups.iter().map(|g| GroupName::parse(g.as_str()).map_err(wrong));
        user.groups = Some(groups.collect::<Result<_, _>>()?);
    }
    if user.home.is_some() {
        user.home = Some(ManagedPath::parse(account.home.as_str()).map_err(wrong)?);
    }
    if user.shell.is_some() {
        user.shell = Some(ManagedPath::parse(account.shell.as_str()).map_err(wrong)?);
    }
    user.comment = user.comment.take().map(|_| account.comment.clone());
    let is_locked = account.login == Login::Locked;
    user.locked = user.locked.map(|_| is_locked);
    if !is_locked && (user.expires.is_some() || account.expires.is_some()) {
        user.expires = Some(Expiry::of_days(account.expires));
    }
    Ok(())
}

fn adopt_keys(user: &mut User, text: &str) -> Result<(), String> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let keys = lines.map(|line| AuthorizedKey::parse(line).map_err(|e| e.to_string()));
    user.authorized_keys = Some(keys.collect::<Result<_, _>>()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, target: &str, text: &str, expected: &str) {
        let mut body: Body = serde_json::from_str(body).expect("a body");
        let target = Target::parse(target).expect("a target");
        match adopt(&mut body, &target, text) {
            Ok(()) => assert_eq!(serde_json::to_string(&body).expect("JSON"), expected),
            Err(why) => assert!(why.contains(expected), "{why}"),
        }
    }

    #[test]
    fn what_the_object_says_follows_the_node_and_the_rest_stays_unsaid() {
        let account = "uid 1500\ngroup ann 1500\ngroups adm,sudo\nhome /home/ann\nshell /bin/zsh\ncomment Ann\nlogin open\n\
                       expires never\n";
        check(
            r#"{"kind":"user","shell":"/bin/sh","groups":[]}"#,
            "user:ann",
            account,
            r#"{"kind":"user","ensure":"present","groups":["adm","sudo"],"shell":"/bin/zsh","system":false,"exclusive_keys":false,"remove_home":false}"#,
        );
        check(
            r#"{"kind":"group","members":[]}"#,
            "members:ops",
            "ann\nbob\n",
            r#"{"kind":"group","ensure":"present","system":false,"members":["ann","bob"]}"#,
        );
        check(
            r#"{"kind":"package","version":"1.0"}"#,
            "package:hello",
            "installed 2.0\nheld\n",
            r#"{"kind":"package","ensure":"present","version":"2.0","held":true,"recommends":true,"allow_removals":false}"#,
        );
        check(r#"{"kind":"package"}"#, "package:hello", "half installed 2.0\n", "half installed");
        check(r#"{"kind":"user"}"#, "user:ann", "nonsense", "can't be read");
    }
}
