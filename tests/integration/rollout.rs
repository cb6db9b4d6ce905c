//! Rollouts on real agents: waves, a canary that fails, a controller that dies, a node that is away.

use anyhow::Result;
use lampas_tests::{Controller, wait_for};

fn motd(text: &str) -> String {
    format!("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
}

/// A script that no interpreter takes; which node finds that out first is what a canary is for.
const BROKEN: &str = r##"
[[script]]
name    = "rotate"
scope   = "role:app"
content = "#!/usr/bin/perl\nuse strict;\nmy $x = ;\n"
"##;

#[test]
fn waves_follow_each_other_and_are_told() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?, controller.node("web-3", "app")?];
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--wait"], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    for line in ["wave 1 of 2: 1 node", "wave 2 of 2: 2 nodes", "✓ in force"] {
        assert!(applied.out.contains(line), "{line}: {applied:#?}");
    }
    for node in &nodes {
        assert_eq!(node.read("/etc/motd")?, "new\n");
    }
    let shown = controller.json(&["rollout", "show", "1"])?;
    assert_eq!((shown["state"].as_str(), shown["waves"].as_array().map(Vec::len)), (Some("done"), Some(2)));
    Ok(())
}

#[test]
fn a_canary_that_fails_is_put_back_and_nobody_else_is_touched() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--wait"], BROKEN)?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    assert!(applied.out.contains("reverted: wave 1 of 2: 1 node failed, 0 may"), "{applied:#?}");
    assert!(applied.out.contains("web-2  – never had it"), "{applied:#?}");
    let history = controller.json(&["change", "list"])?;
    let progress = &history["items"][1]["progress"];
    assert_eq!((&progress["untouched"], &progress["superseded"]), (&1.into(), &0.into()), "{progress}");
    assert_eq!(history["items"][0]["reason"], "revert change 1: wave 1 of 2: 1 node failed, 0 may");
    for node in &nodes {
        assert!(!node.exists("/usr/local/sbin/rotate"));
    }
    // Who never had it keeps its generation; the fleet is whole again.
    let web = controller.json(&["node", "show", "web-2"])?;
    let canary = controller.json(&["node", "show", "web-1"])?;
    assert_ne!(web["desired"], canary["desired"], "{web:#}");
    let applied = controller.ctl_with(&["apply", "-f", "-", "--wait"], &motd("fine"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    Ok(())
}

#[test]
fn a_controller_that_dies_goes_on_where_it_was() -> Result<()> {
    let mut controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--soak", "1h"], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let has_it = |node: &lampas_tests::Node| node.read("/etc/motd").is_ok_and(|text| text == "new\n");
    wait_for("the canary", || nodes.iter().any(&has_it).then_some(()).ok_or("no node has it"));
    controller.kill();
    assert!(!nodes.iter().all(&has_it), "the second wave waits for the first to soak");
    controller.resume()?;
    for node in ["web-1", "web-2"] {
        controller.wait_online(node);
    }
    let shown = wait_for("the wave to soak", || {
        let shown = controller.json(&["rollout", "show", "1"]).map_err(|e| e.to_string())?;
        if shown["phase"] == "soaking" { Ok(shown) } else { Err(shown.to_string()) }
    });
    assert_eq!((shown["state"].as_str(), shown["wave"].as_u64()), (Some("running"), Some(1)), "{shown}");
    controller.ctl_ok(&["rollout", "promote", "1", "-m", "it was long enough"])?;
    wait_for("the second wave", || nodes.iter().all(&has_it).then_some(()).ok_or("one node does not have it"));
    wait_for("the second wave to soak", || {
        let shown = controller.json(&["rollout", "show", "1"]).map_err(|e| e.to_string())?;
        if shown["phase"] == "soaking" && shown["wave"] == 2 { Ok(()) } else { Err(shown.to_string()) }
    });
    controller.ctl_ok(&["rollout", "promote", "1", "-m", "that too"])?;
    let waited = controller.ctl(&["change", "wait", "1"])?;
    assert_eq!(waited.code, 0, "{waited:#?}");
    Ok(())
}

#[test]
fn who_is_told_to_wait_waits_and_goes_on() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    controller.apply(&motd("old"))?;
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--soak", "1h"], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let refused = controller.ctl_with(&["apply", "-f", "-", "--wait"], &motd("newer"))?;
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.err.contains("rolling out with change 2"), "{refused:#?}");
    for (order, state) in [("pause", "paused"), ("resume", "running")] {
        let shown = controller.json(&["rollout", order, "2", "-m", "lunch"])?;
        assert_eq!(shown["state"], state);
    }
    assert_eq!(controller.ctl(&["rollout", "resume", "2"])?.code, 1, "it runs already");
    controller.ctl_ok(&["rollout", "abort", "2"])?;
    let texts = [nodes[0].read("/etc/motd")?, nodes[1].read("/etc/motd")?];
    assert_eq!(texts.iter().filter(|t| *t == "old\n").count(), 1, "{texts:?}");
    controller.apply(&motd("newer"))?;
    assert_eq!(nodes[0].read("/etc/motd")?, nodes[1].read("/etc/motd")?);
    Ok(())
}

#[test]
fn the_same_manifests_again_name_who_waits_and_reach_who_was_left_out() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    controller.apply(&motd("old"))?;
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--soak", "1h"], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let has_it = |node: &lampas_tests::Node| node.read("/etc/motd").is_ok_and(|text| text == "new\n");
    wait_for("the canary", || nodes.iter().any(&has_it).then_some(()).ok_or("no node has it"));
    let other = if has_it(&nodes[0]) { "web-2" } else { "web-1" };
    // While the rollout keeps it back, nothing is applied, and that is said.
    let kept = format!("{other}: not yet, change 2 keeps it back (its rollout is running): file motd");
    let again: [(&[&str], i32); 4] = [
        (&["apply", "-f", "-", "--wait"], 3),
        (&["apply", "-f", "-", "--canary", "1", "--wait"], 3),
        (&["apply", "-f", "-", "--plan"], 10),
        (&["diff", "-f", "-"], 10),
    ];
    for (args, code) in again {
        let said = controller.ctl_with(args, &motd("new"))?;
        assert_eq!(said.code, code, "{args:?}: {said:#?}");
        assert!(said.out.contains(&kept) && said.err.contains("lampasctl rollout"), "{args:?}: {said:#?}");
    }
    assert!(!nodes.iter().all(&has_it), "nobody goes past the canary");
    let listed = || Ok::<_, anyhow::Error>(controller.json(&["change", "list"])?["items"].as_array().map(Vec::len));
    assert_eq!(listed()?, Some(2), "what only looked is in no list");

    // Once that has ended, the same manifests reach who was left out, and nobody else.
    controller.ctl_ok(&["rollout", "abort", "2"])?;
    let left_out = format!("{other}: not yet, left out by change 2 (aborted): file motd");
    let diff = controller.ctl_with(&["diff", "-f", "-"], &motd("new"))?;
    assert!(diff.code == 10 && diff.out.contains(&left_out), "{diff:#?}");
    let applied = controller.ctl_with(&["apply", "-f", "-", "--wait"], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    assert!(applied.out.contains(&format!("{other}  ✓ in force")), "{applied:#?}");
    assert_eq!(applied.out.matches("✓ in force").count(), 1, "{applied:#?}");
    assert!(nodes.iter().all(&has_it));
    let idle = controller.ctl_with(&["apply", "-f", "-", "--wait"], &motd("new"))?;
    assert!(idle.code == 0 && idle.out.contains("nothing to do"), "{idle:#?}");
    assert_eq!(listed()?, Some(3));
    Ok(())
}

#[test]
fn slow_a_wave_whose_node_is_away_ends_by_its_deadline() -> Result<()> {
    let controller = Controller::start()?;
    let (web, mut away) = (controller.node("web-1", "app")?, controller.node("web-2", "app")?);
    controller.apply(&motd("old"))?;
    away.process().stop()?;
    wait_for("the node to be away", || {
        let node = controller.json(&["node", "show", "web-2"]).map_err(|e| e.to_string())?;
        if node["state"] == "offline" { Ok(()) } else { Err(node["state"].to_string()) }
    });
    let applied = controller.ctl_with(
        &["apply", "-f", "-", "--canary", "1", "--stage-deadline", "10s", "--allow-unplanned", "--wait"],
        &motd("new"),
    )?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    assert!(applied.out.contains("reverted: wave 2 of 2"), "{applied:#?}");
    wait_for("what stood before", || {
        let text = web.read("/etc/motd").map_err(|e| e.to_string())?;
        if text == "old\n" { Ok(()) } else { Err(text) }
    });
    away.resume()?;
    controller.wait_online("web-2");
    assert_eq!(away.read("/etc/motd")?, "old\n");
    Ok(())
}

#[test]
fn gates_are_asked_on_the_wave_and_one_that_says_no_puts_it_back() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let with_gate = |gate: &str, text: &str| {
        let args = ["apply", "-f", "-", "--canary", "1", "--gate", gate, "--gate-user", "root", "--wait"];
        controller.ctl_with(&args, &motd(text))
    };
    let applied = with_gate("/bin/true 'with a quoted argument'", "old")?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let asked = controller.json(&["run", "list"])?;
    assert_eq!(asked["items"].as_array().map(Vec::len), Some(2), "one operation a wave: {asked:#}");
    let applied = with_gate("/bin/false", "new")?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    assert!(applied.out.contains("a gate says no: /bin/false on web-"), "{applied:#?}");
    for node in &nodes {
        wait_for("what stood before", || {
            let text = node.read("/etc/motd").map_err(|e| e.to_string())?;
            if text == "old\n" { Ok(()) } else { Err(text) }
        });
    }
    Ok(())
}

#[test]
fn slow_a_gate_that_never_answers_ends_with_its_wave_on_the_node_too() -> Result<()> {
    let controller = Controller::start()?;
    let _nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let start = |text: &str, more: &[&str]| {
        let gate = ["--gate", "/bin/sleep 600", "--gate-user", "root"];
        let args = [&["apply", "-f", "-", "--canary", "1"], &gate[..], more].concat();
        controller.ctl_with(&args, &motd(text))
    };
    let running = |number: &str| -> Result<Vec<i32>> {
        let shown = controller.json(&["run", "show", number])?;
        let run = shown["nodes"][0]["run"].as_str();
        let run = run.ok_or_else(|| anyhow::anyhow!("no run in {shown:#}"))?.to_owned();
        Ok(processes_of(&run))
    };
    let ended = |number: &str, pids: &[i32]| {
        wait_for("the gate to be cancelled, and its processes to be gone", || {
            let shown = controller.json(&["run", "list"]).map_err(|e| e.to_string())?;
            let items = shown["items"].as_array().cloned().unwrap_or_default();
            let state = items.iter().find(|o| o["number"].as_u64() == number.parse().ok()).map(|o| o["state"].clone());
            let alive: Vec<&i32> = pids.iter().filter(|pid| is_alive(**pid)).collect();
            if state == Some("cancelled".into()) && alive.is_empty() {
                Ok(())
            } else {
                Err(format!("{state:?} {alive:?}"))
            }
        });
    };
    let begun = |number: &str| {
        wait_for("the gate to run on the node", || match running(number) {
            Ok(pids) if !pids.is_empty() => Ok(pids),
            other => Err(format!("{other:?}")),
        })
    };
    // The deadline of its wave passes.
    assert_eq!(start("one", &["--stage-deadline", "10s"])?.code, 0);
    ended("1", &begun("1"));
    let waited = controller.ctl(&["change", "wait", "1"])?;
    assert_eq!(waited.code, 2, "{waited:#?}");
    assert!(waited.out.contains("a gate gave no answer by the deadline"), "{waited:#?}");
    let shown = controller.ctl_ok(&["rollout", "show", "1"])?;
    assert!(shown.out.contains("ended without an answer on 1 node"), "{shown:#?}");
    // Somebody aborts it.
    assert_eq!(start("two", &[])?.code, 0);
    let pids = begun("2");
    let change = controller.json(&["change", "list"])?["items"][0]["number"].to_string();
    controller.ctl_ok(&["rollout", "abort", &change])?;
    ended("2", &pids);
    Ok(())
}

/// The processes of a run: the shim's, which has its id in the command line, and what it started.
fn processes_of(run: &str) -> Vec<i32> {
    let all = || std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = || all().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let line = |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let parent = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let shims: Vec<i32> = pids().filter(|pid| String::from_utf8_lossy(&line(*pid)).contains(run)).collect();
    pids()
        .filter(|pid| parent(*pid).is_some_and(|p| shims.contains(&p)) && line(*pid).starts_with(b"/bin/sleep"))
        .collect()
}

fn is_alive(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"/bin/sleep"))
}

#[test]
fn two_rollouts_over_the_same_nodes_go_their_own_ways_and_a_node_is_renamed_meanwhile() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let issue = motd("issue").replace("motd", "issue");
    for manifest in [motd("new"), issue] {
        let args = ["apply", "-f", "-", "--canary", "1", "--soak", "1h", "--allow-unplanned"];
        let applied = controller.ctl_with(&args, &manifest)?;
        assert_eq!(applied.code, 0, "{applied:#?}");
    }
    let soaks = |change: &str, wave: u64| {
        wait_for(&format!("wave {wave} of change {change} to soak"), || {
            let shown = controller.json(&["rollout", "show", change]).map_err(|e| e.to_string())?;
            if shown["phase"] == "soaking" && shown["wave"] == wave { Ok(()) } else { Err(shown.to_string()) }
        });
    };
    let have = |path: &str| nodes.iter().filter(|node| node.exists(path)).count();
    soaks("1", 1);
    soaks("2", 1);
    assert_eq!((have("/etc/motd"), have("/etc/issue")), (1, 1), "each has its canary, and no node more");

    // Who waits for its wave gets another name, and is not lost by either.
    let waits = if nodes[0].exists("/etc/motd") { "web-2" } else { "web-1" };
    controller.ctl_ok(&["node", "set", waits, "--name", "shop-9"])?;
    controller.wait_online("shop-9");
    controller.ctl_ok(&["rollout", "promote", "2", "-m", "the second first"])?;
    soaks("2", 2);
    assert_eq!((have("/etc/motd"), have("/etc/issue")), (1, 2), "the one goes on, the other holds");
    controller.ctl_ok(&["rollout", "promote", "2", "-m", "well"])?;
    let waited = controller.ctl(&["change", "wait", "2"])?;
    assert!(waited.code == 0 && waited.out.contains("shop-9"), "{waited:#?}");
    controller.ctl_ok(&["rollout", "abort", "1"])?;
    assert_eq!((have("/etc/motd"), have("/etc/issue")), (1, 2), "who has it keeps it, nobody else gets it");
    assert_eq!(controller.json(&["rollout", "show", "1"])?["state"], "aborted");
    Ok(())
}

#[test]
fn a_gate_that_runs_while_the_controller_is_dead_is_asked_once_and_heard() -> Result<()> {
    let mut controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let (told, go) = (controller.path("told"), controller.path("go"));
    let script = format!(
        "cd {dir}; echo asked >> told; while [ -d {dir} ] && [ ! -e go ]; do sleep 0.05; done; echo answered >> told",
        dir = controller.path("").display(),
    );
    let gate = format!("/bin/sh -c '{script}'");
    let args = ["apply", "-f", "-", "--canary", "1", "--gate", &gate, "--gate-user", "root"];
    let applied = controller.ctl_with(&args, &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let wait_told = |wanted: &str| {
        wait_for("what the gate wrote", || {
            let text = std::fs::read_to_string(&told).unwrap_or_default();
            if text == wanted { Ok(()) } else { Err(text) }
        });
    };
    wait_told("asked\n");
    controller.kill();
    // It goes on, and ends, with nobody there to hear it.
    std::fs::write(&go, "")?;
    wait_told("asked\nanswered\n");
    let having = nodes.iter().filter(|node| node.exists("/etc/motd")).count();
    assert_eq!(having, 1, "no wave begins without a controller");
    controller.resume()?;
    let waited = controller.ctl(&["change", "wait", "1"])?;
    assert_eq!(waited.code, 0, "{waited:#?}");
    assert!(nodes.iter().all(|node| node.exists("/etc/motd")), "the second wave has it too");
    wait_told("asked\nanswered\nasked\nanswered\n");
    let runs = controller.json(&["run", "list"])?;
    let states = runs["items"].as_array().into_iter().flatten().map(|o| o["state"].to_string()).collect::<Vec<_>>();
    assert_eq!(states, ["\"succeeded\"", "\"succeeded\""], "one operation a wave: {runs:#}");
    Ok(())
}
