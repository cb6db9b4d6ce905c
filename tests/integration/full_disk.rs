//! The controller's disk runs full, and has room again.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::Command,
};

use anyhow::{Result, ensure};
use lampas_tests::{Controller, Store, wait_for};

/// A small file system in memory, mounted for the test.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir_all(&at)?;
        let options = format!("size={size},mode=0700");
        let done = Command::new("/usr/bin/mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).status()?;
        ensure!(done.success(), "mount gave {done}");
        Ok(Self(at))
    }

    /// Takes all room that is left.
    fn fill(&self) -> Result<()> {
        let mut file = File::create(self.0.join("filler"))?;
        for size in [64 << 10, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/umount").arg("--lazy").arg(&self.0).status();
    }
}

fn manifest(round: usize) -> String {
    let body = format!("round {round}\n").repeat(40_000);
    format!("[[file]]\nname = \"big\"\nscope = \"role:app\"\npath = \"/srv/big\"\ncontent = '''\n{body}'''\n")
}

#[test]
fn slow_a_full_store_refuses_and_loses_nothing_and_recovers() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: mounting a small file system needs root; nothing was tested");
        return Ok(());
    }
    let mut controller = Controller::prepare(Store::Sqlite)?;
    let small = Small::mount(controller.data(), "48m")?;
    controller.resume()?;
    controller.set_up()?;
    let node = controller.node("web-1", "app")?;
    controller.apply(&manifest(0))?;
    let shows = |round: usize| {
        let text = node.read("/srv/big").map_err(|e| e.to_string())?;
        let line = format!("round {round}");
        if text.lines().count() == 40_000 && text.lines().all(|l| l == line) {
            Ok(())
        } else {
            Err(text.lines().next().unwrap_or_default().to_owned())
        }
    };

    small.fill()?;
    let mut acknowledged = 0;
    // What the write-ahead log has taken room for before is still there; then it must grow.
    let refused = loop {
        let applied = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &manifest(acknowledged + 1))?;
        if !matches!(applied.code, 0 | 2) {
            break applied;
        }
        acknowledged += 1;
        ensure!(acknowledged < 60, "the store never became full");
    };
    assert!(refused.err.contains("no room"), "{refused:#?}");
    let listed = controller.ctl(&["node", "list"])?;
    assert!(listed.code == 0 && listed.out.contains("web-1"), "who only looks is served: {listed:#?}");
    let again = controller.ctl_with(&["apply", "-f", "-", "--allow-unplanned"], &manifest(acknowledged + 1))?;
    assert!(again.err.contains("no room"), "{again:#?}");
    assert!(controller.process().is_running());

    small.free()?;
    wait_for("the last acknowledged state", || shows(acknowledged));
    // The link may have been dropped for want of acknowledgements: then the agent is on its way back.
    wait_for("an apply without a restart of anything", || {
        let applied = controller.ctl_with(&["apply", "-f", "-", "--wait"], &manifest(acknowledged + 1));
        applied.map_err(|e| e.to_string()).and_then(|a| if a.code == 0 { Ok(()) } else { Err(format!("{a:#?}")) })
    });
    shows(acknowledged + 1).map_err(anyhow::Error::msg)?;
    let history = controller.json(&["object", "history", "file/big"])?;
    assert_eq!(
        history["items"].as_array().map(Vec::len),
        Some(acknowledged + 2),
        "one revision for each acknowledged apply"
    );
    assert!(controller.ctl_ok(&["audit", "--verify"])?.out.contains("whole"));

    // What was acknowledged is on the disk.
    controller.kill();
    controller.resume()?;
    controller.wait_online("web-1");
    let history = controller.json(&["object", "history", "file/big"])?;
    assert_eq!(history["items"].as_array().map(Vec::len), Some(acknowledged + 2));
    controller.kill();
    Ok(())
}
