//! The node's version of an object, as an object again. Pure.

mod account;

use lampas_render::{crontab, hosts, schedule::Zone};
use lampas_shared::{
    error::Chain,
    host::{AptSource, Aspect, GroupName, HostsSource, ManagedFile, Service, UserName},
    id::ObjectId,
    object::{Body, ObjectSpec, Target},
    report::ObservedFile,
};

use super::merge;

/// What adopting a drift means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Adoption {
    /// The object says what the node has.
    Put(Box<ObjectSpec>),
    /// The object with the node's owner and mode, and what stands there, to be merged into its template.
    Merge(Box<ObjectSpec>, String),
    /// The node has nothing there: the object goes.
    Delete,
}

/// Reads the node's version. `content` are the bytes that `observed` describes.
///
/// # Errors
/// With a sentence that says why not.
pub(crate) fn adopt(
    object: ObjectId,
    spec: &ObjectSpec,
    target: &Target,
    observed: Option<&ObservedFile>,
    content: Option<&[u8]>,
    zone: &Zone,
) -> Result<Adoption, String> {
    let Some(observed) = observed else {
        return match &spec.body {
            Body::Hosts(_) => {
                Err("the managed block is gone from the node; revert it, or delete its objects".to_owned())
            }
            Body::Service(service) => without(spec, service, target),
            // Who has no keys is not to lose the account.
            Body::User(_) | Body::Group(_)
                if !["user:", "group:"].iter().any(|own| target.as_str().starts_with(own)) =>
            {
                Err("it is gone from the node, but the account may not be; revert it, or take it out of the object"
                    .to_owned())
            }
            _ => Ok(Adoption::Delete),
        };
    };
    if observed.is_writable_by_others && is_trusted(&spec.body) {
        return Err(format!(
            "somebody other than root could have written it (owner {}, mode {}), and root trusts it; look at it and make the change by hand",
            observed.owner, observed.mode
        ));
    }
    // A node tells of a link what it points to, and the mode that all links have.
    if observed.mode.bits() == 0o777 && matches!(spec.body, Body::File(_) | Body::Script(_)) {
        let why = "a link stands there, or a file that everybody may write; look at it and make the change by hand";
        return Err(why.to_owned());
    }
    if let Some(why) = templated(&spec.body, target) {
        return Err(why.to_owned());
    }
    let merged = merge::template(&spec.body).map(|_| merge::theirs(&spec.body, observed, content)).transpose()?;
    let mut adopted = spec.clone();
    match &mut adopted.body {
        Body::Var(_) | Body::Secret(_) => return Err("it puts nothing on a node".to_owned()),
        Body::Directory(directory) => {
            directory.owner = owner(observed)?;
            directory.group = group(observed)?;
            directory.mode = observed.mode;
        }
        Body::Link(link) => link.target = text(content)?,
        // The running kernel shows the value, the file the whole line.
        Body::Sysctl(sysctl) => {
            let text = text(content)?;
            sysctl.value = text.split_once('=').map_or(text.as_str(), |(_, value)| value).trim().to_owned();
        }
        Body::Service(service) => adopt_unit(service, target, &text(content)?)?,
        Body::User(_) | Body::Group(_) | Body::Package(_) => {
            account::adopt(&mut adopted.body, target, &text(content)?)?;
        }
        Body::AptSource(source) if AptSource::is_key_path(target.as_str().trim_start_matches("path:")) => {
            source.key = AptSource::with_key_bytes(bytes(content)?);
        }
        Body::AptSource(source) => source.take_list(&text(content)?)?,
        Body::Sudoers(sudoers) => sudoers.content = text(content)?,
        Body::File(file) if merged.is_some() => {
            file.owner = owner(observed)?;
            file.group = group(observed)?;
            file.mode = observed.mode;
        }
        Body::Script(script) if merged.is_some() => {
            script.owner = owner(observed)?;
            script.group = group(observed)?;
            script.mode = observed.mode;
        }
        Body::File(file) => {
            (file.content, file.encoding) = ManagedFile::encode(bytes(content)?);
            file.owner = owner(observed)?;
            file.group = group(observed)?;
            file.mode = observed.mode;
        }
        Body::Script(script) => {
            script.content = text(content)?;
            script.owner = owner(observed)?;
            script.group = group(observed)?;
            script.mode = observed.mode;
        }
        Body::Cron(job) => {
            let read = crontab::read_back(&text(content)?, object, job, zone).map_err(|e| Chain(&e).to_string())?;
            *job = read.job;
        }
        Body::Hosts(entry) => {
            let Ok(HostsSource::Line(address, names)) = entry.source() else {
                return Err("its lines are generated from the fleet; change the nodes' addresses instead".to_owned());
            };
            let lines = hosts::read_back(bytes(content)?).map_err(|e| Chain(&e).to_string())?;
            let has_name = |l: &&hosts::HostsLine| {
                l.names.iter().any(|n| names.iter().any(|o| o.as_str().eq_ignore_ascii_case(n.as_str())))
            };
            let mut candidates: Vec<_> = lines.iter().filter(has_name).collect();
            if candidates.is_empty() {
                candidates = lines.iter().filter(|l| l.address == address).collect();
            }
            match candidates.as_slice() {
                [] => return Ok(Adoption::Delete),
                [line] => {
                    let line = (*line).clone();
                    entry.address = Some(line.address);
                    entry.names = line.names;
                    entry.comment = line.comment;
                }
                _ => return Err("several lines of the block have its names; make the change by hand".to_owned()),
            }
        }
    }
    adopted.check().map_err(|e| e.to_string())?;
    Ok(match merged {
        Some(theirs) => Adoption::Merge(Box::new(adopted), theirs),
        None => Adoption::Put(Box::new(adopted)),
    })
}

/// A unit's object without a file that is gone from the node.
fn without(spec: &ObjectSpec, service: &Service, target: &Target) -> Result<Adoption, String> {
    let mut service = service.clone();
    match part(target) {
        Part::Override => service.drop_in = None,
        Part::File => service.unit = None,
        Part::Aspect(_) => return Err("the node has no such unit; delete the object, or put the unit back".to_owned()),
    }
    if service.unit.is_none() && service.drop_in.is_none() {
        service.on_change.clear();
    }
    let adopted = ObjectSpec { body: Body::Service(service), ..spec.clone() };
    // What says nothing any more has no reason to stay.
    Ok(if adopted.check().is_ok() { Adoption::Put(Box::new(adopted)) } else { Adoption::Delete })
}

enum Part {
    File,
    Override,
    Aspect(Aspect),
}

/// Which part of a unit a target is.
fn part(target: &Target) -> Part {
    let text = target.as_str();
    match Aspect::ALL.into_iter().find(|a| text.starts_with("unit:") && text.ends_with(&format!("/{}", a.as_str()))) {
        Some(aspect) => Part::Aspect(aspect),
        None if text.ends_with(".d/lampas.conf") => Part::Override,
        None => Part::File,
    }
}

fn adopt_unit(service: &mut Service, target: &Target, text: &str) -> Result<(), String> {
    let aspect = match part(target) {
        Part::File => {
            service.unit = Some(text.to_owned());
            return Ok(());
        }
        Part::Override => {
            service.drop_in = Some(text.to_owned());
            return Ok(());
        }
        Part::Aspect(aspect) => aspect,
    };
    let found = text.trim();
    let is_so = [true, false].into_iter().find(|is_so| aspect.word(*is_so) == found);
    let is_so = is_so.ok_or_else(|| format!("the unit is {found}, which is nothing that it shall be"))?;
    match aspect {
        Aspect::Masked => service.masked = Some(is_so),
        Aspect::Enabled => service.enabled = Some(is_so),
        Aspect::Running => service.running = Some(is_so),
    }
    Ok(())
}

/// Says why what a template made can't be taken back: the names would be lost, and with them what is secret.
fn templated(body: &Body, target: &Target) -> Option<&'static str> {
    if let Body::User(_) = body {
        let is_password = target.as_str().starts_with("password:");
        return is_password
            .then_some("no object holds a password: set the secret to its hash, leave it unmanaged, or revert it");
    }
    // Variables of a job are names and values, not lines.
    let is_job = matches!(body, Body::Cron(job) if job.template);
    is_job.then_some(
        "its variables are made from templates, whose names would be lost; make the change there, or revert it",
    )
}

/// Whether root executes or trusts what stands there.
fn is_trusted(body: &Body) -> bool {
    match body {
        Body::Var(_) | Body::Secret(_) => false,
        Body::Script(_) | Body::Cron(_) | Body::Hosts(_) | Body::Sudoers(_) | Body::Sysctl(_) | Body::Service(_) => {
            true
        }
        Body::File(file) => file.owner == UserName::root() || file.mode.bits() & 0o6111 != 0,
        Body::Directory(directory) => directory.owner == UserName::root(),
        Body::Link(_) | Body::User(_) | Body::Group(_) | Body::Package(_) | Body::AptSource(_) => true,
    }
}

fn bytes(content: Option<&[u8]>) -> Result<&[u8], String> {
    content.ok_or_else(|| format!("it is larger than {} KiB", ObservedFile::MAX_BYTES >> 10))
}

fn text(content: Option<&[u8]>) -> Result<String, String> {
    let text = std::str::from_utf8(bytes(content)?).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(text.to_owned())
}

fn owner(observed: &ObservedFile) -> Result<UserName, String> {
    UserName::parse(observed.owner.clone()).map_err(|_| format!("its owner {} has no name", observed.owner))
}

fn group(observed: &ObservedFile) -> Result<GroupName, String> {
    GroupName::parse(observed.group.clone()).map_err(|_| format!("its group {} has no name", observed.group))
}

#[cfg(test)]
mod tests {
    use lampas_shared::{desired::ContentHash, host::FileMode, time::UnixMs};

    use super::*;

    fn observed(content: &[u8], owner: &str, is_writable_by_others: bool) -> ObservedFile {
        ObservedFile {
            content: None,
            hash: ContentHash::of(content),
            owner: owner.to_owned(),
            group: "root".to_owned(),
            mode: FileMode::new(0o640).expect("a mode"),
            modified_at: UnixMs(1),
            is_writable_by_others,
        }
    }

    fn file(owner: &str) -> ObjectSpec {
        serde_json::from_value(serde_json::json!({
            "name": "motd", "scope": "fleet",
            "body": { "kind": "file", "path": "/etc/motd", "content": "old\n", "owner": owner },
        }))
        .expect("a spec")
    }

    fn check(spec: &ObjectSpec, found: Option<(&ObservedFile, Option<&[u8]>)>, expected: Result<&str, &str>) {
        let target = spec.targets().expect("targets")[0].clone();
        let id = ObjectId::parse("0190a000-0000-7000-8000-000000000001").expect("an id");
        let got = adopt(id, spec, &target, found.map(|f| f.0), found.and_then(|f| f.1), &Zone::utc());
        match (got, expected) {
            (Ok(Adoption::Delete), Ok("delete")) => {}
            (Ok(Adoption::Put(spec)), Ok(part)) => assert!(crate::host::text(&spec).contains(part), "{spec:?}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (got, _) => panic!("{got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn keys_that_are_gone_take_no_account_along() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrpNzIH4o8yMYp2yuhPq0w5vPDJzbKpWEHSyMjRvAhQ bo@desk";
        let spec: ObjectSpec = serde_json::from_value(serde_json::json!({
            "name": "ann", "scope": "fleet", "body": { "kind": "user", "authorized_keys": [key] },
        }))
        .expect("a spec");
        let id = ObjectId::parse("0190a000-0000-7000-8000-000000000001").expect("an id");
        let name = UserName::parse("ann").expect("a name");
        for (target, is_account) in [(Target::user(&name), true), (Target::keys(&name), false)] {
            let got = adopt(id, &spec, &target, None, None, &Zone::utc());
            assert_eq!(got == Ok(Adoption::Delete), is_account, "{target}: {got:?}");
        }
    }

    #[test]
    fn a_file_is_adopted_with_owner_mode_and_bytes() {
        let found = observed(b"new\n", "www-data", false);
        check(&file("root"), Some((&found, Some(b"new\n"))), Ok("new"));
        check(&file("root"), Some((&found, Some(b"new\n"))), Ok("www-data"));
        check(&file("root"), Some((&found, Some(b"\xff\x00"))), Ok("base64"));
        check(&file("root"), None, Ok("delete"));
    }

    #[test]
    fn a_link_is_no_file() {
        let link =
            ObservedFile { mode: FileMode::new(0o777).expect("a mode"), ..observed(b"/etc/shadow", "root", false) };
        check(&file("root"), Some((&link, Some(b"/etc/shadow"))), Err("a link stands there"));
    }

    #[test]
    fn what_root_trusts_is_not_taken_from_others() {
        let found = observed(b"new\n", "www-data", true);
        check(&file("root"), Some((&found, Some(b"new\n"))), Err("other than root"));
        check(&file("www-data"), Some((&found, Some(b"new\n"))), Ok("new"));
        let nobody = observed(b"new\n", "1234", false);
        check(&file("root"), Some((&nobody, Some(b"new\n"))), Err("has no name"));
        check(&file("root"), Some((&observed(b"", "root", false), None)), Err("larger than 256 KiB"));
    }
}
