//! The rules of sudo(8) as one set: `/etc/sudoers` and all that it takes in.
//!
//! A file that is right by itself may break the set (an alias that another file defines too), and then nobody has sudo. So
//! the set as it would be is put together in one text and given to `visudo -c`, in the sandbox, before anything lands; and
//! whoever had full rights besides root keeps them, or one of them does. The proof asks `visudo` again, for what stands.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use lampas_render::sudoers::{Person, SudoersFile, administrators, clashes, includes, is_read};
use lampas_shared::{error::Fault, host::Sudoers, object::Target};

use super::{
    HostPlan, Tools,
    plan::{Planner, Put, Step},
};
use crate::system::{
    Root,
    run::{Output, Program, run},
    sandbox,
};

/// The code of a set that sudo can't read.
pub(super) const BROKEN: &str = "sudoers.broken";

const VISUDO: &str = "/usr/sbin/visudo";
const MAIN: &str = "/etc/sudoers";
const DIRECTORY: &str = "/etc/sudoers.d";
/// The largest file that is read, and the most files of a set.
const MAX_BYTES: u64 = 1 << 20;
const MAX_FILES: usize = 1000;
/// sudo itself stops at 128 levels.
const MAX_DEPTH: usize = 16;

/// What sudo reads, in its order.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    /// The files; one that takes in others stands in pieces, each with its line numbers.
    files: Vec<SudoersFile>,
    /// All of it in one text.
    text: String,
    /// Where each line of the text comes from: an index into `files`, and the line from 1.
    lines: Vec<(usize, usize)>,
    /// Every path that is read.
    paths: BTreeSet<String>,
    /// What this plan changes.
    targets: Vec<Target>,
}

/// Returns whether a path is, or may be, part of the set.
pub(super) fn is_part(path: &str) -> bool {
    path == MAIN || path.strip_prefix(DIRECTORY).is_some_and(|rest| rest.starts_with('/'))
}

/// Checks rules as their object is checked when it is saved: no controller takes in other files.
pub(super) fn check_rules(name: &str, bytes: &[u8]) -> Result<(), Fault> {
    let wrong = |why: String| Fault::lasting("sudoers.rules", why);
    if !Path::new(VISUDO).exists() {
        return Err(wrong(format!("there is no {VISUDO} on this node; install sudo first")));
    }
    let content = String::from_utf8(bytes.to_vec()).map_err(|_| wrong("the rules are not UTF-8".into()))?;
    Sudoers { content }.check(name).map_err(|e| wrong(e.to_string()))
}

/// Looks at what the set would be, and refuses what would clash or leave nobody but root with full rights. What clashes is
/// left out of the set; the rest is looked at without it.
pub(super) fn foresee(planner: &mut Planner<'_>) {
    let is_change = |s: &&Step| is_part(&s.path) && s.put != Put::Keep;
    let bytes = |put: &Put| match put {
        Put::File { bytes, .. } => Some(bytes.clone()),
        _ => None,
    };
    loop {
        let steps: Vec<&Step> = planner.steps.iter().filter(is_change).collect();
        if steps.is_empty() {
            return;
        }
        let changes: Changes = steps.iter().map(|s| (s.path.clone(), bytes(&s.put))).collect();
        match look(planner, &changes) {
            Ok(mut set) => {
                set.targets = steps.iter().flat_map(|s| s.targets.clone()).collect();
                planner.sudoers = Some(set);
                return;
            }
            Err(refusal) => {
                let is_refused = |s: &&Step| is_change(s) && refusal.paths.contains(&s.path);
                let targets: Vec<Target> =
                    planner.steps.iter().filter(is_refused).flat_map(|s| s.targets.clone()).collect();
                planner.steps.retain(|s| !is_refused(&s));
                for item in planner.items.iter_mut().filter(|i| targets.contains(&i.target)) {
                    item.verb = None;
                    item.fault.get_or_insert_with(|| refusal.fault.clone());
                }
            }
        }
    }
}

/// What files are to be, by path; `None` for one that goes.
type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// Which changed files can't be, and why.
struct Refusal {
    paths: BTreeSet<String>,
    fault: Fault,
}

/// Puts the set together as it would be.
fn look(planner: &Planner<'_>, changes: &Changes) -> Result<Set, Refusal> {
    let host = &planner.inputs.facts.host_name;
    let all = |fault| Refusal { paths: changes.keys().cloned().collect(), fault };
    let before = Set::gather(planner.root, &BTreeMap::new(), host).map_err(all)?;
    let after = Set::gather(planner.root, changes, host).map_err(all)?;
    if let Some(refusal) = clash(&before, &after, changes) {
        return Err(refusal);
    }
    let people = people(planner.root);
    let had = administrators(&before.files, &people, host);
    let have = administrators(&after.files, &people, host);
    if !had.is_empty() && had.is_disjoint(&have) {
        let names = had.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let text = format!(
            "nobody but root would keep full rights, which {names} {} now; let one of them keep a rule like \
             \"NAME ALL=(ALL:ALL) ALL\", or take it away on the node",
            if had.len() == 1 { "has" } else { "have" }
        );
        return Err(all(Fault::lasting("sudoers.last_administrator", text)));
    }
    Ok(after)
}

/// Says which file defines an alias that one of the changed files defines too; not what clashed before.
fn clash(before: &Set, after: &Set, changes: &Changes) -> Option<Refusal> {
    let known = clashes(&before.files);
    let changed = |places: &[String]| -> BTreeSet<String> {
        let paths = places.iter().filter_map(|place| place.rsplit_once(':')).map(|(path, _)| path.to_owned());
        paths.filter(|path| changes.contains_key(path)).collect()
    };
    let found = clashes(&after.files);
    let clashing = found.iter().filter(|(alias, places)| known.get(*alias) != Some(*places));
    let (alias, places, paths) =
        clashing.map(|(alias, places)| (alias, places, changed(places))).find(|(.., paths)| !paths.is_empty())?;
    let text = format!("the alias {alias} would be defined more than once: {}; rename one", places.join(", "));
    Some(Refusal { paths, fault: Fault::lasting("sudoers.clash", text) })
}

/// Who may log in.
fn people(root: &Root) -> Vec<Person> {
    let accounts = root.accounts();
    let can_log_in = |shell: &str| !shell.ends_with("/nologin") && !shell.ends_with("/false");
    let users = accounts.users().filter(|(_, a)| can_log_in(&a.shell));
    // Root is in all of them here, so that a group of this node without members gives nobody anything.
    let root = Person { name: "root".to_owned(), uid: 0, groups: accounts.groups() };
    let users = users.map(|(name, account)| Person {
        name: name.to_owned(),
        uid: account.uid,
        groups: accounts.memberships(name, account.gid),
    });
    users.chain([root]).collect()
}

/// Gives the set as it would be to `visudo`. Returns what is wrong by target, of the files that it names or else of all;
/// empty when nothing is.
pub(super) fn validate(plan: &HostPlan, tools: &Tools) -> BTreeMap<Target, Fault> {
    let Some(set) = &plan.sudoers else { return BTreeMap::new() };
    let steps: Vec<&Step> = plan.steps.iter().filter(|s| s.targets.iter().any(|t| set.targets.contains(t))).collect();
    if steps.is_empty() || (!Path::new(VISUDO).exists() && plan.steps.iter().all(|s| s.is_removal)) {
        return BTreeMap::new();
    }
    let (checked, named) =
        match sandbox::check(&tools.sandbox, &[VISUDO, "-c", "-f", "-"], set.text.clone().into_bytes()) {
            Ok(output) if output.is_success() => return BTreeMap::new(),
            Ok(output) => (Fault::lasting("sudoers.invalid", set.told(&output)), set.named(&output)),
            Err(error) => {
                let text = lampas_shared::error::Chain(&error).to_string();
                (Fault::passing("sudoers.check_failed", text), BTreeSet::new())
            }
        };
    let is_named = steps.iter().any(|s| named.contains(s.path.as_str()));
    let blamed = steps.into_iter().filter(|s| !is_named || named.contains(s.path.as_str()));
    blamed.flat_map(|s| &s.targets).map(|t| (t.clone(), checked.clone())).collect()
}

impl Set {
    /// Puts the set together, with changed files in the place of those on the disk.
    fn gather(root: &Root, changes: &Changes, host: &str) -> Result<Self, Fault> {
        let mut set = Self::default();
        let reader = Reader { root, changes, host };
        if reader.read(MAIN)?.is_some() {
            set.take_in(&reader, MAIN, 0)?;
        } else {
            set.take_in_directory(&reader, DIRECTORY, 0)?;
        }
        Ok(set)
    }

    fn take_in(&mut self, reader: &Reader<'_>, path: &str, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH || self.paths.len() > MAX_FILES {
            let text = format!("{path}: sudo's files take in each other too often");
            return Err(Fault::lasting("sudoers.too_many", text));
        }
        let Some(text) = reader.read(path)? else { return Ok(()) };
        self.paths.insert(path.to_owned());
        let included = includes(&text);
        let mut piece = SudoersFile { path: path.to_owned(), text: String::new() };
        for (number, line) in text.lines().enumerate() {
            let Some(include) = included.iter().find(|i| i.line == number) else {
                piece.text.push_str(line);
                piece.text.push('\n');
                self.lines.push((self.files.len(), number + 1));
                self.text.push_str(line);
                self.text.push('\n');
                continue;
            };
            self.files.push(std::mem::replace(
                &mut piece,
                // What follows keeps its line numbers.
                SudoersFile { path: path.to_owned(), text: "\n".repeat(number + 1) },
            ));
            let named = include.path.replace("%h", reader.host.split('.').next().unwrap_or_default());
            let inner = if named.starts_with('/') {
                named
            } else {
                format!("{}/{named}", path.rsplit_once('/').map_or("", |(directory, _)| directory))
            };
            if include.is_directory {
                self.take_in_directory(reader, &inner, depth + 1)?;
            } else {
                self.take_in(reader, &inner, depth + 1)?;
            }
        }
        // A line that goes on ends with its file.
        self.lines.push((self.files.len(), text.lines().count()));
        self.text.push('\n');
        self.files.push(piece);
        Ok(())
    }

    fn take_in_directory(&mut self, reader: &Reader<'_>, directory: &str, depth: usize) -> Result<(), Fault> {
        for name in reader.list(directory)? {
            self.take_in(reader, &format!("{directory}/{name}"), depth + 1)?;
        }
        Ok(())
    }

    /// What `visudo` said of the text, with the files and lines that it means.
    fn told(&self, output: &Output) -> String {
        let text = String::from_utf8_lossy(&output.stderr);
        let said: Vec<String> = text
            .lines()
            .filter_map(|l| self.place(l))
            .take(5)
            .map(|(p, line, rest)| format!("{p}:{line}:{rest}"))
            .collect();
        let said = if said.is_empty() { output.describe() } else { said.join("; ") };
        format!("with this, sudo could not read its rules any more: {said}")
    }

    /// The files that `visudo` named.
    fn named(&self, output: &Output) -> BTreeSet<&str> {
        let text = String::from_utf8_lossy(&output.stderr);
        text.lines().filter_map(|l| self.place(l)).map(|(path, ..)| path).collect()
    }

    /// The file and line that a line of `visudo` is about, with what it says.
    fn place(&self, said: &str) -> Option<(&str, usize, String)> {
        let (number, rest) = said.strip_prefix("stdin:")?.split_once(':')?;
        let (file, line) = self.lines.get(number.parse::<usize>().ok()?.checked_sub(1)?)?;
        let rest: String = rest.chars().filter(|c| !c.is_control()).take(200).collect();
        Some((&self.files.get(*file)?.path, *line, rest))
    }
}

/// The files as they would be.
struct Reader<'a> {
    root: &'a Root,
    changes: &'a Changes,
    host: &'a str,
}

impl Reader<'_> {
    fn read(&self, path: &str) -> Result<Option<String>, Fault> {
        let bytes = match self.changes.get(path) {
            Some(bytes) => bytes.clone(),
            None => self.root.read(path, MAX_BYTES).map_err(|e| e.to_fault())?,
        };
        Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
    }

    fn list(&self, directory: &str) -> Result<BTreeSet<String>, Fault> {
        let found = self.root.list(directory, MAX_FILES).map_err(|e| e.to_fault())?.unwrap_or_default();
        let mut names: BTreeSet<String> = found.into_iter().collect();
        for (path, bytes) in self.changes {
            let Some((above, name)) = path.rsplit_once('/').filter(|(above, _)| *above == directory) else { continue };
            debug_assert_eq!(above, directory);
            match bytes {
                Some(_) => names.insert(name.to_owned()),
                None => names.remove(name),
            };
        }
        names.retain(|name| is_read(name));
        Ok(names)
    }
}

/// The files that sudo reads, and what is to be noted.
type Said = (BTreeSet<String>, Vec<String>);

/// Asks `visudo` about what stands, once for all files.
pub(super) struct Proof<'a> {
    root: &'a Root,
    answer: OnceCell<Result<Said, Fault>>,
}

impl<'a> Proof<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, answer: OnceCell::new() }
    }

    /// Proves that sudo reads a file, and all others with it.
    pub(super) fn of(&self, path: &str) -> Result<Vec<String>, Fault> {
        let (paths, notes) = self.answer.get_or_init(|| self.ask()).clone()?;
        if !paths.contains(path) {
            let text = format!("{path} stands, and sudo does not read it: {MAIN} has no \"@includedir {DIRECTORY}\"");
            return Err(Fault::lasting("sudoers.not_read", text));
        }
        Ok(notes)
    }

    fn ask(&self) -> Result<Said, Fault> {
        let host = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_default();
        let set = Set::gather(self.root, &BTreeMap::new(), &host)?;
        if !Path::new(VISUDO).exists() {
            return Ok((set.paths, vec![format!("not proven: there is no {VISUDO}")]));
        }
        let is_whole = self.root.is_system() && self.root.is_privileged();
        let program = if is_whole {
            Program::new(VISUDO).args(["-c"])
        } else {
            Program::new(VISUDO).args(["-c", "-f", "-"]).stdin(set.text.clone().into_bytes())
        };
        let unasked = |e| Fault::passing("sudoers.unproven", lampas_shared::error::Chain(&e).to_string());
        let output = run(&program).map_err(unasked)?;
        match (output.is_success(), is_whole) {
            (true, _) => Ok((set.paths, Vec::new())),
            (false, true) => {
                Err(Fault::lasting(BROKEN, format!("{VISUDO} -c says of what stands: {}", output.describe())))
            }
            (false, false) => Err(Fault::lasting(BROKEN, set.told(&output))),
        }
    }
}
