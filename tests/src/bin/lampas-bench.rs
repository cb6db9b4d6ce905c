//! `scripts/bench fleet`: what a change, a restart and an idle agent cost, beside the targets.
//!
//! The controller and its link are real; the nodes are `lampas-agent simulate`: real protocol, QUIC and TLS, an identity
//! each, no disk on the node's side. All of it runs on one machine, so that the simulated nodes take their share of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use lampas_tests::{Controller, Node, Process};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::json;

/// One measured figure.
struct Figure {
    case: String,
    figure: &'static str,
    unit: &'static str,
    value: f64,
    target: Option<f64>,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_json = args.iter().any(|a| a == "--json");
    let mut sizes: Vec<u32> = args.iter().filter_map(|a| a.parse().ok()).collect();
    let wants_idle = args.iter().any(|a| a == "idle");
    let is_whole = sizes.is_empty() && !wants_idle;
    if is_whole {
        sizes = vec![10, 100, 1000, 5000];
    }
    let print = |figure: &Figure| {
        if is_json {
            let mut line = json!({ "bench": "fleet", "case": figure.case, "figure": figure.figure, "unit": figure.unit, "value": figure.value });
            if let Some(target) = figure.target {
                line["target"] = json!(target);
            }
            println!("{line}");
        } else {
            let target = figure.target.map(|t| format!("  (target {t} {})", figure.unit)).unwrap_or_default();
            println!("{:>12}  {:<34} {:>12.3} {}{target}", figure.case, figure.figure, figure.value, figure.unit);
        }
    };
    if is_whole || wants_idle {
        idle_agent()?.iter().for_each(&print);
    }
    for size in sizes {
        fleet(size)?.iter().for_each(&print);
    }
    Ok(())
}

/// Measures one size of fleet.
fn fleet(nodes: u32) -> Result<Vec<Figure>> {
    let mut controller = Controller::start()?;
    let case = format!("N={nodes}");
    let mut figures = Vec::new();
    let mut add =
        |figure, unit, value, target| figures.push(Figure { case: case.clone(), figure, unit, value, target });

    let empty_rss = rss_kib(controller.process().pid())?;
    let token = controller.path("token");
    let made = controller.ctl_ok(&["token", "create", "--role", "app", "--uses", &nodes.to_string(), "--quiet"])?;
    fs::write(&token, made.out)?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
    let address = format!("127.0.0.1:{}", controller.port());
    let (count, token, log) = (nodes.to_string(), token.display().to_string(), controller.path("simulate.log"));
    let started = Instant::now();
    let mut agents = Process::start(
        "lampas-agent",
        &["simulate", "--nodes", &count, "--controller", &address, "--token-file", &token],
        &log,
    )?;
    wait_online(&controller, nodes, &mut agents)?;
    add("enrolled and connected", "s", started.elapsed().as_secs_f64(), None);

    let pid = controller.process().pid();
    let full_rss = rss_kib(pid)?;
    add("controller memory per agent", "KiB", (full_rss - empty_rss) / f64::from(nodes), Some(64.0));

    // The first change warms nothing that a user's first change would not; the figures are of the second.
    apply(&controller, 1)?;
    let (cpu_before, sent_before) = (cpu_secs(pid)?, udp_bytes()?);
    let started = Instant::now();
    apply(&controller, 2)?;
    let elapsed = started.elapsed().as_secs_f64();
    let target = match nodes {
        0..=10 => 0.25,
        11..=1000 => 0.5,
        _ => 2.0,
    };
    let cpu = cpu_secs(pid)? - cpu_before;
    let sent = udp_bytes()?;
    add("plan, apply, all proofs (command)", "s", elapsed, Some(target));
    add("apply to last proof (controller)", "s", slowest(&controller)? / 1000.0, Some(target));
    add("controller CPU", "CPU-s", cpu, (nodes <= 10).then_some(0.1));
    // Loopback counts each datagram once as sent; the figure is for both directions.
    if let (Some(before), Some(after)) = (sent_before, sent) {
        add("bytes on the wire per node", "B", (after - before) / f64::from(nodes), None);
    }

    controller.process().stop()?;
    let started = Instant::now();
    controller.resume()?;
    wait_online(&controller, nodes, &mut agents)?;
    let target = if nodes <= 30 { 3.0 } else { 10.0 };
    add("all back after a restart", "s", started.elapsed().as_secs_f64(), Some(target));

    // Long enough for each link to count as settled.
    std::thread::sleep(Duration::from_secs(6));
    controller.kill();
    let started = Instant::now();
    controller.resume()?;
    wait_online(&controller, nodes, &mut agents)?;
    add("all back after kill -9", "s", started.elapsed().as_secs_f64(), Some(target));
    agents.stop()?;
    Ok(figures)
}

/// Applies a cron job and a hosts entry to all nodes, as an operator would.
fn apply(controller: &Controller, round: u32) -> Result<()> {
    let manifest = format!(
        "[[cron]]\nname = \"bench\"\nscope = \"role:app\"\nschedule = \"{round} * * * *\"\ncommand = \"true\"\n\n\
         [[hosts]]\nname = \"bench\"\nscope = \"role:app\"\naddress = \"10.0.0.{round}\"\nnames = [\"bench.example\"]\n"
    );
    fs::write(controller.path("bench.toml"), manifest)?;
    let output = controller.ctl(&["apply", "-f", "bench.toml", "--wait", "--allow-unplanned"])?;
    if output.code != 0 {
        bail!("apply gave {output:#?}");
    }
    Ok(())
}

/// Returns how many milliseconds after its apply the slowest node of the newest change was done.
fn slowest(controller: &Controller) -> Result<f64> {
    let changes = controller.json(&["change", "list"])?;
    let number = changes["items"][0]["number"].as_u64().context("the number of the newest change")?.to_string();
    let answer = controller.json(&["change", "wait", &number])?;
    let nodes = answer["nodes"].as_array().context("nodes of the change")?;
    Ok(nodes.iter().filter_map(|n| n["since_apply_ms"].as_f64()).fold(0.0, f64::max))
}

/// Measures a real agent at rest, and what a look at 500 unchanged objects costs it.
fn idle_agent() -> Result<Vec<Figure>> {
    let controller = Controller::start()?;
    let mut node = Node::prepare("idle-1")?;
    if let Some(agent) = std::env::var_os("LAMPAS_BENCH_AGENT") {
        node.use_agent(agent.into());
    }
    controller.enrol(&node, "app")?;
    let config = node.root().join("etc/lampas/agent.toml");
    fs::create_dir_all(config.parent().context("a directory")?)?;
    fs::write(&config, "[reconcile]\nfull_look_secs = 86400\n")?;
    node.resume()?;
    controller.wait_online("idle-1");
    let object =
        |i| format!("[[file]]\nname = \"f{i}\"\nscope = \"role:app\"\npath = \"/srv/f{i}\"\ncontent = \"{i}\\n\"\n");
    let manifest = (0..500).map(object).collect::<Vec<_>>().join("\n");
    fs::write(controller.path("many.toml"), manifest)?;
    controller.ctl_ok(&["apply", "-f", "many.toml", "--wait"])?;
    let pid = node.process().pid();
    let case = "idle agent".to_owned();
    let mut figures = Vec::new();
    // What the apply needed has been given back by then.
    std::thread::sleep(Duration::from_secs(10));
    let (before, seconds) = (cpu_secs(pid)?, 20.0);
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let value = (cpu_secs(pid)? - before) * 1000.0 / seconds;
    let mut add =
        |figure, unit, value, target| figures.push(Figure { case: case.clone(), figure, unit, value, target });
    add("memory with 500 objects", "MiB", rss_kib(pid)? / 1024.0, Some(15.0));
    add("CPU at rest", "ms/s", value, Some(1.0));

    // One pass each second against none: the difference is the passes.
    fs::write(&config, "[reconcile]\nfull_look_secs = 10\n")?;
    node.process().stop()?;
    node.resume()?;
    controller.wait_online("idle-1");
    let pid = node.process().pid();
    std::thread::sleep(Duration::from_secs(2));
    let before = cpu_secs(pid)?;
    std::thread::sleep(Duration::from_secs(31));
    let value = (cpu_secs(pid)? - before) * 1000.0 / 3.0;
    add("full look at 500 unchanged objects", "CPU-ms", value, None);
    node.process().signal(Signal::SIGTERM)?;
    Ok(figures)
}

fn wait_online(controller: &Controller, nodes: u32, agents: &mut Process) -> Result<()> {
    let started = Instant::now();
    loop {
        // A controller that is starting answers nothing yet.
        if let Ok(overview) = controller.json(&["overview"])
            && overview["counts"]["online"].as_u64() >= Some(u64::from(nodes))
        {
            return Ok(());
        }
        if !agents.is_running() || started.elapsed() > Duration::from_secs(300) {
            bail!("the simulated agents did not all connect:\n{}", agents.log_tail());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn rss_kib(pid: Pid) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// CPU seconds of a process and its children that have ended.
fn cpu_secs(pid: Pid) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("fields")?.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let per_second = String::from_utf8(Command::new("/usr/bin/getconf").arg("CLK_TCK").output()?.stdout)?;
    Ok(ticks as f64 / per_second.trim().parse::<f64>()?)
}

/// Bytes that the loopback interface carried; `None` where it isn't counted.
fn udp_bytes() -> Result<Option<f64>> {
    let table = fs::read_to_string("/proc/net/dev")?;
    let line = table.lines().find_map(|l| l.trim().strip_prefix("lo:"));
    Ok(line.and_then(|l| l.split_whitespace().next()?.parse().ok()))
}
