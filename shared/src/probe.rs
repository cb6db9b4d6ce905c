//! Probes: what a node can ask of itself, or of another node, without running anybody's program. Gates of rollouts are made
//! of them.
//!
//! A [`Probe`] says *what* is asked ([`What`]) and how it must *hold*: from when on, for how long, looked at how often. Its
//! answer is a [`Found`]: a line in plain words that names what was measured and the bound, and the number if there is one.
//! Probes have a text form, the words of a command line ([`Probe::from_words`], [`Probe::words`]), which is also what
//! travels to a node: reading it back is the check.
//!
//! Only http and https are spoken, no redirect is followed, and by default an address must be the node's own or that of a
//! node of the fleet.

mod bound;
mod exposition;
mod place;
mod words;

use serde::{Deserialize, Serialize};

pub use bound::{Bound, Compare, Number};
pub use exposition::{Scanner, Series, Values};
pub use place::{METADATA, ProbeHost, ProbeUrl, is_never_reached};

use crate::{
    TextError, check_line,
    host::{ManagedPath, UnitName},
};

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What is asked.
    pub what: What,
    /// How long one answer may take, in seconds, 1 to 60; 10 by default.
    #[serde(default = "ten")]
    pub timeout_secs: u32,
    /// How long it may take until it holds for the first time, in seconds, 0 to 3,600; 0 by default: at once.
    #[serde(default)]
    pub within_secs: u32,
    /// For how long it must hold from then on, in seconds, 0 to 3,600; 0 by default: one answer is enough.
    #[serde(default)]
    pub for_secs: u32,
    /// How much time lies between two looks, in seconds, 1 to 60; 5 by default.
    #[serde(default = "five")]
    pub every_secs: u32,
}

fn ten() -> u32 {
    10
}

fn five() -> u32 {
    5
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ProbeWhat))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A TCP port accepts.
    Tcp(TcpProbe),
    /// A URL answers as it should.
    Http(HttpProbe),
    /// A unit of systemd is active.
    Unit(UnitProbe),
    /// A process of this name runs.
    Process(ProcessProbe),
    /// What the node measures of itself.
    Measure(MeasureProbe),
    /// A value of a Prometheus text endpoint.
    Series(SeriesProbe),
}

/// A TCP port accepts, and speaks TLS if that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {
    /// Where; the node itself (`127.0.0.1`) by default.
    #[serde(default = "ProbeHost::loopback")]
    pub host: ProbeHost,
    /// The port, 1 to 65,535.
    pub port: u16,
    /// With a handshake of TLS; without one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Goes to an address that is neither the node's nor that of a node of the fleet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub elsewhere: bool,
}

/// A URL answers as it should. Redirects are not followed: they are an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// Where: `http://127.0.0.1:8080/health`.
    pub url: ProbeUrl,
    /// How; `GET` by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub method: Method,
    /// The least status that is expected, 100 to 599; 200 by default.
    #[serde(default = "two_hundred")]
    pub status_from: u16,
    /// The greatest one; 299 by default.
    #[serde(default = "two_ninety_nine")]
    pub status_to: u16,
    /// What the first mebibyte of the body must contain; empty for nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub contains: String,
    /// The header `Host`, and the name that the certificate must have; that of the URL when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// What is expected of TLS, of an https URL.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: Tls,
    /// Goes to an address that is neither the node's nor that of a node of the fleet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub elsewhere: bool,
}

/// How a URL is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ProbeMethod))]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// With its body.
    #[default]
    Get,
    /// Without.
    Head,
}

impl Method {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// What is expected of TLS: by default a certificate that the node's own roots vouch for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ProbeTls))]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The name that the certificate must have; the host's when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// A file on the node with the certificates to trust, PEM, in place of the node's roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<ManagedPath>,
    /// Takes any certificate.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure: bool,
    /// For how many days the certificate must still be valid, 0 to 3,650; 0 by default.
    #[serde(skip_serializing_if = "is_default")]
    pub days_left: u32,
}

/// A unit of systemd is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UnitProbe {
    /// Its name: `nginx.service`.
    pub unit: UnitName,
}

/// A process of this name runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProcessProbe {
    /// The name as the kernel knows it (proc(5), comm): of a longer one the first 15 bytes count.
    pub process: String,
}

/// What the node measures of itself, against a bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MeasureProbe {
    /// What.
    pub measure: Measure,
    /// Of which file system, for those of disks; `/` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<ManagedPath>,
    /// The bound.
    pub bound: Bound,
}

macro_rules! measures {
    ($($(#[$meta:meta])* $variant:ident = $text:literal, $unit:literal;)*) => {
        /// What a node can measure of itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ProbeMeasure))]
        #[serde(rename_all = "snake_case")]
        pub enum Measure {
            $($(#[$meta])* $variant,)*
        }

        impl Measure {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Returns what stands after its numbers.
            pub fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }
        }
    };
}

measures! {
    /// The load of the last minute, for each processor.
    LoadPerCore = "load_per_core", "";
    /// The memory that programs could still have, of all.
    MemoryAvailablePercent = "memory_available_percent", " %";
    /// The swap that is taken, of all; 0 without any.
    SwapUsedPercent = "swap_used_percent", " %";
    /// What is free for ordinary users on a file system, of all.
    DiskFreePercent = "disk_free_percent", " %";
    /// The inodes that are free on a file system, of all; 100 where they are not counted.
    InodesFreePercent = "inodes_free_percent", " %";
    /// How many file descriptors are open on the whole machine.
    Descriptors = "descriptors", "";
    /// How many processes there are.
    Processes = "processes", "";
}

impl Measure {
    /// Returns whether it is of a file system.
    pub fn is_of_disk(self) -> bool {
        matches!(self, Self::DiskFreePercent | Self::InodesFreePercent)
    }
}

/// A value of a Prometheus text endpoint, against a bound. Where several series match, each must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SeriesProbe {
    /// The endpoint: `http://127.0.0.1:9100/metrics`.
    pub url: ProbeUrl,
    /// Which: `node_load1`, `http_requests_total{code="500",method!="HEAD"}`.
    pub series: Series,
    /// The bound.
    pub bound: Bound,
    /// What is expected of TLS, of an https URL.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: Tls,
    /// Goes to an address that is neither the node's nor that of a node of the fleet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub elsewhere: bool,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What was measured and what was expected, in one line of at most [`Found::MAX_TEXT`] bytes.
    pub text: String,
    /// What was measured, when it is a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Number>,
}

impl Found {
    /// The longest text.
    pub const MAX_TEXT: usize = 600;

    /// Builds it from what came from outside: in one line, without what can't be seen, and not too long.
    pub fn new(text: &str, value: Option<Number>) -> Self {
        let plain = |c: char| {
            if c.is_control() || crate::deceptive_char(c.encode_utf8(&mut [0; 4])).is_some() { ' ' } else { c }
        };
        let mut line: String = text.chars().map(plain).collect();
        if line.len() > Self::MAX_TEXT {
            line.truncate(line.floor_char_boundary(Self::MAX_TEXT - '…'.len_utf8()));
            line.push('…');
        }
        Self { text: line, value }
    }
}

impl Probe {
    /// Builds one that must hold at once, and once.
    pub fn of(what: What) -> Self {
        Self { what, timeout_secs: ten(), within_secs: 0, for_secs: 0, every_secs: five() }
    }

    /// Checks what no single field can.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check(&self) -> Result<(), TextError> {
        let range = |what, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(TextError::new(what, &value.to_string(), format!("must be {least} to {most} seconds")))
        };
        range("timeout", self.timeout_secs, 1, 60)?;
        range("within", self.within_secs, 0, 3600)?;
        range("for", self.for_secs, 0, 3600)?;
        range("every", self.every_secs, 1, 60)?;
        match &self.what {
            What::Tcp(tcp) => {
                if tcp.port == 0 {
                    return Err(TextError::new("port", "0", "must be 1 to 65535"));
                }
                tcp.tls.as_ref().map_or(Ok(()), Tls::check)
            }
            What::Http(http) => {
                let (from, to) = (http.status_from, http.status_to);
                if !(100..=599).contains(&from) || !(from..=599).contains(&to) {
                    let reason = "must be 100 to 599, the lesser first: 200, 200-299";
                    return Err(TextError::new("status", &format!("{from}-{to}"), reason));
                }
                check_line("contains", &http.contains, 1000)?;
                if !http.contains.is_empty() && http.method == Method::Head {
                    return Err(TextError::new("contains", &http.contains, "the answer to HEAD has no body"));
                }
                if !http.host.is_empty() {
                    place::check_authority("host", &http.host)?;
                }
                check_tls(&http.url, &http.tls)
            }
            What::Unit(_) => Ok(()),
            What::Process(process) => {
                if process.process.is_empty() || process.process.contains('/') {
                    return Err(TextError::new("process", &process.process, "name it as ps(1) does, without a path"));
                }
                check_line("process", &process.process, 64)
            }
            What::Measure(measure) => {
                if measure.path.is_some() && !measure.measure.is_of_disk() {
                    let path = measure.path.as_ref().map(ToString::to_string).unwrap_or_default();
                    return Err(TextError::new(
                        "path",
                        &path,
                        format!("{} is not of a disk", measure.measure.as_str()),
                    ));
                }
                measure.bound.check()
            }
            What::Series(series) => {
                series.bound.check()?;
                check_tls(&series.url, &series.tls)
            }
        }
    }

    /// Returns how long it may take in all, in seconds: until it holds, as long as it must, and the last answer.
    pub fn limit_secs(&self) -> u32 {
        self.within_secs + self.for_secs + self.every_secs + 2 * self.timeout_secs + 5
    }

    /// Returns the bound, where one is compared with.
    pub fn bound(&self) -> Option<&Bound> {
        match &self.what {
            What::Measure(measure) => Some(&measure.bound),
            What::Series(series) => Some(&series.bound),
            _ => None,
        }
    }

    /// Returns whether the value from before the change is needed.
    pub fn needs_before(&self) -> bool {
        self.bound().is_some_and(|bound| bound.worse_percent.is_some())
    }

    /// Returns where it goes over the network, and whether that may be anywhere; nothing for what stays on the node.
    pub fn goes_to(&self) -> Option<(&ProbeHost, bool)> {
        match &self.what {
            What::Tcp(tcp) => Some((&tcp.host, tcp.elsewhere)),
            What::Http(http) => Some((http.url.host(), http.elsewhere)),
            What::Series(series) => Some((series.url.host(), series.elsewhere)),
            What::Unit(_) | What::Process(_) | What::Measure(_) => None,
        }
    }

    /// Lets it go where it goes: somebody found that the host is one of the fleet.
    pub fn permit(&mut self) {
        match &mut self.what {
            What::Tcp(tcp) => tcp.elsewhere = true,
            What::Http(http) => http.elsewhere = true,
            What::Series(series) => series.elsewhere = true,
            What::Unit(_) | What::Process(_) | What::Measure(_) => {}
        }
    }

    /// Returns what is asked, for people: `GET http://127.0.0.1/health`.
    pub fn title(&self) -> String {
        match &self.what {
            What::Tcp(tcp) if tcp.tls.is_some() => format!("TLS on {}:{}", tcp.host.in_url(), tcp.port),
            What::Tcp(tcp) => format!("TCP {}:{}", tcp.host.in_url(), tcp.port),
            What::Http(http) => format!("{} {}", http.method.as_str(), http.url),
            What::Unit(unit) => format!("unit {}", unit.unit),
            What::Process(process) => format!("process {}", process.process),
            What::Measure(measure) => {
                let path = measure.path.as_ref().map(|p| format!(" of {p}")).unwrap_or_default();
                format!("{}{path}", measure.measure.as_str())
            }
            What::Series(series) => format!("{} of {}", series.series, series.url),
        }
    }
}

impl Tls {
    fn check(&self) -> Result<(), TextError> {
        if self.insecure && self.ca.is_some() {
            return Err(TextError::new("insecure", "", "takes any certificate; leave either this or the CA out"));
        }
        if self.days_left > 3650 {
            return Err(TextError::new("days", &self.days_left.to_string(), "must be 0 to 3650"));
        }
        if self.server_name.is_empty() {
            return Ok(());
        }
        ProbeHost::parse(self.server_name.as_str()).map(drop)
    }
}

fn check_tls(url: &ProbeUrl, tls: &Tls) -> Result<(), TextError> {
    if !url.is_tls() && *tls != Tls::default() {
        return Err(TextError::new("url", url.as_str(), "is not https: leave out what is expected of TLS"));
    }
    tls.check()
}

fn two_hundred() -> u16 {
    200
}

fn two_ninety_nine() -> u16 {
    299
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
