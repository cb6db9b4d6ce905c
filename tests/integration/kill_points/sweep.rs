//! Where an agent can die, and the sweep over all such places.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};

/// How many agents die at a time: they mostly wait for their disk.
const WORKERS: usize = 3;

/// A place in the work of an agent: a call, and what it was about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    pub(super) call: String,
    pub(super) about: String,
}

impl Point {
    /// Whether it is about a managed file, not about what the agent keeps for itself.
    pub(super) fn is_managed(&self) -> bool {
        ["etc/", "srv", "usr/", "var/spool"].iter().any(|p| self.about.starts_with(p))
    }
}

/// Reads the calls below a root out of what strace wrote; names that are made up anew each time are made equal.
pub(super) fn points(trace: &str, root: &Path) -> BTreeSet<Point> {
    let root = format!("{}/", root.display());
    let mut found = BTreeSet::new();
    for line in trace.lines() {
        let Some((_, call)) = line.split_once(' ') else { continue };
        let Some((name, rest)) = call.trim_start().split_once('(') else { continue };
        // The descriptor's path or the first path, and the name below it where there is one.
        let Some((_, about)) = rest.split_once(root.as_str()) else { continue };
        let end = about.find(['>', '"', ')']).unwrap_or(about.len());
        let mut place = about[..end].to_owned();
        if name.ends_with("at")
            && let Some(last) = about.split('"').nth(1)
        {
            place = format!("{place}/{last}");
        }
        found.insert(Point { call: name.to_owned(), about: without_digits(&place) });
    }
    found
}

pub(super) fn without_digits(text: &str) -> String {
    let mut out = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        if word.len() >= 16 || word.len() >= 8 && place_of_journal(text) {
            out.push('#');
            out.push_str(&part[word.len()..]);
        } else {
            out.push_str(part);
        }
    }
    out
}

pub(super) fn place_of_journal(text: &str) -> bool {
    text.starts_with("var/lib/lampas")
}

/// Kills one agent as it enters its n-th call of a kind, or its n-th about a path; returns where it died.
pub(super) type Act<'a> = dyn Fn(&str, usize, Option<&str>) -> Result<Option<Vec<Point>>> + Sync + 'a;

/// A sweep over all points of one act.
pub(super) struct Sweep<'a> {
    what: &'static str,
    wanted: &'a BTreeSet<Point>,
    hit: Mutex<BTreeSet<Point>>,
    kills: Mutex<BTreeMap<String, usize>>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(what: &'static str, wanted: &'a BTreeSet<Point>) -> Self {
        Self { what, wanted, hit: Mutex::default(), kills: Mutex::default() }
    }

    /// Calls `trial` with each call and n = 1, 2, 3 … until one gets through untouched; then every point must have been hit.
    pub(super) fn run(&self, trial: &Act<'_>) -> Result<()> {
        let calls: Vec<String> =
            self.wanted.iter().map(|p| p.call.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        let queues: Vec<_> = calls.iter().map(|c| (c, AtomicUsize::new(1), AtomicBool::new(false))).collect();
        let has_failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let work = || -> Result<()> {
                for (call, next, is_over) in &queues {
                    while !is_over.load(Ordering::SeqCst) && !has_failed.load(Ordering::SeqCst) {
                        let n = next.fetch_add(1, Ordering::SeqCst);
                        let done =
                            trial(call, n, None).with_context(|| format!("{}: killed at {call} number {n}", self.what));
                        match done.inspect_err(|_| has_failed.store(true, Ordering::SeqCst))? {
                            None => is_over.store(true, Ordering::SeqCst),
                            Some(at) => {
                                self.hit.lock().expect("no thread panics with it").extend(at);
                                *self
                                    .kills
                                    .lock()
                                    .expect("no thread panics with it")
                                    .entry((*call).clone())
                                    .or_default() += 1;
                            }
                        }
                    }
                }
                Ok(())
            };
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|w| w.join().expect("a worker returns its error"))
        })?;
        // Calls are counted by thread: where another thread was there first, the path tells which one is meant.
        let mut hit = self.hit.lock().expect("no thread panics with it");
        let missed: Vec<_> = self.wanted.difference(&hit).filter(|p| p.is_managed()).cloned().collect();
        for point in missed {
            let found = trial(&point.call, 1, Some(&point.about));
            hit.extend(found.with_context(|| format!("{}: killed at {point:?}", self.what))?.unwrap_or_default());
        }
        let missed: Vec<_> = self.wanted.difference(&hit).filter(|p| p.is_managed()).collect();
        ensure!(missed.is_empty(), "{}: nobody was killed at {missed:#?}", self.what);
        Ok(())
    }

    pub(super) fn print(&self) {
        let (hit, kills) = (self.hit.lock().expect("alone"), self.kills.lock().expect("alone"));
        let managed = hit.iter().filter(|p| p.is_managed()).count();
        println!(
            "{}: {} agents killed at {} places, {managed} of them managed files",
            self.what,
            kills.values().sum::<usize>(),
            hit.len()
        );
        for (call, n) in kills.iter() {
            let places = hit.iter().filter(|p| p.call == *call).count();
            println!("  {call:<16} {n:>4} kills, {places:>3} places");
        }
    }
}
