//! A cron job: what cron runs, when, as whom and with which environment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Schedule, UserName};
use crate::{
    TextError,
    template::Template,
    text::{check_line, check_name, text_newtype},
};

text_newtype!(
    /// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 64 characters.
    EnvName,
    |text| check_name(
        "environment variable",
        text,
        64,
        |i, c| c.is_ascii_alphabetic() || c == '_' || (i > 0 && c.is_ascii_digit()),
        "use letters, digits and '_', not starting with a digit",
    )
);

text_newtype!(
    /// An IANA time zone: `Europe/Berlin`, `UTC`. Whether it exists is checked where zones are known (render).
    TimeZoneName,
    |text| check_name(
        "time zone",
        text,
        64,
        |_, c| c.is_ascii_alphanumeric() || "/_+-".contains(c),
        "use a name such as Europe/Berlin",
    )
);

/// Which of cron's files a job goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CronTable {
    /// A file of its own: `/etc/cron.d/lampas-NAME`.
    #[default]
    System,
    /// A block in the user's own crontab, installed through `crontab -u`.
    User,
}

/// A job under the node's cron. The object's name is the job's: `[A-Za-z0-9_-]+`, since cron ignores other files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CronJob {
    /// When it runs: five fields or `@daily` and the like.
    pub schedule: Schedule,
    /// The account that it runs as; `root` by default.
    #[serde(default = "UserName::root")]
    pub user: UserName,
    /// The command, run by `/bin/sh -c`; one line, at most 8,000 bytes. `%` is literal, or may be written `\%` as in a
    /// crontab; input after an unescaped `%` is not a feature here.
    pub command: String,
    /// Variables of its environment; `PATH` is explicit and has the system's directories unless set here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<EnvName, String>,
    /// Whether names in the values of its environment stand for values: `{{var.NAME}}`, `{{secret.NAME}}`, `{{fact.hostname}}`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// Who gets the output by mail: an address list, `""` for nobody; cron's default (the user) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailto: Option<String>,
    /// The zone that the schedule is meant in; the node's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<TimeZoneName>,
    /// Which of cron's files it goes to; a system file by default.
    #[serde(default)]
    pub table: CronTable,
    /// Seconds after which a run is ended (SIGTERM, ten seconds later SIGKILL); 1 to 604,800; no limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u32>,
    /// Whether the job stands in cron's file at all; `true` by default.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

impl CronJob {
    /// Returns the command with `\%` read as `%`, as cron hands it to the shell.
    pub fn shell_command(&self) -> String {
        self.command.replace("\\%", "%")
    }

    pub(crate) fn check(&self, name: &str) -> Result<(), TextError> {
        check_name(
            "name",
            name,
            64,
            |_, c| c.is_ascii_alphanumeric() || "_-".contains(c),
            "a cron job's name has letters, digits, '_' and '-' only, since cron ignores other files",
        )?;
        if self.command.trim().is_empty() {
            return Err(TextError::new("command", &self.command, "is empty"));
        }
        check_line("command", &self.command, 8000)?;
        if self.environment.len() > 64 {
            return Err(TextError::new(
                "environment",
                &self.environment.len().to_string(),
                "at most 64 variables are allowed",
            ));
        }
        for (name, value) in &self.environment {
            check_line("environment", value, 4096)?;
            if self.template {
                Template::parse(value).map_err(|e| TextError { what: "environment", ..e })?;
            }
            if matches!(name.as_str(), "LOGNAME" | "USER" | "MAILTO" | "CRON_TZ") {
                return Err(TextError::new("environment", name.as_str(), "is set by cron or by a field of its own"));
            }
        }
        if let Some(mailto) = &self.mailto {
            check_line("mailto", mailto, 500)?;
            if !mailto.chars().all(|c| c.is_ascii_alphanumeric() || "@._+-, =".contains(c)) {
                return Err(TextError::new("mailto", mailto, "write addresses joined with ','"));
            }
        }
        if self.timeout_secs.is_some_and(|s| !(1..=604_800).contains(&s)) {
            return Err(TextError::new(
                "timeout_secs",
                &self.timeout_secs.unwrap_or(0).to_string(),
                "is not in 1 to 604800",
            ));
        }
        if self.time_zone.is_some() && self.schedule.is_reboot() {
            return Err(TextError::new("time_zone", "@reboot", "a job that runs when cron starts has no time zone"));
        }
        Ok(())
    }
}
