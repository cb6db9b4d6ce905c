//! How a change shall reach its nodes: waves, failure budget, gates, deadlines.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    TextError, check_line,
    fleet::{Labels, NodeName, Scope, Selector},
    host::UserName,
    id::NodeId,
    probe::Probe,
};

/// How a change reaches its nodes. The default is one wave with all of them and no gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RolloutStrategy))]
#[serde(default, deny_unknown_fields)]
pub struct Strategy {
    /// The nodes that it reaches; the rest waits until somebody says so. The waves are those of these nodes first, and then
    /// of the rest. Absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Scope>,
    /// The waves in their order, at most 20; who is in none of them makes the last one. Empty: all nodes at once.
    pub waves: Vec<Wave>,
    /// How many nodes may fail or be away, of all that the rollout has reached; `0` by default.
    pub max_failures: Amount,
    /// What must hold on each node of a wave before the next one begins; at most 10.
    pub gates: Vec<Gate>,
    /// How long a wave must stay well before the next one begins, in seconds, 0 to 86,400.
    pub soak_secs: u32,
    /// How long a wave may take until its nodes are proven and its gates have answered, in seconds, 10 to 86,400; 600
    /// by default.
    pub deadline_secs: u32,
    /// What happens when a wave fails.
    pub on_failure: OnFailure,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            limit: None,
            waves: Vec::new(),
            max_failures: Amount::Count(0),
            gates: Vec::new(),
            soak_secs: 0,
            deadline_secs: 600,
            on_failure: OnFailure::Revert,
        }
    }
}

impl Strategy {
    /// Returns whether it asks for nothing that a driver would have to do: all nodes at once, whatever becomes of them.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what no single field can.
    ///
    /// # Errors
    /// Names the field that is out of its range.
    pub fn check(&self) -> Result<(), TextError> {
        let range = |what, value: u32, least: u32, most: u32| {
            let reason = || format!("must be {least} to {most} seconds");
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(TextError::new(what, &value.to_string(), reason()))
            }
        };
        if self.limit == Some(Scope::Fleet) {
            return Err(TextError::new("limit", "fleet", "is every node: leave the limit out"));
        }
        if self.waves.len() > 20 {
            return Err(TextError::new("waves", &self.waves.len().to_string(), "at most 20 waves are allowed"));
        }
        if self.gates.len() > 10 {
            return Err(TextError::new("gates", &self.gates.len().to_string(), "at most 10 gates are allowed"));
        }
        range("soak", self.soak_secs, 0, 86_400)?;
        range("stage deadline", self.deadline_secs, 10, 86_400)?;
        self.gates.iter().try_for_each(Gate::check)
    }

    /// Returns whether something is measured on a wave before the change reaches it.
    pub fn needs_before(&self) -> bool {
        self.gates.iter().any(Gate::needs_before)
    }

    /// Divides nodes into waves, those within the limit first. Nodes that are connected come first within a wave's choice, so
    /// that a canary can sing; then the order is by name. No wave is empty.
    pub fn divide(&self, nodes: Vec<Candidate<'_>>) -> Division {
        let (within, beyond) = nodes.into_iter().partition(|n| n.is_within);
        let waves = |nodes| {
            let chosen = self.chosen(nodes).into_iter().filter(|w| !w.is_empty());
            chosen.map(|w| w.iter().map(|n| n.id).collect()).collect::<Vec<Vec<NodeId>>>()
        };
        let (mut all, beyond) = (waves(within), waves(beyond));
        let limited = if beyond.is_empty() { 0 } else { all.len() };
        all.extend(beyond);
        Division { waves: all, limited }
    }

    /// Returns the first wave, if none of the nodes is in it although there are some: the next would be the first to get
    /// the change, which nobody asked for.
    pub fn empty_first(&self, mut nodes: Vec<Candidate<'_>>) -> Option<&Wave> {
        nodes.retain(|n| n.is_within);
        let has_nodes = !nodes.is_empty();
        let is_empty = self.chosen(nodes).first().is_some_and(Vec::is_empty);
        self.waves.first().filter(|_| has_nodes && is_empty)
    }

    fn chosen<'a>(&self, mut nodes: Vec<Candidate<'a>>) -> Vec<Vec<Candidate<'a>>> {
        nodes.sort_by(|a, b| (!a.is_online, a.name).cmp(&(!b.is_online, b.name)));
        let total = nodes.len();
        let mut waves = Vec::new();
        for wave in &self.waves {
            let taken = total - nodes.len();
            let chosen: Vec<Candidate<'_>> = match wave {
                Wave::Next(Amount::Count(count)) => nodes.drain(..nodes.len().min(*count as usize)).collect(),
                Wave::Next(Amount::Percent(percent)) => {
                    let until = (total * usize::from(*percent)).div_ceil(100);
                    nodes.drain(..until.saturating_sub(taken).min(nodes.len())).collect()
                }
                Wave::Labelled(selector) => {
                    let (chosen, rest) = nodes.into_iter().partition(|n| selector.matches(n.labels));
                    nodes = rest;
                    chosen
                }
            };
            waves.push(chosen);
        }
        waves.push(nodes);
        waves
    }
}

/// Nodes in waves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Division {
    /// Who, wave by wave.
    pub waves: Vec<Vec<NodeId>>,
    /// How many of the waves are within the limit; 0 when nobody is beyond it.
    pub limited: usize,
}

/// A node that a rollout is about to reach.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: &'a NodeName,
    /// Its labels.
    pub labels: &'a Labels,
    /// Whether it is connected.
    pub is_online: bool,
    /// Whether it is within the limit; so is everybody where there is none.
    pub is_within: bool,
}

/// One wave: `1` (that many more nodes), `25%` (until this share of all nodes is reached), `label:zone=a` (who of the
/// rest carries these labels).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Wave {
    /// So many.
    Next(Amount),
    /// Those with these labels.
    Labelled(Selector),
}

crate::text::string_schema!(Wave, "25%");

impl FromStr for Wave {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        if let Some(selector) = text.strip_prefix("label:") {
            return selector.parse().map(Self::Labelled);
        }
        let amount: Amount = text.parse().map_err(|_| {
            TextError::new("wave", text, "write a number of nodes, a percentage such as 25%, or label:KEY=VALUE")
        })?;
        match amount {
            Amount::Count(0) | Amount::Percent(0) => Err(TextError::new("wave", text, "takes at least one node")),
            amount => Ok(Self::Next(amount)),
        }
    }
}

impl fmt::Display for Wave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next(amount) => amount.fmt(f),
            Self::Labelled(selector) => write!(f, "label:{selector}"),
        }
    }
}

/// A number of nodes, or a share of them: `3`, `25%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Amount {
    /// So many, 0 to 100,000.
    Count(u32),
    /// This share, 0 to 100 percent.
    Percent(u8),
}

crate::text::string_schema!(Amount, "25%");

impl Amount {
    /// Returns how many of `total` that is; a share is rounded down.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => total * usize::from(percent) / 100,
        }
    }
}

impl FromStr for Amount {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let error =
            || TextError::new("amount", text, "write a number of nodes up to 100000, or a percentage up to 100%");
        match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|p| *p <= 100).map(Self::Percent).ok_or_else(error),
            None => text.parse().ok().filter(|c| *c <= 100_000).map(Self::Count).ok_or_else(error),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

macro_rules! through_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, TextError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
through_text!(Wave);
through_text!(Amount);

/// What must hold on each node of a wave: a probe, or a command that exits with 0 (a check, a support script by its path).
/// One of the two is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The program by absolute path, with its arguments; no shell reads it. 1 to 64 of them, 4 KiB in all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// What is asked, without running anybody's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The node that asks, in place of the nodes of the wave; it need not be of the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<NodeName>,
    /// Whom a command runs as; `nobody` by default. A probe has no user's rights.
    #[serde(default = "nobody")]
    pub user: UserName,
    /// How long a command may run, in seconds, 1 to 3,600; 60 by default. The stage's deadline ends it as well. A probe has
    /// times of its own.
    #[serde(default = "a_minute")]
    pub timeout_secs: u32,
}

fn nobody() -> UserName {
    UserName::parse("nobody").expect("it is a user name")
}

fn a_minute() -> u32 {
    60
}

impl Gate {
    /// A gate that runs a command on each node of a wave.
    pub fn command(command: Vec<String>, user: UserName) -> Self {
        Self { command, probe: None, from: None, user, timeout_secs: a_minute() }
    }

    /// A gate that asks a probe on each node of a wave.
    pub fn probe(probe: Probe) -> Self {
        Self { probe: Some(probe), ..Self::command(Vec::new(), nobody()) }
    }

    /// Returns what is asked, for people.
    pub fn title(&self) -> String {
        let asked = match &self.probe {
            Some(probe) => probe.title(),
            None => self.command.join(" "),
        };
        match &self.from {
            Some(node) => format!("{asked}, asked by {node}"),
            None => asked,
        }
    }

    /// Returns whether it compares with the value from before the change.
    pub fn needs_before(&self) -> bool {
        self.probe.as_ref().is_some_and(Probe::needs_before)
    }

    fn check(&self) -> Result<(), TextError> {
        if let Some(probe) = &self.probe {
            if !self.command.is_empty() {
                return Err(TextError::new("gate", &self.command.join(" "), "give either a command or a probe"));
            }
            return probe.check();
        }
        let shown = self.command.join(" ");
        if !(1..=64).contains(&self.command.len()) || shown.len() > 4096 {
            return Err(TextError::new("gate", &shown, "takes 1 to 64 arguments, 4096 bytes in all"));
        }
        if !self.command[0].starts_with('/') {
            return Err(TextError::new("gate", &shown, "name the program by its absolute path"));
        }
        if !(1..=3600).contains(&self.timeout_secs) {
            return Err(TextError::new("gate", &self.timeout_secs.to_string(), "may run for 1 to 3600 seconds"));
        }
        self.command.iter().try_for_each(|argument| check_line("gate", argument, 4096))
    }
}

/// What happens when a wave fails: its budget is spent, a gate says no, or its deadline passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Every node that has the change gets what stood before, all at once.
    #[default]
    Revert,
    /// The rollout pauses and asks for a decision.
    Pause,
    /// The next wave begins all the same.
    Promote,
}
