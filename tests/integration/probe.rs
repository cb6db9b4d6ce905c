//! Gates that are probes, on real agents: a real nginx, endpoints that stall, redirect and speak garbage, and values that
//! are compared with what they were.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use anyhow::Result;
use lampas_tests::{Controller, CtlOutput, MariaDb, Store, free_port, wait_for};

fn motd(text: &str) -> String {
    format!("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"{text}\\n\"\n")
}

fn apply(controller: &Controller, probes: &[&str], text: &str) -> Result<CtlOutput> {
    let mut args = vec!["apply", "-f", "-", "--canary", "1", "--wait"];
    args.extend(probes.iter().flat_map(|probe| ["--probe", *probe]));
    controller.ctl_with(&args, &motd(text))
}

/// Answers every connection with what `answer` makes of how often it was asked before; one that is empty stalls.
fn serve(answer: impl Fn(u32) -> String + Send + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let mut stalled = Vec::new();
        for (stream, asked) in listener.incoming().zip(0..) {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let text = answer(asked);
            let _ = stream.write_all(text.as_bytes());
            if text.is_empty() {
                stalled.push(stream);
            }
        }
    });
    Ok(address)
}

fn page(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A real nginx that serves what stands in a file, until it is dropped.
struct Nginx {
    process: Child,
    health: PathBuf,
    port: u16,
}

impl Nginx {
    fn start(dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let health = dir.join("health");
        fs::write(&health, "all is well\n")?;
        let at = dir.display();
        let text = format!(
            "daemon off;\nmaster_process off;\nerror_log {at}/error.log;\npid {at}/pid;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {at}/b;\nproxy_temp_path {at}/p;\nfastcgi_temp_path {at}/f;\n\
             uwsgi_temp_path {at}/u;\nscgi_temp_path {at}/s;\n\
             server {{ listen 127.0.0.1:{port}; root {at}; location = /moved {{ return 302 http://169.254.169.254/; }} }}\n}}\n"
        );
        fs::write(dir.join("nginx.conf"), text)?;
        let conf = dir.join("nginx.conf");
        let process = Command::new("/usr/sbin/nginx")
            .args(["-p", &dir.display().to_string(), "-c", &conf.display().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        wait_for("nginx", || std::net::TcpStream::connect(("127.0.0.1", port)).map(drop));
        Ok(Self { process, health, port })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_canary_whose_health_page_fails_is_put_back_and_says_why() -> Result<()> {
    // As root it must be able to read its files as nobody would.
    let dir = tempfile::tempdir()?;
    let nginx = Nginx::start(dir.path())?;
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let url = format!("http://127.0.0.1:{}/health", nginx.port);
    let probe = format!("http {url} 'contains=is well' status=200");
    let (port, process) = (format!("tcp {}", nginx.port), "process lampas-agent");
    let applied = apply(&controller, &[&probe, &port, process, "metric load_per_core < 100000"], "old")?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let shown = controller.ctl_ok(&["rollout", "show", "1"])?;
    for line in [&*format!("wave 1: GET {url}"), "holds on 1 node", "200, in ", "accepts, in ", "as expected < 100000"]
    {
        assert!(shown.out.contains(line), "{line}: {shown:#?}");
    }
    fs::remove_file(&nginx.health)?;
    let applied = apply(&controller, &[&probe], "new")?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    let why = format!("a gate says no: GET {url} on web-");
    assert!(applied.out.contains(&why) && applied.out.contains(": 404, expected 200 (operation "), "{applied:#?}");
    let shown = controller.json(&["rollout", "show", "2"])?;
    let gate = &shown["waves"][0]["gates"][0];
    assert_eq!(
        (gate["failed"].as_u64(), gate["answers"][0]["text"].as_str()),
        (Some(1), Some("404, expected 200")),
        "{shown}"
    );
    assert_eq!(shown["waves"][1]["gates"].as_array().map(Vec::len), Some(0), "{shown}");
    for node in &nodes {
        wait_for("what stood before", || {
            let text = node.read("/etc/motd").map_err(|e| e.to_string())?;
            if text == "old\n" { Ok(()) } else { Err(text) }
        });
    }
    // A redirect is an answer, and followed by nobody.
    let moved = format!("http http://127.0.0.1:{}/moved", nginx.port);
    let applied = apply(&controller, &[&moved], "new")?;
    assert!(applied.out.contains("302 to http://169.254.169.254/, expected 200-299"), "{applied:#?}");
    Ok(())
}

#[test]
fn what_stalls_comes_late_or_speaks_garbage_is_bounded() -> Result<()> {
    let controller = Controller::start()?;
    let _node = controller.node("web-1", "app")?;
    controller.apply(&motd("old"))?;
    let check = |number: u32, probe: &str, expected: &str| -> Result<()> {
        let applied = apply(&controller, &[probe], &format!("new {number}"))?;
        assert!(applied.code == 2 && applied.out.contains(expected), "{probe}: {applied:#?}");
        Ok(())
    };
    let stalls = serve(|_| String::new())?;
    check(1, &format!("http http://{stalls}/ timeout=1s"), "no answer within 1 s (waiting for its answer)")?;
    let garbage = serve(|_| "SSH-2.0-OpenSSH\r\n".to_owned())?;
    check(2, &format!("http http://{garbage}/"), "is no HTTP")?;
    check(3, "http http://192.0.2.1/", "is neither this node nor a node of the fleet")?;
    check(4, "http http://169.254.169.254/latest elsewhere", "probes never go there")?;
    check(5, "unit nginx", "systemd is not what runs this node")?;
    // A service that needs a moment to come up.
    let late = serve(|asked| page(if asked < 2 { "503 No" } else { "200 OK" }, ""))?;
    let applied = apply(&controller, &[&format!("http http://{late}/ within=1m every=1s")], "late")?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    for (probe, expected) in
        [("http ftp://a/", "only http and https"), ("metric load < 1", "is neither a URL nor one of")]
    {
        let refused = apply(&controller, &[probe], "never")?;
        assert!(refused.code == 1 && refused.err.contains(expected), "{refused:#?}");
    }
    Ok(())
}

fn values_are_compared(store: Store) -> Result<()> {
    let controller = Controller::start_with(store)?;
    let _nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let value = Arc::new(AtomicU32::new(100));
    let shown = Arc::clone(&value);
    let url =
        serve(move |_| page("200 OK", &format!("# HELP\nerrors{{code=\"500\"}} {}\n", shown.load(Ordering::SeqCst))))?;
    let fixed = format!("metric http://{url}/metrics 'errors{{code=\"500\"}}' <= 150");
    let before = format!("metric http://{url}/metrics errors <= before+10%");
    let applied = apply(&controller, &[&fixed, &before], "one")?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    let told = controller.ctl_ok(&["rollout", "show", "1"])?;
    assert!(told.out.contains("100, as expected <= 110 (10 % over 100 before the change)"), "{told:#?}");

    // Each time it is asked it is worse than before: what was measured before the change came is 200 or more.
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let worse =
        serve(move |_| page("200 OK", &format!("errors {}\n", 200 + 100 * count.fetch_add(1, Ordering::SeqCst))))?;
    let applied = apply(&controller, &[&format!("metric http://{worse}/metrics errors <= before+10%")], "two")?;
    assert_eq!(applied.code, 2, "{applied:#?}");
    assert!(applied.out.contains("300, expected <= 220 (10 % over 200 before the change)"), "{applied:#?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "once before the change and once after");

    value.store(151, Ordering::SeqCst);
    let applied = apply(&controller, &[&format!("{fixed} from=web-2")], "three")?;
    assert!(applied.code == 2 && applied.out.contains("on web-2: 151, expected <= 150"), "{applied:#?}");
    let applied = apply(&controller, &[&format!("{fixed} from=web-9")], "four")?;
    assert!(applied.code == 2 && applied.out.contains("there is no node web-9 to ask from"), "{applied:#?}");
    Ok(())
}

#[test]
fn values_are_compared_with_bounds_and_with_what_they_were() -> Result<()> {
    values_are_compared(Store::Sqlite)
}

#[test]
fn values_are_compared_on_mariadb() -> Result<()> {
    let server = MariaDb::start()?;
    values_are_compared(Store::Database(server.database_file()?))
}

#[test]
fn a_controller_that_dies_while_a_gate_is_asked_finds_it_again() -> Result<()> {
    let mut controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let (is_up, asked) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (up, count) = (Arc::clone(&is_up), Arc::clone(&asked));
    let url = serve(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        page(if up.load(Ordering::SeqCst) == 0 { "503 No" } else { "200 OK" }, "")
    })?;
    let probe = format!("http http://{url}/ within=10m every=1s");
    let applied = controller.ctl_with(&["apply", "-f", "-", "--canary", "1", "--probe", &probe], &motd("new"))?;
    assert_eq!(applied.code, 0, "{applied:#?}");
    wait_for("the gate to be asked", || if asked.load(Ordering::SeqCst) > 0 { Ok(()) } else { Err("not asked") });
    controller.kill();
    // The agent goes on asking meanwhile, and decides.
    is_up.store(1, Ordering::SeqCst);
    controller.resume()?;
    let waited = controller.ctl(&["change", "wait", "1"])?;
    assert_eq!(waited.code, 0, "{waited:#?}");
    let operations = controller.json(&["run", "list"])?;
    assert_eq!(operations["items"].as_array().map(Vec::len), Some(1), "asked once: {operations:#}");
    assert_eq!(node.read("/etc/motd")?, "new\n");
    Ok(())
}
