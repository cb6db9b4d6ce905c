//! Git sources and checkouts: a real git, a real sshd, and a controller that is killed.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use lampas_tests::{Controller, Store, free_port, wait_for};
use serde_json::Value;
use tempfile::TempDir;

struct Repository(TempDir);

impl Repository {
    fn make() -> Result<Self> {
        let made = Self(tempfile::tempdir()?);
        fs::create_dir(made.path())?;
        made.git(&["init", "--quiet", "--initial-branch=main"])?;
        Ok(made)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("fleet")
    }

    fn git(&self, args: &[&str]) -> Result<String> {
        let output = Command::new("/usr/bin/git")
            .args(["-c", "user.name=Ann Author", "-c", "user.email=ann@example.org"])
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn commit(&self, subject: &str, content: &str) -> Result<String> {
        fs::write(self.path().join("motd.toml"), motd(content))?;
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "-m", subject])?;
        self.git(&["rev-parse", "HEAD"])
    }
}

fn motd(content: &str) -> String {
    format!("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"{content}\\n\"\n")
}

fn key(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    let made = Command::new("/usr/bin/ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status()?;
    ensure!(made.success());
    Ok(path)
}

/// An sshd of Debian's on a port of its own, that lets one key in.
struct Sshd {
    process: Child,
    port: u16,
    user: String,
}

impl Sshd {
    fn start(dir: &Path, host_key: &Path, authorized: &Path) -> Result<Self> {
        // Where sshd puts its helper; made by the package's unit otherwise.
        fs::DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd")?;
        let port = free_port()?;
        let keys = dir.join("authorized_keys");
        fs::copy(authorized.with_extension("pub"), &keys)?;
        let config = dir.join("sshd_config");
        fs::write(
            &config,
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
                 StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n",
                host_key.display(),
                keys.display()
            ),
        )?;
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(fs::File::create(dir.join("sshd.log"))?)
            .spawn()
            .context("Debian's openssh-server is installed")?;
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())?.context("a user")?.name;
        let sshd = Self { process, port, user };
        wait_for("sshd", || std::net::TcpStream::connect(("127.0.0.1", port)).map(drop));
        Ok(sshd)
    }

    fn url(&self, path: &Path) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, path.display())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn controller(config: &str) -> Result<Controller> {
    let mut controller = Controller::prepare(Store::Sqlite)?;
    controller.configure(config)?;
    controller.resume()?;
    controller.set_up()?;
    Ok(controller)
}

fn shown(controller: &Controller) -> Result<Value> {
    controller.json(&["source", "show", "fleet"])
}

#[test]
fn a_commit_reaches_nodes_over_ssh_from_a_host_that_was_pinned() -> Result<()> {
    let controller = controller("[egress]\nallow = [\"127.0.0.0/8\"]\n")?;
    let node = controller.node("web-1", "app")?;
    let repository = Repository::make()?;
    let commit = repository.commit("say hello", "hello")?;
    let dir = tempfile::tempdir()?;
    let (host_key, deploy_key) = (key(dir.path(), "host")?, key(dir.path(), "deploy")?);
    let sshd = Sshd::start(dir.path(), &host_key, &deploy_key)?;
    let (url, file) = (sshd.url(&repository.path()), deploy_key.display().to_string());
    let set =
        ["source", "set", "fleet", "--url", &url, "--scope", "role:app", "--mode", "apply", "--credential", &file];
    controller.ctl_ok(&set)?;

    // Nothing is fetched before somebody looked at the host's fingerprint.
    let refused = controller.ctl(&["source", "sync", "fleet"])?;
    assert_eq!(refused.code, 2, "{refused:#?}");
    let source = shown(&controller)?;
    assert_eq!((&source["problem"]["code"], source.get("commit")), (&"host_key".into(), None), "{source}");
    let fingerprint = source["offered_keys"][0]["fingerprint"].as_str().context("a key is shown")?.to_owned();
    let told = Command::new("/usr/bin/ssh-keygen").args(["-l", "-f"]).arg(host_key.with_extension("pub")).output()?;
    assert!(String::from_utf8(told.stdout)?.contains(&fingerprint), "{fingerprint}");
    controller.ctl_ok(&["source", "set", "fleet", "--pin", &fingerprint])?;
    let synced = controller.ctl(&["source", "sync", "fleet"])?;
    assert_eq!(synced.code, 0, "{synced:#?}");
    wait_for("the commit on web-1", || match node.read("/etc/motd") {
        Ok(text) if text == "hello\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let history = controller.ctl_ok(&["object", "history", "file/motd"])?.out;
    let why = format!("source fleet: commit {} by Ann Author: say hello", &commit[..12]);
    assert!(history.contains(&why), "{history}");
    assert_eq!(controller.ctl(&["source", "diff", "fleet"])?.code, 0);

    // The key stands nowhere after the look, and in no answer.
    let private = fs::read_to_string(&deploy_key)?;
    let line = private.lines().nth(2).context("a line of the key")?;
    let left = Command::new("/usr/bin/grep").args(["-r", "-l", "-F", line]).arg(controller.data()).output()?;
    assert_eq!(String::from_utf8(left.stdout)?, "");

    // Another host answers there: nothing is fetched from it.
    drop(sshd);
    let other = tempfile::tempdir()?;
    let impostor = Sshd::start(other.path(), &key(other.path(), "host")?, &deploy_key)?;
    let url = impostor.url(&repository.path());
    let keys = source["offered_keys"][0]["key"].as_str().context("a key")?;
    controller.ctl_ok(&["source", "set", "fleet", "--url", &url, "--host-key", keys, "--credential", &file])?;
    let refused = controller.ctl(&["source", "sync", "fleet"])?;
    assert_eq!(refused.code, 2, "{refused:#?}");
    assert!(refused.out.contains("showed another key than the one that is pinned"), "{refused:#?}");
    Ok(())
}

#[test]
fn a_controller_that_is_killed_while_it_fetches_goes_on_afterwards() -> Result<()> {
    let repository = Repository::make()?;
    repository.commit("say hello", "hello")?;
    let directory = repository.path().display().to_string();
    let config = format!("[egress]\nallow = [\"127.0.0.0/8\"]\n[sources]\ndirectories = [\"{directory}\"]\n");
    let mut controller = controller(&config)?;
    let node = controller.node("web-1", "app")?;
    // A server that takes the connection and never answers.
    let stalled = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://127.0.0.1:{}/fleet.git", stalled.local_addr()?.port());
    controller.ctl_ok(&["source", "set", "fleet", "--url", &url, "--scope", "role:app", "--mode", "apply"])?;
    let (held, _) = stalled.accept()?;
    controller.kill();
    controller.resume()?;
    // It looks at once: what it had claimed is its own again.
    let (again, _) = stalled.accept()?;
    let url = format!("file://{directory}");
    controller.ctl_ok(&["source", "set", "fleet", "--url", &url])?;
    drop((held, again, stalled));
    wait_for("the commit on web-1", || match node.read("/etc/motd") {
        Ok(text) if text == "hello\n" => Ok(()),
        other => Err(format!("{other:?} {:?}", shown(&controller))),
    });
    wait_for("the source to be synced", || {
        let source = shown(&controller).map_err(|e| e.to_string())?;
        if source["state"] == "synced" && source["is_syncing"] == false { Ok(()) } else { Err(source.to_string()) }
    });
    let changes = controller.json(&["change", "list"])?;
    assert_eq!(changes["items"].as_array().map(Vec::len), Some(1), "{changes}");
    let left: Vec<_> = fs::read_dir(controller.data().join("sources"))?
        .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.starts_with("room-"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "no room is left over");
    let mode = fs::metadata(controller.data().join("sources"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    controller.ctl_ok(&["source", "remove", "fleet", "--yes"])?;
    assert_eq!(node.read("/etc/motd")?, "hello\n", "what it brought stays");
    Ok(())
}

#[test]
fn a_pipeline_applies_its_checkout_with_a_token_for_that() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    let repository = Repository::make()?;
    let commit = repository.commit("say hello", "hello")?;
    let directory = repository.path().display().to_string();
    let create = ["api-token", "create", "ci", "--preset", "operator", "--only", "view", "--only", "change"];
    let made =
        controller.json(&[&create[..], &["--scope", "role:app", "--cidr", "127.0.0.0/8", "--ttl", "1h"]].concat())?;
    let token = made["secret"].as_str().context("a secret")?.to_owned();
    let ci = |args: &[&str]| -> Result<(i32, String)> {
        let output = controller.ctl_command(args)?.env("LAMPAS_TOKEN", &token).stdin(Stdio::null()).output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code().unwrap_or(-1), said))
    };
    let (code, plan) = ci(&["apply", "-f", &directory, "--plan", "--markdown"])?;
    assert_eq!(code, 10, "{plan}");
    assert!(plan.contains("| create | file `motd` | `role:app` |") && plan.contains("```diff\n"), "{plan}");
    assert!(!node.exists("/etc/motd"));
    let (code, applied) = ci(&["apply", "-f", &directory, "--source", "--set", "fleet", "--prune", "--wait"])?;
    assert_eq!(code, 0, "{applied}");
    assert_eq!(node.read("/etc/motd")?, "hello\n");
    let history = controller.ctl_ok(&["object", "history", "file/motd"])?.out;
    assert!(history.contains(&format!("commit {} by Ann Author: say hello", &commit[..12])), "{history}");
    let (code, again) = ci(&["apply", "-f", &directory, "--source", "--set", "fleet", "--prune", "--wait"])?;
    assert_eq!(code, 0, "applying twice changes nothing: {again}");
    // Beyond its scope it is denied.
    fs::write(repository.path().join("motd.toml"), motd("x").replace("role:app", "role:db"))?;
    let (code, denied) = ci(&["apply", "-f", &directory, "--wait"])?;
    assert_eq!(code, 4, "{denied}");
    fs::write(repository.path().join("motd.toml"), "[[file]]\nname = \"motd\"\n")?;
    let (code, wrong) = ci(&["apply", "-f", &directory, "--wait"])?;
    assert!(code == 1 && wrong.contains("motd.toml:1: "), "{wrong}");
    Ok(())
}
