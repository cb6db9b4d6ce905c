//! Makes accounts what a text says, by useradd(8), usermod(8), userdel(8) and their like for groups.

use std::time::Duration;

use lampas_render::account::{Account, Login, parse_group, parse_members};
use lampas_shared::{error::Fault, host::Expiry};

use super::{Databases, Place, password, password_place};
use crate::{
    host::{
        Ownership,
        kept::{self, Holds},
        plan::Put,
    },
    system::{
        Root,
        run::{Output, Program, run},
    },
};

/// Large homes go with userdel(8).
const LIMIT: Duration = Duration::from_secs(120);
/// By which hand-over a password waits for an account that comes back: never in an argument.
const CHPASSWD: &str = "/usr/sbin/chpasswd";

/// Puts an account, a group or its members in place.
///
/// # Errors
/// When Debian's program says why not.
pub(in crate::host) fn put(root: &Root, place: Place<'_>, put: &Put, ownership: &Ownership) -> Result<(), Fault> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let unread = || Fault::lasting("account.text", "what shall stand there can't be read back; this is a defect");
    let databases = Databases::read(root)?;
    match (place, put) {
        (_, Put::Keep) => Ok(()),
        (Place::User(name), Put::Account { bytes, makes_home }) => {
            let wanted = Account::parse(&text(bytes)).ok_or_else(unread)?;
            put_user(root, &databases, name, &wanted, *makes_home)
        }
        // What stood before comes back, with the password that it had.
        (Place::User(name), Put::File { bytes, .. }) => {
            let wanted = Account::parse(&text(bytes)).ok_or_else(unread)?;
            let is_new = databases.files().account(name).is_none();
            put_user(root, &databases, name, &wanted, false)?;
            if is_new { restore_password(root, name) } else { Ok(()) }
        }
        (Place::User(name), Put::Gone | Put::GoneWithHome) => {
            // Of secrets it holds what LAMPAS put there, if anything.
            let holds = Holds::of(ownership.places.get(&password_place(name)), true);
            remove_user(root, &databases, name, &holds, *put == Put::GoneWithHome)
        }
        (Place::Group(name), Put::File { bytes, .. }) => {
            let gid = parse_group(&text(bytes)).ok_or_else(unread)?;
            match databases.files().gid(name) {
                Some(standing) if standing == gid => Ok(()),
                Some(standing) => Err(renumbered("group", name, standing, gid)),
                None => {
                    call(root, "/usr/sbin/groupadd", &["-g", &gid.to_string(), name])?;
                    restore_members(root, name)
                }
            }
        }
        (Place::Group(name), Put::Gone) => {
            let Some(members) = databases.files().members(name) else { return Ok(()) };
            let members = members.join("\n");
            kept::keep_note(root, &format!("members-{name}"), &Holds::Nothing, members.as_bytes())
                .map_err(|e| e.to_fault())?;
            call(root, "/usr/sbin/groupdel", &[name])
        }
        (Place::Password(name), Put::File { bytes, .. }) => {
            password::put(root, &databases, name, Some(text(bytes).trim_end_matches('\n')))
        }
        (Place::Password(name), Put::Gone) => password::put(root, &databases, name, None),
        (Place::Members(name), Put::File { bytes, .. }) => {
            put_members(root, &databases, name, parse_members(&text(bytes)))
        }
        (Place::Members(name), Put::Gone) => put_members(root, &databases, name, Vec::new()),
        _ => Err(unread()),
    }
}

/// Says that an account that stands is not given another number.
pub(super) fn renumbered(sort: &str, name: &str, standing: u32, wanted: u32) -> Fault {
    let text = format!(
        "the {sort} {name} has the number {standing} on this node, not {wanted}; LAMPAS renumbers nothing, since files keep \
         the old number: change it by hand, or take {standing} into the object"
    );
    Fault::lasting("account.renumbered", text)
}

fn put_user(root: &Root, databases: &Databases, name: &str, wanted: &Account, makes_home: bool) -> Result<(), Fault> {
    match databases.files().account(name) {
        None => create(root, databases, name, wanted, makes_home),
        Some(standing) if standing.uid != wanted.uid => Err(renumbered("user", name, standing.uid, wanted.uid)),
        Some(standing) => modify(root, databases, name, &standing, wanted),
    }
}

fn create(root: &Root, databases: &Databases, name: &str, wanted: &Account, makes_home: bool) -> Result<(), Fault> {
    let uid = wanted.uid.to_string();
    if databases.files().gid(&wanted.group).is_none() {
        call(root, "/usr/sbin/groupadd", &["-g", &wanted.gid.to_string(), &wanted.group])?;
    }
    let groups = wanted.groups.join(",");
    let mut arguments = vec!["-u", &uid, "-g", &wanted.group, "-d", &wanted.home, "-c", &wanted.comment];
    if !wanted.shell.is_empty() {
        arguments.extend(["-s", &wanted.shell]);
    }
    if !groups.is_empty() {
        arguments.extend(["-G", &groups]);
    }
    if databases.defaults.is_system(wanted.uid) {
        arguments.push("-r");
    }
    arguments.extend([if makes_home { "-m" } else { "-M" }, name]);
    call(root, "/usr/sbin/useradd", &arguments)?;
    let made = Databases::read(root)?;
    match made.files().account(name) {
        Some(standing) => modify(root, &made, name, &standing, wanted),
        None => {
            Err(Fault::passing("account.not_made", format!("useradd said that it made {name}, and it is not there")))
        }
    }
}

fn modify(root: &Root, databases: &Databases, name: &str, standing: &Account, wanted: &Account) -> Result<(), Fault> {
    let mut arguments: Vec<String> = Vec::new();
    let mut change = |flag: &str, from: &str, to: &str| {
        if from != to {
            arguments.extend([flag.to_owned(), to.to_owned()]);
        }
    };
    change("-g", &standing.group, &wanted.group);
    change("-G", &standing.groups.join(","), &wanted.groups.join(","));
    change("-d", &standing.home, &wanted.home);
    change("-s", &standing.shell, &wanted.shell);
    change("-c", &standing.comment, &wanted.comment);
    let day = |account: &Account| match account.login {
        Login::Locked => "1".to_owned(),
        _ => account.expires.map_or_else(String::new, |days| Expiry::of_days(Some(days)).to_string()),
    };
    if databases.has_shadow {
        change("-e", &day(standing), &day(wanted));
    }
    let files = databases.files();
    let password = files.shadow_password(name).unwrap_or_default();
    let is_locked = password.starts_with('!');
    match (wanted.login, is_locked) {
        (Login::Open, true) if password.len() > 1 => arguments.push("-U".to_owned()),
        (Login::PasswordLocked | Login::Locked, false) => arguments.push("-L".to_owned()),
        _ => {}
    }
    if arguments.is_empty() {
        return Ok(());
    }
    arguments.push(name.to_owned());
    call(root, "/usr/sbin/usermod", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn remove_user(root: &Root, databases: &Databases, name: &str, holds: &Holds, with_home: bool) -> Result<(), Fault> {
    if databases.files().account(name).is_none() {
        return Ok(());
    }
    let files = databases.files();
    let password = files.shadow_password(name).unwrap_or_default();
    kept::keep_note(root, &format!("password-{name}"), holds, password.as_bytes()).map_err(|e| e.to_fault())?;
    let gid = files.account(name).map(|a| a.gid);
    let arguments: &[&str] = if with_home { &["-r", name] } else { &[name] };
    call(root, "/usr/sbin/userdel", arguments)?;
    // The user's own group goes along, as userdel(8) has it where login.defs(5) says so.
    let after = Databases::read(root)?;
    let files = after.files();
    let is_own = files.gid(name).is_some_and(|own| Some(own) == gid && files.with_primary(own).is_empty());
    if is_own && files.members(name).is_some_and(|m| m.is_empty()) {
        return call(root, "/usr/sbin/groupdel", &[name]);
    }
    Ok(())
}

/// Gives an account that comes back the password that it had when it went.
fn restore_password(root: &Root, name: &str) -> Result<(), Fault> {
    let note = format!("password-{name}");
    let Some(password) = kept::note(root, &note) else { return Ok(()) };
    let password = String::from_utf8_lossy(&password).into_owned();
    if password.trim_start_matches(['!', '*']).is_empty() || password.contains(['\n', ':']) {
        return Ok(());
    }
    set_password(root, name, &password)
}

/// Puts a field of shadow(5) in place. It goes through the standard input: arguments are everybody's to read.
pub(super) fn set_password(root: &Root, name: &str, password: &str) -> Result<(), Fault> {
    let mut program = Program::new(CHPASSWD).args(["-e"]).stdin(format!("{name}:{password}\n").into_bytes());
    if !root.is_system() {
        program = program.args(["-R", &root.path().display().to_string()]);
    }
    ended(CHPASSWD, run(&program))
}

/// Gives a group that comes back the members that it had when it went, as far as they are there.
fn restore_members(root: &Root, name: &str) -> Result<(), Fault> {
    let Some(members) = kept::note(root, &format!("members-{name}")) else { return Ok(()) };
    let members = parse_members(&String::from_utf8_lossy(&members));
    if members.is_empty() { Ok(()) } else { put_members(root, &Databases::read(root)?, name, members) }
}

fn put_members(root: &Root, databases: &Databases, name: &str, mut members: Vec<String>) -> Result<(), Fault> {
    let files = databases.files();
    // A group that went has none, and so has who went; they come back with their own texts.
    let Some(standing) = files.members(name) else { return Ok(()) };
    members.retain(|m| files.account(m).is_some());
    members.sort();
    if standing == members {
        return Ok(());
    }
    let list = members.join(",");
    if root.is_system() {
        return call(root, "/usr/bin/gpasswd", &["-M", &list, name]);
    }
    call(root, "/usr/sbin/groupmod", &["-U", &list, name])
}

fn call(root: &Root, program: &str, arguments: &[&str]) -> Result<(), Fault> {
    let mut command = Program::new(program).limit(LIMIT);
    if !root.is_system() {
        command = command.args(["-P", &root.path().display().to_string()]);
    }
    ended(program, run(&command.args(arguments.iter().copied())))
}

fn ended(program: &str, result: Result<Output, crate::system::run::RunError>) -> Result<(), Fault> {
    let name = program.rsplit('/').next().unwrap_or(program);
    match result {
        Ok(output) if output.is_success() => Ok(()),
        Ok(output) => {
            // 1 and 10: the files are locked or can't be written; 8: somebody is signed in.
            let code = output.status.and_then(|s| s.code());
            let retry = matches!(code, None | Some(1 | 8 | 10));
            let message = format!("{name}: {}", output.describe());
            Err(Fault { code: "account.refused".into(), message, retry })
        }
        Err(error) => {
            let text = format!("{}: is the package passwd installed?", lampas_shared::error::Chain(&error));
            Err(Fault::lasting("account.no_program", text))
        }
    }
}
