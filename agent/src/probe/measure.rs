//! What a node measures of itself: from the kernel (proc(5), statvfs(3)) and from systemd.

use std::{fs, io};

use lampas_shared::{
    host::UnitName,
    probe::{Measure, MeasureProbe},
};

use super::Answer;
use crate::{
    config::Paths,
    system::run::{Program, run},
};

const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// As much of a process's name as the kernel keeps (TASK_COMM_LEN).
const COMM: usize = 15;

/// Asks systemd whether a unit is active.
pub(super) fn unit(unit: &UnitName, paths: &Paths) -> Answer {
    if !paths.is_real_root() || !std::path::Path::new("/run/systemd/system").is_dir() {
        return Answer::no("systemd is not what runs this node");
    }
    let properties = "--property=LoadState,ActiveState,SubState";
    let program = Program::new(SYSTEMCTL).args(["show", properties, "--", unit.as_str()]);
    let output = match run(&program) {
        Ok(output) if output.is_success() => output,
        Ok(output) => return Answer::no(format!("systemctl says nothing of it: {}", output.describe())),
        Err(error) => return Answer::no(format!("systemctl can't be run: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or("unknown").trim().to_owned()
    };
    let (load, active, sub) = (value("LoadState"), value("ActiveState"), value("SubState"));
    match (load.as_str(), active.as_str()) {
        ("not-found", _) => Answer::no("there is no such unit"),
        // What reloads goes on with its work meanwhile.
        (_, "active" | "reloading") => Answer::yes(format!("{active} ({sub})")),
        _ => Answer::no(format!("{active} ({sub}), expected active")),
    }
}

/// Counts processes by their name.
pub(super) fn process(name: &str) -> Answer {
    let mut wanted = name.as_bytes();
    wanted = &wanted[..wanted.len().min(COMM)];
    let is_one = |pid: &u32| {
        // Name and state of one moment: the name stands in parentheses and may hold any byte.
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return false };
        let (Some(from), Some(to)) = (stat.iter().position(|b| *b == b'('), stat.iter().rposition(|b| *b == b')'))
        else {
            return false;
        };
        let state = stat.get(to + 2).copied().unwrap_or(b'X');
        from < to && &stat[from + 1..to] == wanted && !matches!(state, b'Z' | b'X' | b'x')
    };
    match pids() {
        Ok(pids) => match pids.iter().filter(|p| is_one(p)).count() {
            0 => Answer::no("no process of this name runs"),
            1 => Answer::yes("one process runs"),
            count => Answer::yes(format!("{count} processes run")),
        },
        Err(error) => Answer::no(format!("the processes can't be listed: {error}")),
    }
}

/// Measures.
pub(super) fn value(wanted: &MeasureProbe, paths: &Paths) -> Result<f64, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("{path} can't be read: {e}"));
    let odd = |path: &str| format!("{path} can't be understood");
    match wanted.measure {
        Measure::LoadPerCore => {
            let (load, stat) = (read("/proc/loadavg")?, read("/proc/stat")?);
            let load: f64 = load.split(' ').next().and_then(|l| l.parse().ok()).ok_or_else(|| odd("/proc/loadavg"))?;
            let is_core = |l: &&str| l.strip_prefix("cpu").is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
            Ok(load / stat.lines().filter(is_core).count().max(1) as f64)
        }
        Measure::MemoryAvailablePercent | Measure::SwapUsedPercent => {
            let text = read("/proc/meminfo")?;
            let of = |name: &str| {
                let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
                let number = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
                number.ok_or_else(|| odd("/proc/meminfo"))
            };
            if wanted.measure == Measure::MemoryAvailablePercent {
                return Ok(percent(of("MemAvailable")?, of("MemTotal")?));
            }
            let (total, free) = (of("SwapTotal")?, of("SwapFree")?);
            Ok(if total > 0.0 { percent(total - free, total) } else { 0.0 })
        }
        Measure::DiskFreePercent | Measure::InodesFreePercent => {
            let path = wanted.path.as_ref().map_or("/", |p| p.as_str());
            let place = paths.root().join(path.trim_start_matches('/'));
            let stat = rustix::fs::statvfs(&place).map_err(|e| format!("{path} can't be measured: {e}"))?;
            if wanted.measure == Measure::InodesFreePercent {
                let (free, all) = (stat.f_favail as f64, stat.f_files as f64);
                return Ok(if all > 0.0 { percent(free, all) } else { 100.0 });
            }
            // As df(1) has it: of what ordinary users can have at all.
            let (free, used) = (stat.f_bavail as f64, stat.f_blocks.saturating_sub(stat.f_bfree) as f64);
            Ok(if free + used > 0.0 { percent(free, free + used) } else { 100.0 })
        }
        Measure::Descriptors => {
            let text = read("/proc/sys/fs/file-nr")?;
            text.split_whitespace().next().and_then(|n| n.parse().ok()).ok_or_else(|| odd("/proc/sys/fs/file-nr"))
        }
        Measure::Processes => Ok(pids().map_err(|e| format!("the processes can't be listed: {e}"))?.len() as f64),
    }
}

fn pids() -> io::Result<Vec<u32>> {
    Ok(fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn percent(part: f64, whole: f64) -> f64 {
    part / whole * 100.0
}
