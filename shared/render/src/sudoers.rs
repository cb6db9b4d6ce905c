//! What a set of sudoers files means: who has full rights, and which files define the same alias.
//!
//! It reads as much of sudoers(5) as these questions need. Whether a file is right is `visudo`'s to say; what can't be read
//! here gives nobody anything.

use std::collections::{BTreeMap, BTreeSet};

/// One file of the set, in the order in which sudo reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SudoersFile {
    /// Its path, for messages.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Another file, or a directory of them, that a line takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// The line, from 0.
    pub line: usize,
    /// The path as it stands there.
    pub path: String,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// An account that may turn out to have full rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// All groups, by name and number.
    pub groups: Vec<(String, u32)>,
}

/// Returns what a file takes in.
pub fn includes(text: &str) -> Vec<Include> {
    let include = |(line, text): (usize, &str)| {
        let rest = text.trim_start().strip_prefix(['#', '@'])?;
        let (is_directory, rest) = match rest.strip_prefix("includedir") {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix("include")?),
        };
        let path = rest.strip_prefix([' ', '\t'])?.trim();
        let path = path.strip_prefix('"').and_then(|p| p.strip_suffix('"')).unwrap_or(path);
        (!path.is_empty()).then(|| Include { line, path: path.replace("\\ ", " "), is_directory })
    };
    text.lines().enumerate().filter_map(include).collect()
}

/// Returns whether sudo reads a file of this name in a directory that is taken in.
pub fn is_read(name: &str) -> bool {
    !name.contains('.') && !name.ends_with('~')
}

/// Returns the aliases that more than one place defines: the word, and every place as `PATH:LINE`.
pub fn clashes(files: &[SudoersFile]) -> BTreeMap<String, Vec<String>> {
    let mut places: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    for file in files {
        for (line, text) in logical_lines(&file.text) {
            let Some((sort, definitions)) = alias_line(&text) else { continue };
            for (name, _) in definitions {
                places.entry((sort, name)).or_default().push(format!("{}:{}", file.path, line + 1));
            }
        }
    }
    places.into_iter().filter(|(_, places)| places.len() > 1).map(|((_, name), places)| (name, places)).collect()
}

/// Returns who of these people may run every command as root on a host of this name, apart from root itself. A group or
/// net group that nobody here is known to be in stands for itself, as `%NAME` or `+NAME`: somebody may be in it elsewhere.
pub fn administrators(files: &[SudoersFile], people: &[Person], host: &str) -> BTreeSet<String> {
    let mut aliases: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    let mut rules = Vec::new();
    for file in files {
        for (_, text) in logical_lines(&file.text) {
            match alias_line(&text) {
                Some((sort, definitions)) => {
                    aliases.extend(definitions.into_iter().map(|(name, list)| ((sort, name), list)));
                }
                None => rules.extend(rule(&text)),
            }
        }
    }
    let groups = || people.iter().flat_map(|p| &p.groups);
    let is_known = |group: &str| match group.strip_prefix('#') {
        Some(gid) => groups().any(|(_, g)| g.to_string() == gid),
        None => groups().any(|(name, _)| name == group),
    };
    let set = Set { aliases: &aliases, host };
    let mut candidates: Vec<Candidate<'_>> = people.iter().filter(|p| p.uid != 0).map(Candidate::Known).collect();
    let mut elsewhere = BTreeSet::new();
    let lists = rules.iter().map(|r| &r.users).chain(aliases.iter().filter(|((s, _), _)| *s == USER).map(|(_, l)| l));
    for item in lists.flatten() {
        let word = item.trim_start_matches('!').trim();
        let is_elsewhere = match word.strip_prefix('%') {
            Some(group) => !is_known(group.trim_matches('"')),
            None => word.starts_with('+'),
        };
        if is_elsewhere {
            elsewhere.insert(word.to_owned());
        }
    }
    candidates.extend(elsewhere.iter().map(|word| Candidate::Elsewhere(word)));
    candidates.into_iter().filter(|c| set.has_all(c, &rules)).map(|c| c.name().to_owned()).collect()
}

const USER: &str = "User_Alias";
const HOST: &str = "Host_Alias";
const RUNAS: &str = "Runas_Alias";
const COMMAND: &str = "Cmnd_Alias";
/// Aliases may name aliases; a circle ends here.
const MAX_DEPTH: usize = 16;

enum Candidate<'a> {
    Known(&'a Person),
    Elsewhere(&'a str),
}

impl Candidate<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Known(person) => &person.name,
            Self::Elsewhere(word) => word,
        }
    }

    fn is(&self, word: &str) -> bool {
        let person = match self {
            Self::Known(person) => person,
            Self::Elsewhere(own) => return *own == word,
        };
        let word = word.trim_matches('"');
        let is_group = |group: &str| match group.strip_prefix('#') {
            Some(gid) => gid.parse().is_ok_and(|gid: u32| person.groups.iter().any(|(_, g)| *g == gid)),
            None => person.groups.iter().any(|(name, _)| name == group),
        };
        match (word.strip_prefix('%'), word.strip_prefix('#')) {
            (Some(group), _) => is_group(group.trim_matches('"')),
            (None, Some(uid)) => uid.parse() == Ok(person.uid),
            (None, None) => word == person.name,
        }
    }
}

/// One `user hosts = commands` of a rule.
#[derive(Debug)]
struct Rule {
    users: Vec<String>,
    grants: Vec<(Vec<String>, String)>,
}

struct Set<'a> {
    aliases: &'a BTreeMap<(&'static str, String), Vec<String>>,
    host: &'a str,
}

impl Set<'_> {
    /// The last rule that says something about all commands counts, as in sudo.
    fn has_all(&self, candidate: &Candidate<'_>, rules: &[Rule]) -> bool {
        let short = self.host.split('.').next().unwrap_or_default();
        let is_here = |word: &str| word == self.host || word == short;
        let mut has = false;
        for rule in rules {
            if self.says(USER, &rule.users, &|w| candidate.is(w), 0) != Some(true) {
                continue;
            }
            for (hosts, commands) in &rule.grants {
                if self.says(HOST, hosts, &is_here, 0) == Some(true) {
                    has = self.all_commands(commands).unwrap_or(has);
                }
            }
        }
        has
    }

    /// What a list says of somebody: yes, no, or nothing. The last item that matches counts.
    fn says(&self, sort: &'static str, list: &[String], is: &dyn Fn(&str) -> bool, depth: usize) -> Option<bool> {
        let mut said = None;
        for item in list {
            let word = item.trim_start_matches(['!', ' ', '\t']);
            let is_negated = item.chars().filter(|c| *c == '!').count() % 2 == 1;
            let matches = match self.aliases.get(&(sort, word.to_owned())).filter(|_| depth < MAX_DEPTH) {
                Some(list) => self.says(sort, list, is, depth + 1),
                None => (word == "ALL" || is(word)).then_some(true),
            };
            said = matches.map(|yes| yes != is_negated).or(said);
        }
        said
    }

    /// What a list of commands says of all commands as root.
    fn all_commands(&self, commands: &str) -> Option<bool> {
        let mut runas: Option<String> = None;
        let mut said = None;
        for item in split_list(commands) {
            let mut rest = item.trim();
            if let Some((list, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
                runas = Some(list.to_owned());
                rest = after.trim();
            }
            let rest = without_options(rest);
            if let Some(yes) = self.says(COMMAND, &[rest.to_owned()], &|_| false, 0)
                && self.is_root(runas.as_deref())
            {
                said = Some(yes);
            }
        }
        said
    }

    fn is_root(&self, runas: Option<&str>) -> bool {
        let Some(runas) = runas else { return true };
        let users = split_list(runas.split(':').next().unwrap_or_default());
        self.says(RUNAS, &users, &|w| matches!(w, "root" | "#0"), 0) == Some(true)
    }
}

/// Takes off what may stand before a command: `NOPASSWD:`, `CWD=/`, and the like.
fn without_options(mut text: &str) -> &str {
    loop {
        let word = text.split([' ', '\t', ':', '=']).next().unwrap_or_default();
        let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let after = text[word.len()..].trim_start();
        if !is_word {
            return text;
        } else if let Some(rest) = after.strip_prefix(':') {
            text = rest.trim_start();
        } else if let Some(rest) = after.strip_prefix('=') {
            let rest = rest.trim_start();
            text = rest.split_once([' ', '\t']).map_or("", |(_, rest)| rest.trim_start());
        } else {
            return text;
        }
    }
}

/// Lines without comments, those that go on joined, each with its number from 0.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let line = without_comment(line);
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        let (first, mut whole) = open.take().unwrap_or((number, String::new()));
        whole.push_str(part);
        if goes_on {
            whole.push(' ');
            open = Some((first, whole));
        } else if !whole.trim().is_empty() {
            lines.push((first, whole.trim().to_owned()));
        }
    }
    lines.extend(open.map(|(n, whole)| (n, whole.trim().to_owned())).filter(|(_, whole)| !whole.is_empty()));
    lines
}

/// A `#` begins a comment, unless a number follows it (a user id) or it is quoted.
fn without_comment(line: &str) -> &str {
    let bytes = line.as_bytes();
    let mut is_quoted = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' if at == 0 || bytes[at - 1] != b'\\' => is_quoted = !is_quoted,
            b'#' if is_quoted || (at > 0 && bytes[at - 1] == b'\\') => {}
            b'#' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {}
            b'#' => return &line[..at],
            _ => {}
        }
    }
    line
}

/// An alias with what it stands for.
type Definition = (String, Vec<String>);

/// Reads `User_Alias A = a, b : B = c`.
fn alias_line(line: &str) -> Option<(&'static str, Vec<Definition>)> {
    let (word, rest) = line.split_once([' ', '\t'])?;
    let sort = match word {
        "User_Alias" => USER,
        "Host_Alias" => HOST,
        "Runas_Alias" => RUNAS,
        "Cmnd_Alias" | "Cmd_Alias" => COMMAND,
        _ => return None,
    };
    let definition = |text: String| {
        let (name, list) = text.split_once('=')?;
        Some((name.trim().to_owned(), split_list(list)))
    };
    Some((sort, split_at(rest, ':').into_iter().filter_map(definition).collect()))
}

/// Reads `users hosts = commands : hosts = commands`.
fn rule(line: &str) -> Option<Rule> {
    if ["Defaults", "@include", "#include"].iter().any(|word| line.starts_with(word)) {
        return None;
    }
    let (left, right) = split_once_at(line, '=')?;
    // The users end where a word follows that no comma joins to the one before.
    let end = end_of_list(left)?;
    let users = split_list(&left[..end]);
    let mut grants = Vec::new();
    let mut hosts = left[end..].trim().to_owned();
    let mut commands = String::new();
    for part in split_at(right, ':') {
        // After a colon comes either what belongs to the commands (a tag stood before it) or the next hosts.
        match split_once_at(&part, '=').filter(|_| !commands.trim().is_empty() && !ends_with_tag(&commands)) {
            Some((next, first)) => {
                grants.push((split_list(&hosts), std::mem::take(&mut commands)));
                hosts = next.trim().to_owned();
                commands = first.to_owned();
            }
            None if commands.is_empty() => commands = part,
            None => {
                commands.push(':');
                commands.push_str(&part);
            }
        }
    }
    grants.push((split_list(&hosts), commands));
    Some(Rule { users, grants })
}

fn ends_with_tag(commands: &str) -> bool {
    let word = commands.trim_end().rsplit([' ', '\t', ',', ')', ':']).next().unwrap_or_default();
    let tags = ["EXEC", "FOLLOW", "INTERCEPT", "LOG_INPUT", "LOG_OUTPUT", "MAIL", "PASSWD", "SETENV"];
    let word = word.strip_prefix("NO").unwrap_or(word);
    tags.contains(&word)
}

/// Where the first list of a text ends: after the first word that neither ends nor is followed by a comma.
fn end_of_list(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut is_quoted, mut wants_word) = (false, true);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' if at == 0 || bytes[at - 1] != b'\\' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b',' | b'!' => wants_word = true,
            b' ' | b'\t' if at > 0 && bytes[at - 1] == b'\\' => {}
            b' ' | b'\t' => {
                let next = text[at..].trim_start();
                if !wants_word && !next.is_empty() && !next.starts_with(',') {
                    return Some(at);
                }
            }
            _ => wants_word = false,
        }
    }
    None
}

fn split_list(text: &str) -> Vec<String> {
    split_at(text, ',').into_iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// Splits outside of quotes, brackets and escapes.
fn split_at(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut is_quoted, mut is_escaped, mut depth) = (false, false, 0_usize);
    for c in text.chars() {
        let is_plain = !is_quoted && !is_escaped && depth == 0;
        if c == separator && is_plain {
            parts.push(String::new());
            continue;
        }
        match c {
            '"' if !is_escaped => is_quoted = !is_quoted,
            '(' if !is_quoted && !is_escaped => depth += 1,
            ')' if !is_quoted && !is_escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
        parts.last_mut().expect("there is always one").push(c);
    }
    parts
}

fn split_once_at(text: &str, separator: char) -> Option<(&str, &str)> {
    let first = split_at(text, separator).into_iter().next()?;
    (first.len() < text.len()).then(|| (&text[..first.len()], &text[first.len() + separator.len_utf8()..]))
}

#[cfg(test)]
mod tests;
