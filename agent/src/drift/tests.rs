//! What wakes the reconciler, and what does not.

use std::{fs, path::Path};

use tokio::sync::mpsc;

use super::*;

struct Watch {
    woken: mpsc::Receiver<()>,
    set: watch::Sender<BTreeSet<String>>,
    stopping: CancellationToken,
    tasks: lampas_runtime::Tasks,
}

impl Watch {
    fn start(root: &Path, paths: &[&str]) -> Self {
        let (wake, woken) = mpsc::channel(64);
        let set = watch::Sender::new(paths.iter().map(|p| (*p).to_owned()).collect());
        let (receiver, stopping, tasks) = (set.subscribe(), CancellationToken::new(), lampas_runtime::Tasks::new());
        let (paths, token) = (Paths::new(root), stopping.clone());
        let wake = move || {
            // A full channel has woken already.
            let _ = wake.try_send(());
        };
        // Made before the test goes on, so that nothing is missed.
        tasks.spawn("watch", async move { watch(paths, receiver, wake, token).await.expect("inotify works") });
        Self { woken, set, stopping, tasks }
    }

    async fn wait(&mut self) {
        tokio::time::timeout(Duration::from_secs(20), self.woken.recv())
            .await
            .expect("woken in time")
            .expect("not ended");
    }
}

/// Touches a file until the watcher has noticed: only then is it known to be watching.
async fn settle(watch: &mut Watch, file: &Path) {
    let mut n = 0;
    loop {
        n += 1;
        fs::write(file, format!("{n}")).expect("written");
        if tokio::time::timeout(Duration::from_secs(1), watch.woken.recv()).await.is_ok() {
            break;
        }
        assert!(n < 20, "never woken");
    }
    while tokio::time::timeout(MAX_DELAY * 2, watch.woken.recv()).await.is_ok() {}
}

#[tokio::test]
async fn a_change_of_a_managed_file_wakes_and_its_neighbours_do_not() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("etc")).expect("made");
    let file = dir.path().join("etc/motd");
    let mut watch = Watch::start(dir.path(), &["/etc/motd"]);
    settle(&mut watch, &file).await;
    fs::write(dir.path().join("etc/other"), "x").expect("written");
    fs::write(dir.path().join("etc/.motd.new"), "x").expect("written");
    fs::rename(dir.path().join("etc/.motd.new"), &file).expect("renamed");
    watch.wait().await;
    fs::remove_file(&file).expect("removed");
    watch.wait().await;
    fs::write(dir.path().join("etc/other"), "y").expect("written");
    let quiet = tokio::time::timeout(MAX_DELAY * 2, watch.woken.recv()).await;
    assert!(quiet.is_err(), "a neighbour's change woke");
    watch.stopping.cancel();
    assert!(watch.tasks.finish(Duration::from_secs(20)).await);
}

#[tokio::test]
async fn a_directory_that_comes_back_is_watched_again() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("srv/app")).expect("made");
    let file = dir.path().join("srv/app/conf");
    let mut watch = Watch::start(dir.path(), &["/srv/app/conf"]);
    settle(&mut watch, &file).await;
    fs::remove_dir_all(dir.path().join("srv/app")).expect("removed");
    watch.wait().await;
    fs::create_dir(dir.path().join("srv/app")).expect("made");
    settle(&mut watch, &file).await;
    let other = dir.path().join("srv/late");
    watch.set.send_replace(["/srv/late".to_owned()].into());
    watch.wait().await;
    settle(&mut watch, &other).await;
    watch.stopping.cancel();
}

#[tokio::test]
async fn a_second_name_of_a_file_for_cron_wakes() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("etc/cron.d")).expect("made");
    fs::create_dir(dir.path().join("srv")).expect("made");
    let file = dir.path().join("etc/cron.d/lampas-hello");
    let mut watch = Watch::start(dir.path(), &["/etc/cron.d/lampas-hello"]);
    settle(&mut watch, &file).await;
    for (at, second) in ["etc/cron.d/second", "srv/second"].iter().enumerate() {
        let second = dir.path().join(second);
        fs::hard_link(&file, &second).expect("linked");
        watch.wait().await;
        fs::remove_file(&second).expect("removed");
        watch.wait().await;
        // What takes its place is watched as well.
        let beside = dir.path().join("srv/new");
        fs::write(&beside, format!("{at}")).expect("written");
        fs::rename(&beside, &file).expect("renamed");
        watch.wait().await;
        while tokio::time::timeout(MAX_DELAY * 2, watch.woken.recv()).await.is_ok() {}
    }
    watch.stopping.cancel();
    assert!(watch.tasks.finish(Duration::from_secs(20)).await);
}
