//! Arguments about approvals, protections, freezes and scheduled changes.

use clap::{Args, Subcommand};
use lampas_shared::{fleet::Scope, time::UnixMs};

use super::{ListArgs, duration_secs};

/// When a change is applied, and over what.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Approval and schedule")]
pub(crate) struct ControlArgs {
    /// Apply it at this time, if the plan still holds: 2026-11-23T02:00Z, or 4h from now
    #[arg(long, value_name = "TIME", value_parser = point)]
    pub(crate) at: Option<UnixMs>,
    /// When it needs an approval, wait for it; for an hour unless told otherwise
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1h", value_parser = duration_secs)]
    pub(crate) wait_approval: Option<u64>,
    /// Administrators: go on without the approval that it needs; say why with -m
    #[arg(long)]
    pub(crate) override_protection: bool,
    /// Administrators: go on in a freeze; say why with -m
    #[arg(long)]
    pub(crate) override_freeze: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalCommand {
    /// List the plans that wait for an approval, the oldest first
    List {
        /// Only those that this user may approve
        #[arg(long, conflicts_with = "mine")]
        for_me: bool,
        /// Only those that this user made
        #[arg(long)]
        mine: bool,
        #[command(flatten)]
        list: ListArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ProtectArgs {
    /// The scope: fleet, role:database, node:db-1, label:env=prod
    pub(crate) scope: Scope,
    /// Why
    #[arg(long, short = 'm')]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProtectionCommand {
    /// List the protected scopes
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Take a protection away
    Remove {
        /// The scope, or the protection's id
        scope: String,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FreezeCommand {
    /// Let nothing be changed on the nodes of a scope for a while
    Add {
        /// The scope: fleet, role:app, node:web-1, label:env=prod
        #[arg(long)]
        scope: Scope,
        /// From when: 2026-12-20T00:00Z, or 4h from now  [default: now]
        #[arg(long, value_name = "TIME", value_parser = point)]
        from: Option<UnixMs>,
        /// Until when: 2027-01-02T06:00Z, or 12h from now
        #[arg(long, value_name = "TIME", value_parser = point)]
        until: UnixMs,
        /// Why
        #[arg(long, short = 'm')]
        reason: String,
    },
    /// List the freezes that stand or are to come
    List {
        /// Also those of the last month that are over
        #[arg(long)]
        past: bool,
        #[command(flatten)]
        list: ListArgs,
    },
    /// End one before its time
    End {
        /// The scope, or the freeze's id
        freeze: String,
        /// Why
        #[arg(long, short = 'm', default_value = "")]
        reason: String,
    },
}

/// Reads a point in time: RFC 3339, or so long from now.
pub(crate) fn point(text: &str) -> Result<UnixMs, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let secs = duration_secs(text.trim_start_matches('+'))
        .map_err(|_| "write it as 2026-11-23T02:00Z, or as 90m, 4h or 2d from now".to_owned())?;
    Ok(crate::output::now().plus_ms(i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_absolute_or_from_now() {
        assert_eq!(point("2026-11-23T02:00Z").map(|t| t.to_string()), Ok("2026-11-23T02:00:00.000Z".to_owned()));
        assert_eq!(point("2026-11-23T02:00:00+01:00").map(|t| t.to_string()), Ok("2026-11-23T01:00:00.000Z".into()));
        let now = crate::output::now();
        assert!((14_400_000..14_460_000).contains(&point("4h").expect("a time").since(now)));
        for bad in ["", "tomorrow", "2026-11-23", "2026-11-23T02:00", "4", "-4h"] {
            assert!(point(bad).is_err(), "{bad}");
        }
    }
}
