//! What an operation is: what runs, where, as whom, within which limits and in which order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ParameterName;
use crate::{
    TextError,
    check::ScriptDraft,
    check_line,
    fleet::Scope,
    host::UserName,
    id::NodeId,
    object::ObjectName,
    probe::{Number, Probe},
    time::UnixMs,
};

/// The most arguments of a command.
const MAX_ARGUMENTS: usize = 256;
/// The most bytes of all arguments together: half of what Linux takes as one argument (`MAX_ARG_STRLEN`).
const MAX_ARGUMENT_BYTES: usize = 64 << 10;
/// The most scopes of a selection.
const MAX_SCOPES: usize = 1000;
/// The most parameters that are secrets.
const MAX_SECRETS: usize = 16;

/// What runs. Never a shell string: an argument vector, or a script that LAMPAS keeps on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Work {
    /// A command.
    Command {
        /// The program, by absolute path or by a name that the node finds in its standard path, and its arguments.
        argv: Vec<String>,
    },
    /// A support script by its object's name; each node runs the one that is in force there.
    Script {
        /// The object's name.
        name: ObjectName,
        /// Arguments as they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        arguments: Vec<String>,
        /// Values of the parameters that the script declares; it reads them as `PARAM_NAME`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        parameters: BTreeMap<ParameterName, String>,
    },
    /// A script that somebody is writing, tried on one node before any object holds it.
    Draft {
        /// What it is called, or will be.
        name: ObjectName,
        /// The text.
        draft: ScriptDraft,
        /// Arguments as they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        arguments: Vec<String>,
        /// Values that it reads as `PARAM_NAME`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        parameters: BTreeMap<ParameterName, String>,
    },
    /// A question that runs nobody's program.
    Probe {
        /// What is asked.
        probe: Probe,
        /// What was measured on each node before, where it is compared with that.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        before: BTreeMap<NodeId, Number>,
    },
}

impl Work {
    fn check(&self) -> Result<(), TextError> {
        match self {
            Self::Command { argv } => {
                let Some(program) = argv.first().filter(|p| !p.is_empty()) else {
                    return Err(TextError::new("command", "", "is empty: give a program and its arguments"));
                };
                check_line("program", program, 4096)?;
                if program.contains('/') && !program.starts_with('/') {
                    return Err(TextError::new("program", program, "give an absolute path, or a name without \"/\""));
                }
                check_arguments(argv)
            }
            Self::Probe { probe, .. } => probe.check(),
            Self::Script { arguments, parameters, .. } | Self::Draft { arguments, parameters, .. } => {
                if let Self::Draft { draft, .. } = self {
                    draft.check()?;
                }
                check_arguments(arguments)?;
                let total: usize = parameters.values().map(String::len).sum();
                match parameters.values().find(|v| v.contains('\0')) {
                    Some(value) => Err(TextError::new("parameter", value, "contains a NUL byte")),
                    None if total > MAX_ARGUMENT_BYTES => {
                        Err(TextError::new("parameters", "", format!("{total} bytes, at most {MAX_ARGUMENT_BYTES}")))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// Returns it in one line, for lists: what a shell would be told.
    pub fn title(&self) -> String {
        let words: Vec<String> = match self {
            Self::Command { argv } => argv.iter().map(|w| quoted(w)).collect(),
            Self::Probe { .. } => Vec::new(),
            Self::Script { name, arguments, parameters } => {
                let values = parameters.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
                std::iter::once(name.to_string()).chain(values).chain(arguments.iter().map(|a| quoted(a))).collect()
            }
            Self::Draft { name, arguments, parameters, .. } => {
                let values = parameters.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
                let start = [format!("draft of {name}")];
                start.into_iter().chain(values).chain(arguments.iter().map(|a| quoted(a))).collect()
            }
        };
        let line = if let Self::Probe { probe, .. } = self { probe.title() } else { words.join(" ") };
        if line.chars().count() <= 200 { line } else { line.chars().take(199).chain(['…']).collect() }
    }
}

fn check_arguments(arguments: &[String]) -> Result<(), TextError> {
    if arguments.len() > MAX_ARGUMENTS {
        let reason = format!("at most {MAX_ARGUMENTS} are allowed");
        return Err(TextError::new("arguments", &arguments.len().to_string(), reason));
    }
    if let Some(odd) = arguments.iter().find(|a| a.contains('\0')) {
        return Err(TextError::new("argument", odd, "contains a NUL byte"));
    }
    let total: usize = arguments.iter().map(String::len).sum();
    if total > MAX_ARGUMENT_BYTES {
        let reason = format!("at most {MAX_ARGUMENT_BYTES} bytes are allowed in all");
        return Err(TextError::new("arguments", &total.to_string(), reason));
    }
    Ok(())
}

fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// What becomes of nodes that are not connected when their turn comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "away", rename_all = "snake_case", deny_unknown_fields)]
pub enum Away {
    /// They are passed over.
    #[default]
    Skip,
    /// They are waited for as long as other nodes are still at work, and then given up.
    Expire,
    /// They are waited for until then.
    Queue {
        /// When to give up; at most seven days ahead.
        until: UnixMs,
    },
}

/// What one run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Seconds until it is ended; 1 to 86,400, 600 by default.
    pub timeout_secs: u32,
    /// Bytes of output that are kept of each node, half from the beginning and half from the end; 4 KiB to 16 MiB, 1 MiB
    /// by default.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout_secs: 600, output_bytes: 1 << 20 }
    }
}

/// In which order nodes are taken, and when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Strategy {
    /// How many run at once; 1 to 1,000, 100 by default.
    pub concurrency: u32,
    /// How many nodes go first, alone; one of them must succeed and none may fail. 0 (the default) for none.
    pub canary: u32,
    /// How many nodes a later wave has, in percent of all; 1 to 100, 100 by default.
    pub then_percent: u32,
    /// After how many failures nothing more is started; 0 for never. By default 1 with a canary, else never.
    pub stop_after: Option<u32>,
}

impl Default for Strategy {
    fn default() -> Self {
        Self { concurrency: 100, canary: 0, then_percent: 100, stop_after: None }
    }
}

impl Strategy {
    /// Returns after how many failures it stops.
    pub fn failures_allowed(&self) -> Option<usize> {
        let stop_after = self.stop_after.unwrap_or(u32::from(self.canary > 0));
        (stop_after > 0).then_some(stop_after as usize)
    }

    /// Returns the waves of so many nodes, as ranges of their places.
    pub fn waves(&self, nodes: usize) -> Vec<std::ops::Range<usize>> {
        let canary = (self.canary as usize).min(nodes);
        let size = (nodes * self.then_percent.clamp(1, 100) as usize).div_ceil(100).max(1);
        let first = (canary > 0).then_some(0..canary);
        first.into_iter().chain((canary..nodes).step_by(size).map(|from| from..(from + size).min(nodes))).collect()
    }
}

/// An operation as somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OperationSpec {
    /// What runs.
    pub work: Work,
    /// The selection: nodes of any of these scopes, resolved when the operation starts.
    pub on: Vec<Scope>,
    /// As whom; `root` by default.
    #[serde(default = "UserName::root")]
    pub user: UserName,
    /// What each run may take.
    #[serde(default)]
    pub limits: Limits,
    /// In which order.
    #[serde(default)]
    pub strategy: Strategy,
    /// What becomes of nodes that are away; `skip` by default.
    #[serde(default)]
    pub away: Away,
    /// Why, for the history.
    #[serde(default)]
    pub reason: String,
    /// Only try: on each node in a copy of its files and without a network, and say what would change.
    #[serde(default)]
    pub rehearse: bool,
    /// Parameters whose values are those of secrets, by the secret's name: each node gets that which it is entitled to, and
    /// the program reads it as `PARAM_NAME`. The values stand nowhere else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<ParameterName, ObjectName>,
    /// Wait for an operator's signature before anything starts, also where no node is known to want one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sign: bool,
}

impl OperationSpec {
    /// The longest that nodes may be waited for.
    pub const MAX_QUEUE_MS: i64 = 7 * 86_400_000;

    /// Checks what no single field can.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check(&self, now: UnixMs) -> Result<(), TextError> {
        fn within<T: PartialOrd + std::fmt::Display + Copy>(
            what: &'static str,
            value: T,
            from: T,
            to: T,
        ) -> Result<(), TextError> {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            Err(TextError::new(what, &value.to_string(), format!("is not in {from} to {to}")))
        }
        self.work.check()?;
        if self.rehearse && matches!(self.work, Work::Probe { .. }) {
            return Err(TextError::new("rehearse", "", "a probe changes nothing; ask it as it is"));
        }
        if matches!(self.work, Work::Draft { .. }) && !matches!(self.on.as_slice(), [Scope::Node(_)]) {
            return Err(TextError::new("on", "", "a draft is tried on one node: node:web-1"));
        }
        if self.on.is_empty() || self.on.len() > MAX_SCOPES {
            let reason = format!("name 1 to {MAX_SCOPES} scopes, such as role:app or node:web-1");
            return Err(TextError::new("on", &self.on.len().to_string(), reason));
        }
        within("timeout_secs", self.limits.timeout_secs, 1, 86_400)?;
        within("output_bytes", self.limits.output_bytes, 4 << 10, 16 << 20)?;
        within("concurrency", self.strategy.concurrency, 1, 1000)?;
        within("then_percent", self.strategy.then_percent, 1, 100)?;
        if let Away::Queue { until } = self.away
            && (until <= now || until.since(now) > Self::MAX_QUEUE_MS)
        {
            return Err(TextError::new("until", &until.to_string(), "is not within the next seven days"));
        }
        check_line("reason", &self.reason, 1000)?;
        if matches!(self.work, Work::Probe { .. }) && !self.secrets.is_empty() {
            return Err(TextError::new("secrets", &self.secrets.len().to_string(), "a probe takes none"));
        }
        if self.secrets.len() > MAX_SECRETS {
            let reason = format!("at most {MAX_SECRETS} are allowed");
            return Err(TextError::new("secrets", &self.secrets.len().to_string(), reason));
        }
        let twice = match &self.work {
            Work::Script { parameters, .. } | Work::Draft { parameters, .. } => {
                self.secrets.keys().find(|name| parameters.contains_key(*name))
            }
            Work::Command { .. } | Work::Probe { .. } => None,
        };
        match twice {
            Some(name) => Err(TextError::new("secrets", name.as_str(), "is given as a plain parameter too")),
            None => Ok(()),
        }
    }
}

/// Where an operation as a whole is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Some node has not ended yet.
    Running,
    /// Every node succeeded.
    Succeeded,
    /// Some node did not.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl OperationState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::str::FromStr for OperationState {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|s| s.as_str() == text);
        found.ok_or_else(|| TextError::new("state", text, "is none of running, succeeded, failed and cancelled"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(argv: &[&str]) -> Work {
        Work::Command { argv: argv.iter().map(|a| (*a).to_owned()).collect() }
    }

    #[test]
    fn a_command_is_a_vector_whose_program_can_be_found() {
        for good in [&["df", "-h", "/var"][..], &["/bin/sh", "-c", "a\nb"]] {
            assert_eq!(command(good).check(), Ok(()));
        }
        for bad in [&[][..], &[""], &["bin/sh"], &["../sh"], &["a\nb"], &["ls", "a\0b"]] {
            assert!(command(bad).check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_title_could_be_typed() {
        assert_eq!(command(&["sh", "-c", "it's; rm", ""]).title(), r"sh -c 'it'\''s; rm' ''");
    }

    #[test]
    fn waves_cover_each_node_once() {
        let strategy = Strategy { canary: 1, then_percent: 50, ..Strategy::default() };
        assert_eq!(strategy.waves(10), [0..1, 1..6, 6..10]);
        assert_eq!(strategy.waves(1), vec![0..1]);
        assert_eq!(Strategy::default().waves(3), vec![0..3]);
        assert_eq!(Strategy::default().waves(0), Vec::<std::ops::Range<usize>>::new());
    }
}
