//! What somebody without the permission `read_content` sees of an object: everything but contents that aren't
//! world-readable on the node. Of those a hash is shown, so that a change still shows as one.

use lampas_shared::{
    desired::ContentHash,
    host::CronTable,
    object::{Body, Kind, ObjectSpec},
};

/// Returns whether what the object says is readable by everybody on the node.
pub(crate) fn is_public(spec: &ObjectSpec) -> bool {
    match &spec.body {
        Body::File(file) => file.mode.bits() & 0o004 != 0,
        Body::Script(script) => script.mode.bits() & 0o004 != 0,
        // A user's crontab is 0600 on the node; system files are 0644.
        Body::Cron(job) => job.table == CronTable::System,
        // 0440 on the node.
        Body::Sudoers(_) => false,
        // Units are 0644 on the node.
        Body::Var(_)
        | Body::Secret(_)
        | Body::Hosts(_)
        | Body::Directory(_)
        | Body::Link(_)
        | Body::Sysctl(_)
        | Body::Service(_) => true,
        // Sources and public keys are 0644 on the node; passwd, group and dpkg's records can be read by everybody; of keys only their public halves are here.
        Body::User(_) | Body::Group(_) | Body::Package(_) | Body::AptSource(_) => true,
    }
}

/// Returns whether objects of a kind can hold what isn't readable by everybody on the node: those do of which [`is_public`]
/// doesn't say that none does.
pub(super) fn may_hide(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Var
            | Kind::Secret
            | Kind::Hosts
            | Kind::Directory
            | Kind::Link
            | Kind::Sysctl
            | Kind::Service
            | Kind::User
            | Kind::Group
            | Kind::Package
            | Kind::AptSource
    )
}

/// Takes the content out, leaving nothing, or a hash of it.
pub(crate) fn mask(spec: &mut ObjectSpec, with_hash: bool) {
    let hide = |text: &mut String| {
        *text = if with_hash { format!("(content {})", ContentHash::of(text.as_bytes())) } else { String::new() };
    };
    match &mut spec.body {
        Body::File(file) => {
            hide(&mut file.content);
            file.encoding = lampas_shared::host::Encoding::default();
        }
        Body::Script(script) => hide(&mut script.content),
        Body::Sudoers(sudoers) => hide(&mut sudoers.content),
        Body::Cron(job) => {
            hide(&mut job.command);
            job.environment.clear();
        }
        Body::Var(_)
        | Body::Secret(_)
        | Body::Hosts(_)
        | Body::Directory(_)
        | Body::Link(_)
        | Body::Sysctl(_)
        | Body::Service(_) => {}
        Body::User(_) | Body::Group(_) | Body::Package(_) | Body::AptSource(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: &str) -> ObjectSpec {
        let json = serde_json::json!({"name": "f", "scope": "fleet", "body": {"kind": "file", "path": "/etc/f", "content": "secret", "mode": mode}});
        serde_json::from_value(json).expect("a spec")
    }

    #[test]
    fn what_the_node_keeps_from_others_is_masked() {
        for (mode, public) in [("0644", true), ("0640", false), ("0600", false)] {
            assert_eq!(is_public(&file(mode)), public, "{mode}");
        }
        let mut spec = file("0600");
        mask(&mut spec, true);
        let Body::File(file) = &spec.body else { panic!("is a file") };
        assert!(file.content.starts_with("(content ") && !file.content.contains("secret"));
    }
}
