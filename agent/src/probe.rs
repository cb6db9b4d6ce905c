//! Asks probes: what must hold on this node, measured without running anybody's program.
//!
//! A probe is a run of an operation whose last step, `lampas-agent run-step`, asks instead of becoming a program: so that
//! it outlives the agent, has its end, and is told of once. What goes over the network is asked after that process has
//! given up root, the power to write and to start others ([`power`]): nothing that comes from outside is read with any. What
//! the node measures of itself is read from the kernel and from systemd, before.
//!
//! Each look writes its line to the run's output when it says something else than the one before; the last is what was
//! *found*, and goes into the run's record.

mod http;
mod measure;
mod net;
mod power;
mod series;
mod tls;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use lampas_shared::{
    error::Fault,
    operation::ProbeOrder,
    probe::{Bound, Found, Number, Probe, What},
};

use crate::config::Paths;

/// What one look says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// Whether it is as it shall be.
    pub(crate) holds: bool,
    /// In words, and as a number where it is one.
    pub(crate) found: Found,
}

impl Answer {
    fn yes(text: impl AsRef<str>) -> Self {
        Self { holds: true, found: Found::new(text.as_ref(), None) }
    }

    fn no(text: impl AsRef<str>) -> Self {
        Self { holds: false, found: Found::new(text.as_ref(), None) }
    }
}

/// Asks until it is decided, and returns what was found and whether it holds; lines go to `out` as they change. Takes the
/// power of the process away when it is to go over the network.
///
/// # Errors
/// When the power can't be given up: nothing has been asked then.
pub(crate) fn ask(order: &ProbeOrder, paths: &Paths, out: &mut dyn Write) -> Result<Answer, Fault> {
    let probe = &order.probe;
    if probe.goes_to().is_none() {
        return Ok(until_decided(probe, out, || look_here(probe, order.before, paths)));
    }
    // The node's roots are read before: they may stand where only root may read.
    let trust = match &probe.what {
        What::Tcp(tcp) => tcp.tls.as_ref().map(|tls| tls::Trust::load(tls, paths)),
        What::Http(http) if http.url.is_tls() => Some(tls::Trust::load(&http.tls, paths)),
        What::Series(series) if series.url.is_tls() => Some(tls::Trust::load(&series.tls, paths)),
        _ => None,
    };
    power::give_up()?;
    // No thread can be started any more, and none is needed.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Fault::lasting("probe.runtime", format!("nothing can be asked: {e}")))?;
    let limit = Duration::from_secs(u64::from(probe.timeout_secs));
    Ok(until_decided(probe, out, || {
        let stage = net::Stage::default();
        let look = async {
            match &probe.what {
                What::Tcp(tcp) => http::tcp(tcp, trust.as_ref(), &stage).await,
                What::Http(http) => http::http(http, trust.as_ref(), &stage).await,
                What::Series(series) => series::look(series, order.before, trust.as_ref(), &stage).await,
                What::Unit(_) | What::Process(_) | What::Measure(_) => Answer::no("this does not go over the network"),
            }
        };
        let answer = runtime.block_on(async { tokio::time::timeout(limit, look).await });
        answer.unwrap_or_else(|_| Answer::no(format!("no answer within {} s ({})", probe.timeout_secs, stage.word())))
    }))
}

fn look_here(probe: &Probe, before: Option<Number>, paths: &Paths) -> Answer {
    match &probe.what {
        What::Unit(unit) => measure::unit(&unit.unit, paths),
        What::Process(process) => measure::process(&process.process),
        What::Measure(wanted) => match measure::value(wanted, paths) {
            Ok(value) => compared(&wanted.bound, value, before, wanted.measure.unit()),
            Err(why) => Answer::no(why),
        },
        What::Tcp(_) | What::Http(_) | What::Series(_) => Answer::no("this goes over the network"),
    }
}

/// Compares a value with its bound; where there is nothing to compare with, it is only measured.
pub(crate) fn compared(bound: &Bound, value: f64, before: Option<Number>, unit: &str) -> Answer {
    let Some(number) = Number::new(value) else {
        return Answer::no(format!("{value}, expected {}", bound.words(before)));
    };
    let shown = Number::new((value * 1e4).round() / 1e4).unwrap_or(number);
    let Some(limit) = bound.limit(before) else {
        return Answer { holds: true, found: Found::new(&format!("{shown}{unit}"), Some(number)) };
    };
    let holds = bound.compare.holds(value, limit);
    let text = if holds {
        format!("{shown}{unit}, as expected {}", bound.words(before))
    } else {
        format!("{shown}{unit}, expected {}", bound.words(before))
    };
    Answer { holds, found: Found::new(&text, Some(number)) }
}

/// Looks again and again: it may take [`Probe::within_secs`] until it holds, and then must for [`Probe::for_secs`].
fn until_decided(probe: &Probe, out: &mut dyn Write, mut look: impl FnMut() -> Answer) -> Answer {
    let secs = |n: u32| Duration::from_secs(u64::from(n));
    let (within, span, every) = (secs(probe.within_secs), secs(probe.for_secs), secs(probe.every_secs));
    let began = Instant::now();
    let mut held_since: Option<Instant> = None;
    let mut last = String::new();
    loop {
        let asked = Instant::now();
        let mut answer = look();
        if answer.found.text != last {
            last.clone_from(&answer.found.text);
            // A run whose output is gone is still decided.
            let _ = writeln!(out, "{last}").and_then(|()| out.flush());
        }
        let left = if answer.holds {
            let since = *held_since.get_or_insert(asked);
            let held = since.elapsed();
            if held >= span {
                if !span.is_zero() {
                    answer.found =
                        Found::new(&format!("{}, for {} s", answer.found.text, span.as_secs()), answer.found.value);
                }
                return answer;
            }
            span.saturating_sub(held)
        } else {
            if began.elapsed() >= within {
                if let Some(since) = held_since {
                    let text = format!("{}, after it had held for {} s", answer.found.text, since.elapsed().as_secs());
                    answer.found = Found::new(&text, answer.found.value);
                } else if !within.is_zero() {
                    let text = format!("{}, still after {} s", answer.found.text, within.as_secs());
                    answer.found = Found::new(&text, answer.found.value);
                }
                return answer;
            }
            held_since = None;
            within.saturating_sub(began.elapsed())
        };
        std::thread::sleep(every.min(left));
    }
}

#[cfg(test)]
mod tests;
