//! The way from git to ssh. Git hands what it is told to run to a shell as soon as it has arguments; a program alone it
//! runs as it is. So this controller's own program stands there under another name, and becomes ssh with the
//! arguments that it needs.

use std::{
    io,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// The name under which the program becomes ssh.
const NAME: &str = "lampas-git-ssh";
/// The variable that names ssh's settings.
pub(super) const CONFIG: &str = "LAMPAS_GIT_SSH_CONFIG";

/// Makes the name in a directory, and returns its path.
pub(super) fn link(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join(NAME);
    symlink(std::env::current_exe()?, &path)?;
    Ok(path)
}

/// Becomes ssh, if this program was called by that name; returns only when it wasn't, or when that failed.
pub fn become_ssh() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let name = args.next()?;
    if Path::new(&name).file_name()? != NAME {
        return None;
    }
    let config = std::env::var_os(CONFIG)?;
    let error = Command::new("/usr/bin/ssh").arg("-F").arg(config).args(args).exec();
    eprintln!("fatal: /usr/bin/ssh can't be run: {error}; install the Debian package openssh-client");
    Some(ExitCode::from(255))
}
