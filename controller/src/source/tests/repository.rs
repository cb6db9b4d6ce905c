//! A git repository in a directory of its own, with keys to sign with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(super) struct Repository {
    dir: tempfile::TempDir,
}

impl Repository {
    pub(super) fn make() -> Self {
        let made = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::create_dir(made.root()).expect("made");
        made.git(&["init", "--quiet", "--initial-branch=main"]);
        made
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    pub(super) fn url(&self) -> String {
        format!("file://{}", self.root().display())
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("/usr/bin/git")
            .args(["-c", "user.name=Ann Author", "-c", "user.email=ann@example.org", "-c", "gpg.format=ssh"])
            .args(args)
            .current_dir(self.root())
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .stdin(Stdio::null())
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn write(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.root().join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            let _ = fs::remove_file(&path);
            fs::write(path, text).expect("written");
        }
        self.git(&["add", "--all"]);
    }

    pub(super) fn commit(&self, subject: &str, files: &[(&str, &str)]) {
        self.write(files);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", subject]);
    }

    pub(super) fn commit_signed(&self, subject: &str, files: &[(&str, &str)], key: &Path) {
        self.write(files);
        let key = format!("user.signingKey={}", key.display());
        self.git(&["-c", &key, "commit", "--quiet", "--allow-empty", "-S", "-m", subject]);
    }

    /// Makes a head whose signature is that of another commit.
    pub(super) fn tamper(&self, key: &Path) {
        self.commit_signed("before", &[], key);
        let signed = self.git(&["cat-file", "commit", "HEAD"]);
        let file = self.dir.path().join("tampered");
        fs::write(&file, signed.replace("before", "after it was signed") + "\n").expect("written");
        let id = self.git(&["hash-object", "-t", "commit", "-w", &file.display().to_string()]);
        self.reset(&id);
    }

    pub(super) fn remove(&self, subject: &str, name: &str) {
        fs::remove_file(self.root().join(name)).expect("removed");
        self.commit(subject, &[]);
    }

    pub(super) fn link(&self, name: &str, to: &str) {
        let path = self.root().join(name);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(to, path).expect("linked");
        self.commit("a link", &[]);
    }

    pub(super) fn reset(&self, to: &str) {
        self.git(&["reset", "--quiet", "--hard", to]);
    }

    pub(super) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes a key to sign with.
    pub(super) fn key(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let made = Command::new("/usr/bin/ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .status();
        assert!(made.expect("ssh-keygen runs").success());
        path
    }

    pub(super) fn public(key: &Path) -> String {
        fs::read_to_string(key.with_extension("pub")).expect("the public half").trim().to_owned()
    }
}
