//! Probes as words: what is typed on a command line, and what travels to a node.
//!
//! ```text
//! tcp 127.0.0.1:5432
//! http http://127.0.0.1/health status=200-299 contains=ok within=30s
//! unit nginx.service
//! process nginx
//! metric load_per_core < 2 for=1m
//! metric disk_free_percent:/var > 10
//! metric http://127.0.0.1:9100/metrics 'errors_total{code="500"}' <= before+10% for=1m every=5s
//! ```

use super::{
    Bound, Compare, HttpProbe, Measure, MeasureProbe, Method, Number, Probe, ProbeHost, ProbeUrl, ProcessProbe,
    SeriesProbe, TcpProbe, Tls, UnitProbe, What, place,
};
use crate::{
    TextError,
    host::{ManagedPath, UnitName},
};

/// The most words, and the most bytes of all of them.
const MAX_WORDS: usize = 40;
const MAX_BYTES: usize = 8 << 10;

impl Probe {
    /// Reads a probe from its words.
    ///
    /// # Errors
    /// Names the word that is wrong.
    pub fn from_words(words: &[String]) -> Result<Self, TextError> {
        if words.len() > MAX_WORDS || words.iter().map(String::len).sum::<usize>() > MAX_BYTES {
            return Err(TextError::new("probe", &words.join(" "), "is too long"));
        }
        let mut rest = Rest { words: words.iter().map(String::as_str).collect(), at: 0 };
        let kind = rest.next("what is asked: tcp, http, unit, process or metric")?;
        let what = match kind {
            "tcp" => tcp(&mut rest)?,
            "http" => {
                let url = rest.next("a URL")?;
                http(&mut rest, url)?
            }
            "unit" => What::Unit(UnitProbe { unit: UnitName::of(rest.next("the name of a unit")?)? }),
            "process" => What::Process(ProcessProbe { process: rest.next("the name of a process")?.to_owned() }),
            "metric" => metric(&mut rest)?,
            url if url.starts_with("http://") || url.starts_with("https://") => http(&mut rest, url)?,
            other => return Err(TextError::new("probe", other, "is none of tcp, http, unit, process and metric")),
        };
        let mut probe = Self::of(what);
        while let Some(word) = rest.more() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let place = match name {
                "timeout" => &mut probe.timeout_secs,
                "within" => &mut probe.within_secs,
                "for" => &mut probe.for_secs,
                "every" => &mut probe.every_secs,
                _ => return Err(TextError::new("probe", word, "is not known here, or given twice")),
            };
            *place = seconds(value)?;
        }
        probe.check()?;
        Ok(probe)
    }

    /// Returns its words; reading them gives it back.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        match &self.what {
            What::Tcp(tcp) => {
                words.extend(["tcp".to_owned(), format!("{}:{}", tcp.host.in_url(), tcp.port)]);
                if let Some(tls) = &tcp.tls {
                    words.push("tls".to_owned());
                    words.extend(tls_words(tls));
                }
                words.extend(tcp.elsewhere.then(|| "elsewhere".to_owned()));
            }
            What::Http(http) => {
                words.extend(["http".to_owned(), http.url.to_string()]);
                words.extend((http.method == Method::Head).then(|| "method=HEAD".to_owned()));
                words.push(format!("status={}-{}", http.status_from, http.status_to));
                words.extend((!http.contains.is_empty()).then(|| format!("contains={}", http.contains)));
                words.extend((!http.host.is_empty()).then(|| format!("host={}", http.host)));
                words.extend(tls_words(&http.tls));
                words.extend(http.elsewhere.then(|| "elsewhere".to_owned()));
            }
            What::Unit(unit) => words.extend(["unit".to_owned(), unit.unit.to_string()]),
            What::Process(process) => words.extend(["process".to_owned(), process.process.clone()]),
            What::Measure(measure) => {
                let path = measure.path.as_ref().map(|p| format!(":{p}")).unwrap_or_default();
                words.extend(["metric".to_owned(), format!("{}{path}", measure.measure.as_str())]);
                words.extend(bound_words(&measure.bound));
            }
            What::Series(series) => {
                words.extend(["metric".to_owned(), series.url.to_string(), series.series.to_string()]);
                words.extend(bound_words(&series.bound));
                words.extend(tls_words(&series.tls));
                words.extend(series.elsewhere.then(|| "elsewhere".to_owned()));
            }
        }
        words.push(format!("timeout={}s", self.timeout_secs));
        words.extend((self.within_secs > 0).then(|| format!("within={}s", self.within_secs)));
        words.extend((self.for_secs > 0).then(|| format!("for={}s", self.for_secs)));
        words.push(format!("every={}s", self.every_secs));
        words
    }
}

struct Rest<'a> {
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Rest<'a> {
    fn next(&mut self, what: &str) -> Result<&'a str, TextError> {
        self.more().ok_or_else(|| TextError::new("probe", &self.words.join(" "), format!("lacks {what}")))
    }

    fn more(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied();
        self.at += 1;
        word
    }

    /// Takes `NAME=VALUE` out of what follows.
    fn option(&mut self, name: &str) -> Option<&'a str> {
        let from = self.at.min(self.words.len());
        let at = self.words[from..].iter().position(|w| w.strip_prefix(name).is_some_and(|r| r.starts_with('=')))?;
        Some(&self.words.remove(from + at)[name.len() + 1..])
    }

    /// Takes a word out of what follows.
    fn flag(&mut self, name: &str) -> bool {
        let from = self.at.min(self.words.len());
        let at = self.words[from..].iter().position(|w| *w == name);
        at.map(|at| self.words.remove(from + at)).is_some()
    }
}

fn tcp(rest: &mut Rest<'_>) -> Result<What, TextError> {
    let place = rest.next("HOST:PORT")?;
    let wrong = || TextError::new("port", place, "write HOST:PORT, or a port alone for the node itself");
    let (host, port) = match place.parse::<u16>() {
        Ok(port) => ("127.0.0.1", port),
        Err(_) => match place::split_port(place).ok_or_else(wrong)? {
            (host, Some(port)) => (host, port),
            (_, None) => return Err(wrong()),
        },
    };
    let is_tls = rest.flag("tls");
    let tls = tls(rest)?;
    if !is_tls && tls != Tls::default() {
        return Err(TextError::new("probe", place, "say tls as well, or leave out what is expected of it"));
    }
    let elsewhere = rest.flag("elsewhere");
    Ok(What::Tcp(TcpProbe { host: ProbeHost::parse(host)?, port, tls: is_tls.then_some(tls), elsewhere }))
}

fn http(rest: &mut Rest<'_>, url: &str) -> Result<What, TextError> {
    let url: ProbeUrl = url.parse()?;
    let method = match rest.option("method") {
        None | Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some(other) => return Err(TextError::new("method", other, "is neither GET nor HEAD")),
    };
    let status = rest.option("status").unwrap_or("200-299");
    let (from, to) = status.split_once('-').unwrap_or((status, status));
    let number = |text: &str| {
        text.parse::<u16>().map_err(|_| TextError::new("status", status, "write a status, or a range: 200, 200-299"))
    };
    Ok(What::Http(HttpProbe {
        url,
        method,
        status_from: number(from)?,
        status_to: number(to)?,
        contains: rest.option("contains").unwrap_or_default().to_owned(),
        host: rest.option("host").unwrap_or_default().to_owned(),
        tls: tls(rest)?,
        elsewhere: rest.flag("elsewhere"),
    }))
}

fn metric(rest: &mut Rest<'_>) -> Result<What, TextError> {
    let of = rest.next("a measure, or a URL and a series")?;
    if of.starts_with("http://") || of.starts_with("https://") {
        let url = of.parse()?;
        let series = rest.next("the name of a series")?.parse()?;
        let bound = bound(rest)?;
        return Ok(What::Series(SeriesProbe {
            url,
            series,
            bound,
            tls: tls(rest)?,
            elsewhere: rest.flag("elsewhere"),
        }));
    }
    let (name, path) = of.split_once(':').map_or((of, None), |(name, path)| (name, Some(path)));
    let measure = Measure::ALL.iter().copied().find(|m| m.as_str() == name).ok_or_else(|| {
        let all: Vec<&str> = Measure::ALL.iter().map(|m| m.as_str()).collect();
        TextError::new("metric", of, format!("is neither a URL nor one of {}", all.join(", ")))
    })?;
    // The root is what is meant without a path.
    let path = path.filter(|p| *p != "/").map(ManagedPath::parse).transpose()?;
    Ok(What::Measure(MeasureProbe { measure, path, bound: bound(rest)? }))
}

fn bound(rest: &mut Rest<'_>) -> Result<Bound, TextError> {
    let compare: Compare = rest.next("one of <, <=, > and >=")?.parse()?;
    let text = rest.next("a number, or before+10%")?;
    let sign = if compare.is_upper() { '+' } else { '-' };
    let Some(after) = text.strip_prefix("before") else {
        return Ok(Bound { compare, number: Some(text.parse()?), worse_percent: None });
    };
    let percent = if after.is_empty() { Some("0") } else { after.strip_prefix(sign).and_then(|a| a.strip_suffix('%')) };
    let percent = percent
        .ok_or_else(|| TextError::new("bound", text, format!("with {} it is before{sign}10%", compare.as_str())))?;
    Ok(Bound { compare, number: None, worse_percent: Some(percent.parse()?) })
}

fn bound_words(bound: &Bound) -> Vec<String> {
    let sign = if bound.compare.is_upper() { '+' } else { '-' };
    let with = match (bound.number, bound.worse_percent) {
        (Some(number), _) => number.to_string(),
        (None, percent) => {
            format!("before{sign}{}%", percent.or(Number::new(0.0)).map(|p| p.to_string()).unwrap_or_default())
        }
    };
    vec![bound.compare.as_str().to_owned(), with]
}

fn tls(rest: &mut Rest<'_>) -> Result<Tls, TextError> {
    let days = rest.option("days").map(|d| d.parse().map_err(|_| TextError::new("days", d, "is no number of days")));
    Ok(Tls {
        server_name: rest.option("server-name").unwrap_or_default().to_owned(),
        ca: rest.option("ca").map(ManagedPath::parse).transpose()?,
        insecure: rest.flag("insecure"),
        days_left: days.transpose()?.unwrap_or(0),
    })
}

fn tls_words(tls: &Tls) -> Vec<String> {
    let mut words = Vec::new();
    words.extend((!tls.server_name.is_empty()).then(|| format!("server-name={}", tls.server_name)));
    words.extend(tls.ca.as_ref().map(|ca| format!("ca={ca}")));
    words.extend(tls.insecure.then(|| "insecure".to_owned()));
    words.extend((tls.days_left > 0).then(|| format!("days={}", tls.days_left)));
    words
}

/// Reads `30`, `30s`, `5m`, `1h`.
fn seconds(text: &str) -> Result<u32, TextError> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(TextError::new("time", text, "write 30s, 5m or 1h")),
    };
    let seconds = digits.parse::<u32>().ok().and_then(|n| n.checked_mul(unit));
    seconds.ok_or_else(|| TextError::new("time", text, "write 30s, 5m or 1h"))
}
