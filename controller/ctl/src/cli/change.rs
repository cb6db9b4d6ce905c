//! Arguments about manifests, objects, changes and drift.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lampas_api::ManifestSet;
use lampas_shared::{
    fleet::{RoleName, Scope},
    probe::Probe,
    rollout::{Amount, Gate, OnFailure, Strategy, Wave},
    source::SourceName,
    time::UnixMs,
};

use super::{ControlArgs, ListArgs, SignArgs, Sure, WaitArgs, duration_secs, moment};

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A manifest or a directory of manifests; repeat for several; `-` for standard input
    #[arg(short, long = "file")]
    pub(crate) file: Vec<PathBuf>,
    /// Only plan; or, with a plan's id and no file, apply that plan
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    pub(crate) plan: Option<String>,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Say in the history which commit of a git checkout the manifests lie in
    #[arg(long, requires = "file")]
    pub(crate) source: bool,
    /// With --plan: print it as Markdown, for a comment on a merge request
    #[arg(long, requires = "plan")]
    pub(crate) markdown: bool,
    #[command(flatten)]
    pub(crate) how: ApplyHow,
}

/// The set that manifests are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Set of manifests")]
pub(crate) struct SetArgs {
    /// The name that these manifests go by together; their objects are of this set afterwards
    #[arg(long, value_name = "NAME", requires = "file")]
    pub(crate) set: Option<SourceName>,
    /// Delete the objects of the set that the manifests no longer name; nothing else is ever deleted
    #[arg(long, requires = "set")]
    pub(crate) prune: bool,
    /// With --prune: go on although the manifests hold no object, so that all of the set goes
    #[arg(long, requires = "prune")]
    pub(crate) allow_empty: bool,
    /// Take objects of another set into this one; refused otherwise
    #[arg(long, requires = "set")]
    pub(crate) take: bool,
}

impl SetArgs {
    /// Returns the set as it is asked for.
    pub(crate) fn wanted(&self) -> Option<ManifestSet> {
        let name = self.set.clone()?;
        Some(ManifestSet { name, prune: self.prune, allow_empty: self.allow_empty, take: self.take })
    }
}

/// How what was planned is applied.
#[derive(Debug, Args)]
pub(crate) struct ApplyHow {
    /// Why, for the history
    #[arg(long, short = 'm', default_value = "")]
    pub(crate) reason: String,
    /// Go on although some nodes could not be asked; they get it when they return
    #[arg(long)]
    pub(crate) allow_unplanned: bool,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// How a change reaches its nodes; all at once by default.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Rollout")]
pub(crate) struct RolloutArgs {
    /// Reach only the nodes of this scope now; the rest waits until somebody says so: role:app, label:zone=a, node:web-1
    ///
    /// Waves are then made of these nodes, and afterwards of the rest. With --plan it is part of the plan. When nobody lets it
    /// go on to the rest within a day, --on-failure says what happens.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) limit: Option<Scope>,
    /// Waves: so many more nodes, up to a share of all, or by label: 1,25%,label:zone=a; who is left comes last
    #[arg(long, value_delimiter = ',', value_name = "WAVE,…")]
    pub(crate) waves: Vec<Wave>,
    /// First on so many nodes
    #[arg(long, value_name = "N", conflicts_with = "waves")]
    pub(crate) canary: Option<Amount>,
    /// After the canary, wave by wave so many or such a share
    #[arg(long, value_name = "AMOUNT", requires = "canary")]
    pub(crate) then: Option<Amount>,
    /// How many nodes may fail or be away: 2, 5%  [default: 0]
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) max_failures: Option<Amount>,
    /// A command that must exit with 0 on each node of a wave, by absolute path; repeat for several
    #[arg(long, value_name = "COMMAND")]
    pub(crate) gate: Vec<String>,
    /// Whom the gates run as  [default: nobody]
    #[arg(long, value_name = "USER", requires = "gate")]
    pub(crate) gate_user: Option<String>,
    /// What must hold on each node of a wave, asked by the node itself, in words; repeat for several
    ///
    /// `http http://127.0.0.1/health status=200 contains=ok`, `tcp 5432`, `tcp db-1:443 tls days=14`, `unit nginx`,
    /// `process nginx`, `metric load_per_core < 2`, `metric disk_free_percent:/var > 10`,
    /// `metric http://127.0.0.1:9100/metrics 'errors_total{code="500"}' <= before+10%`. After them: `timeout=10s`,
    /// `within=30s` (until it holds), `for=1m` (must hold), `every=5s`, `from=NODE` (asked by that node), `elsewhere` (goes
    /// to a host that is not of the fleet); of https `ca=FILE`, `insecure`, `days=N`.
    #[arg(long, value_name = "PROBE")]
    pub(crate) probe: Vec<String>,
    /// How long a wave must stay well before the next one
    #[arg(long, value_name = "TIME", value_parser = duration_secs)]
    pub(crate) soak: Option<u64>,
    /// How long a wave may take  [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration_secs)]
    pub(crate) stage_deadline: Option<u64>,
    /// When a wave fails  [default: revert]
    #[arg(long, value_enum)]
    pub(crate) on_failure: Option<OnFailureArg>,
}

/// What happens when a wave fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnFailureArg {
    /// Put back what stood before
    Revert,
    /// Wait for somebody
    Pause,
    /// Go on
    Promote,
}

impl RolloutArgs {
    /// Returns the strategy that was asked for.
    pub(crate) fn strategy(&self) -> Result<Strategy, String> {
        let mut strategy = Strategy { limit: self.limit.clone(), waves: self.waves.clone(), ..Strategy::default() };
        if let Some(canary) = self.canary {
            strategy.waves = vec![Wave::Next(canary)];
            strategy.waves.extend(match self.then {
                Some(Amount::Percent(percent)) if percent > 0 => (1..)
                    .map(|n| n * u32::from(percent))
                    .take_while(|p| *p < 100)
                    .map(|p| Wave::Next(Amount::Percent(p as u8)))
                    .take(19)
                    .collect(),
                Some(Amount::Count(count)) if count > 0 => vec![Wave::Next(Amount::Count(count)); 19],
                _ => Vec::new(),
            });
        }
        for gate in &self.gate {
            let command = shlex::split(gate).ok_or_else(|| format!("--gate {gate:?}: a quote is not closed"))?;
            let user = self.gate_user.as_deref().unwrap_or("nobody");
            let user = user.parse().map_err(|e| format!("--gate-user: {e}"))?;
            strategy.gates.push(Gate::command(command, user));
        }
        for text in &self.probe {
            strategy.gates.push(probe_gate(text).map_err(|e| format!("--probe {text:?}: {e}"))?);
        }
        let secs = |time: Option<u64>, default: u32| time.map_or(default, |t| u32::try_from(t).unwrap_or(u32::MAX));
        strategy.soak_secs = secs(self.soak, strategy.soak_secs);
        strategy.deadline_secs = secs(self.stage_deadline, strategy.deadline_secs);
        strategy.max_failures = self.max_failures.unwrap_or(strategy.max_failures);
        strategy.on_failure = match self.on_failure {
            Some(OnFailureArg::Pause) => OnFailure::Pause,
            Some(OnFailureArg::Promote) => OnFailure::Promote,
            Some(OnFailureArg::Revert) | None => OnFailure::Revert,
        };
        strategy.check().map_err(|e| e.to_string())?;
        Ok(strategy)
    }
}

/// Reads a probe, and who asks it.
fn probe_gate(text: &str) -> Result<Gate, String> {
    let words = shlex::split(text).ok_or("a quote is not closed")?;
    let (from, words): (Vec<String>, Vec<String>) = words.into_iter().partition(|w| w.starts_with("from="));
    let from = match &from[..] {
        [] => None,
        [one] => Some(one["from=".len()..].parse().map_err(|e| format!("{e}"))?),
        _ => return Err("one node asks; from= is given twice".to_owned()),
    };
    let probe = Probe::from_words(&words).map_err(|e| e.to_string())?;
    Ok(Gate { from, ..Gate::probe(probe) })
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// List the changes that are rolling out
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show the waves of a change
    Show {
        /// The change's number or id
        change: String,
    },
    /// Release no further wave
    Pause(RolloutOrderArgs),
    /// Go on: the wave's time begins anew and its gates are asked again
    Resume(RolloutOrderArgs),
    /// Take the wave as it is and begin the next
    Promote(RolloutOrderArgs),
    /// End it here: who has the change keeps it, nobody else gets it
    Abort(RolloutOrderArgs),
    /// Put back what stood before, on all nodes at once
    Revert(RolloutOrderArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RolloutOrderArgs {
    /// The change's number or id
    pub(crate) change: String,
    /// Why
    #[arg(long, short = 'm', default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A manifest or a directory of manifests; repeat for several; `-` for standard input
    #[arg(short, long = "file", required_unless_present = "from", conflicts_with = "from")]
    pub(crate) file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    #[command(flatten)]
    pub(crate) past: PastDiffArgs,
}

/// Two moments of the past instead of manifests.
#[derive(Debug, Args)]
#[command(next_help_heading = "Two moments")]
pub(crate) struct PastDiffArgs {
    /// What became of objects and nodes from this moment: 2026-01-31T09:30:00Z, or how long ago: 90m, 2d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) from: Option<UnixMs>,
    /// To this one  [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "from")]
    pub(crate) to: Option<UnixMs>,
    /// Of this role alone
    #[arg(long, requires = "from", conflicts_with = "node")]
    pub(crate) role: Option<RoleName>,
    /// Of this node alone, by name or id
    #[arg(long, requires = "from")]
    pub(crate) node: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Only this scope: fleet, role:app, node:web-1
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// Only this kind: cron, hosts, script, file, directory, link, sudoers, sysctl, service, user, group, package, var, secret
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// As it stood at this moment: 2026-01-31T09:30:00Z, or how long ago: 90m, 2d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<UnixMs>,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// From this moment: 2026-01-31T09:30:00Z, or how long ago: 90m, 2d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) from: UnixMs,
    /// To this one  [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) to: Option<UnixMs>,
    /// Only this scope: fleet, role:app, node:web-1
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// Only this kind: cron, hosts, script, file, directory, link, sudoers, sysctl, service, user, group, package, var, secret
    #[arg(long)]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectCommand {
    /// List objects
    List {
        /// Part of a name
        query: Option<String>,
        /// Only this kind
        #[arg(long)]
        kind: Option<String>,
        /// Only this scope
        #[arg(long)]
        scope: Option<String>,
        /// Only what is in this set of manifests
        #[arg(long, value_name = "NAME")]
        set: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// List the sets of manifests that objects were applied as: apply --set NAME
    Sets,
    /// List objects that were deleted, the last first; history and restore take them by name too
    Deleted {
        /// Only this kind
        #[arg(long)]
        kind: Option<String>,
        /// Only this scope
        #[arg(long)]
        scope: Option<String>,
        /// Only this name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show an object as a manifest, with where it is in force
    Show {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
    },
    /// List its revisions
    History {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
    },
    /// Compare two revisions; the last two by default
    Compare {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
        /// The older one
        #[arg(long)]
        from: Option<u64>,
        /// The newer one
        #[arg(long)]
        to: Option<u64>,
    },
    /// Bring back a revision, as a new one
    Restore {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
        /// The revision
        #[arg(long)]
        revision: u64,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Delete an object; on the nodes, what stood before it comes back
    Delete {
        /// Id, or KIND/NAME, or KIND/SCOPE/NAME
        object: String,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChangeCommand {
    /// List changes, the newest first
    List {
        /// Only in this state: draft, planned, approved, rolling, done, abandoned
        #[arg(long)]
        state: Option<String>,
        /// Only those that edit this scope: fleet, role:app, node:web-1
        #[arg(long)]
        scope: Option<String>,
        /// Only those that edit this kind: cron, hosts, script, file, directory, link, sudoers, sysctl, service, user, group, package, var, secret
        #[arg(long)]
        kind: Option<String>,
        /// Only those of this user
        #[arg(long)]
        author: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a change: drafts, plan, nodes
    Show {
        /// Its number or id
        change: String,
    },
    /// Plan it again
    Plan {
        /// Its number or id
        change: String,
        /// For the nodes of this scope first; `fleet` takes a limit off. Without it, as the plan before
        #[arg(long, value_name = "SCOPE")]
        limit: Option<Scope>,
    },
    /// Apply its current plan
    Apply {
        /// Its number or id
        change: String,
        /// Refuse unless this is still the plan
        #[arg(long)]
        plan: Option<String>,
        /// Go on although some nodes could not be asked
        #[arg(long)]
        allow_unplanned: bool,
        /// Why, for what is overridden
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        control: Box<ControlArgs>,
        #[command(flatten)]
        rollout: RolloutArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Approve somebody else's plan: shows it and asks, or takes the one that was seen
    Approve {
        /// Its number or id
        change: String,
        /// The plan that was seen; refused when it is another meanwhile
        #[arg(long)]
        plan: Option<String>,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Send somebody's plan back: the change is a draft again
    Decline {
        /// Its number or id
        change: String,
        /// Why
        #[arg(long, short = 'm')]
        reason: String,
    },
    /// Take it off the schedule
    Unschedule {
        /// Its number or id
        change: String,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
    },
    /// Sign the root code of its plan, for nodes whose policy wants an operator's signature
    Sign {
        /// Its number or id
        change: String,
        #[command(flatten)]
        how: Box<SignArgs>,
    },
    /// Drop it before it is applied
    Abandon {
        /// Its number or id
        change: String,
    },
    /// Undo it by a new change
    Revert {
        /// Its number or id
        change: String,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Wait until every node is done
    Wait {
        /// Its number or id
        change: String,
        /// Give up waiting after this long
        #[arg(long, default_value = "5m", value_parser = duration_secs)]
        timeout: u64,
    },
}

/// Whose lines are taken in the conflicts of a merge.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Conflicts {
    /// The template's
    Template,
    /// The node's, as they stand there
    Node,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DriftCommand {
    /// List what stands; with --all what ended, too
    List {
        /// Only on this node
        #[arg(long)]
        node: Option<String>,
        /// Also what ended
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one with its diff
    Show {
        /// Its id, or NODE:PATH
        drift: String,
    },
    /// Put the desired state back on the node
    Revert {
        /// Its id, or NODE:PATH
        drift: String,
    },
    /// Make it the desired state of the object's scope: opens a change and shows its plan
    ///
    /// A file that a template made is merged into the template: what was edited beside names goes in by itself. Where a
    /// name stood, decide: see the conflicts with --merge FILE, mend FILE and give it as --resolved FILE; or take one side
    /// in all of them.
    Adopt {
        /// Its id, or NODE:PATH
        drift: String,
        /// For this scope instead of the object's own
        #[arg(long)]
        scope: Option<String>,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
        /// Only write the merged template here, conflicts marked; - is standard output. Exit code 10: there are some
        #[arg(long, value_name = "FILE", conflicts_with_all = ["resolved", "conflicts", "scope", "apply"])]
        merge: Option<PathBuf>,
        /// Adopt this as the merged template; with --merge-id
        #[arg(long, value_name = "FILE", conflicts_with = "conflicts", requires = "merge_id")]
        resolved: Option<PathBuf>,
        /// The merge that FILE comes from, as --merge told it: refused when anything moved since
        #[arg(long, value_name = "ID", requires = "resolved")]
        merge_id: Option<String>,
        /// Whose lines are taken in conflicts
        #[arg(long, value_enum, value_name = "SIDE")]
        conflicts: Option<Conflicts>,
        /// Apply the plan at once
        #[arg(long)]
        apply: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
}
