//! Who sits there, asked on a terminal: the real `lampasctl` below a pseudo-terminal that `script` makes.

use std::{
    fs,
    fs::File,
    io::Write as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context as _, Result};
use lampas_tests::{Controller, wait_for};

const PASSWORD: &str = "correct horse battery";

/// A shell's line on a terminal of its own.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: PathBuf,
}

impl Terminal {
    /// Runs `lampasctl` with these words, in the home that [`signed_in`] made, after a line was typed.
    fn new(controller: &Controller, args: &str) -> Result<Self> {
        let ctl = controller.ctl_command(&[])?;
        let screen = controller.path("screen");
        let line = format!("read line; exec {} {args}", ctl.get_program().display());
        let mut command = Command::new("/usr/bin/script");
        command.args(["-qefc", &line, "/dev/null"]).env("SHELL", "/bin/sh").current_dir(controller.path(""));
        for (name, value) in ctl.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("XDG_CONFIG_HOME", controller.path("laptop"));
        let output = File::create(&screen)?;
        let mut child = command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output).spawn()?;
        let keys = child.stdin.take().context("a pipe")?;
        Ok(Self { child, keys, screen })
    }

    fn shown(&self) -> String {
        fs::read_to_string(&self.screen).unwrap_or_default()
    }

    /// Types something at once.
    fn types(&mut self, text: &str) -> Result<()> {
        Ok(self.keys.write_all(text.as_bytes())?)
    }

    /// Waits until the password was asked for so many times.
    fn is_asked(&self, times: usize) {
        wait_for("the question", || {
            let shown = self.shown();
            if shown.matches("Password: ").count() == times { Ok(()) } else { Err(shown) }
        });
    }

    fn ends(mut self) -> (i32, String) {
        let status = wait_for("lampasctl to end", || self.child.try_wait().ok().flatten().ok_or_else(|| self.shown()));
        (status.code().unwrap_or(-1), self.shown())
    }
}

/// Signs in on a machine whose proof is over.
fn signed_in(controller: &Controller) -> Result<PathBuf> {
    fs::write(controller.path("password"), PASSWORD)?;
    let args = ["login", &controller.url(), "--login", "admin", "--password-file", "password"];
    let done = controller.ctl_command(&args)?.env("XDG_CONFIG_HOME", controller.path("laptop")).output()?;
    assert!(done.status.success(), "{done:?}");
    let kept = controller.path("laptop/lampas/proof.toml");
    fs::remove_file(&kept)?;
    Ok(kept)
}

#[test]
fn what_was_typed_ahead_is_no_answer_and_a_wrong_one_may_be_mended() -> Result<()> {
    let controller = Controller::start()?;
    let kept = signed_in(&controller)?;
    let mut terminal = Terminal::new(&controller, "prove")?;
    // Lines that were pasted together: the first starts the command, the next waits on the terminal before it asks.
    terminal.types("go\nlampasctl node list\n")?;
    terminal.is_asked(1);
    terminal.types("not the password\n")?;
    terminal.is_asked(2);
    terminal.types(&format!("{PASSWORD}\n"))?;
    let (code, shown) = terminal.ends();
    assert!(code == 0 && shown.contains("it is you, until"), "{code}: {shown}");
    assert_eq!(shown.matches("the password is wrong; try again").count(), 1, "{shown}");
    assert!(kept.exists());
    Ok(())
}

#[test]
fn an_apply_that_was_not_proven_names_its_plan_and_how_to_go_on() -> Result<()> {
    let controller = Controller::start()?;
    let node = controller.node("web-1", "app")?;
    signed_in(&controller)?;
    let job = "[[cron]]\nname = \"tidy\"\nscope = \"role:app\"\nschedule = \"7 3 * * *\"\nuser = \"root\"\ncommand = \"true\"\n";
    fs::write(controller.path("tidy.toml"), job)?;
    let mut terminal = Terminal::new(&controller, "apply -f tidy.toml --wait")?;
    terminal.types("go\n")?;
    for attempt in 1..=3 {
        terminal.is_asked(attempt);
        terminal.types("not the password\n")?;
    }
    let (code, shown) = terminal.ends();
    assert!(code == 4 && shown.contains("3 wrong attempts") && shown.contains("not applied: "), "{code}: {shown}");
    assert!(!shown.contains("run it on a terminal") && !shown.contains("sign in:"), "{shown}");
    assert!(!node.exists("/etc/cron.d/lampas-tidy"));
    let next = shown.lines().find_map(|l| l.split_once("then apply it:")).context("what to do next")?.1.trim();
    let words: Vec<&str> = next.split_whitespace().collect();
    assert!(matches!(words[..], ["lampasctl", "apply", "--plan", _, "--wait"]), "{next}");
    let changes = || Ok::<_, anyhow::Error>(controller.json(&["change", "list"])?["items"].as_array().map(Vec::len));
    let before = changes()?;
    let home = controller.path("laptop");
    for args in [&["prove", "--password-file", "password"][..], &words[1..]] {
        let done = controller.ctl_command(args)?.env("XDG_CONFIG_HOME", &home).output()?;
        assert!(done.status.success(), "{args:?}: {done:?}");
    }
    assert!(node.exists("/etc/cron.d/lampas-tidy"));
    assert_eq!(changes()?, before, "the plan that was named is the one that was applied");
    let planned = controller.json(&["change", "list", "--state", "planned"])?;
    assert_eq!(planned["items"].as_array().map(Vec::len), Some(0), "none is left behind: {planned}");
    Ok(())
}
