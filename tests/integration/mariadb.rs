//! The same way on a MariaDB server.

use anyhow::Result;
use lampas_tests::{Controller, MariaDb, Store, wait_for};

#[test]
fn the_way_of_a_change_on_mariadb() -> Result<()> {
    let server = MariaDb::start()?;
    let mut controller = Controller::start_with(Store::Database(server.database_file()?))?;
    let node = controller.node("web-1", "app")?;
    controller
        .apply("[[file]]\nname = \"motd\"\nscope = \"role:app\"\npath = \"/etc/motd\"\ncontent = \"one\\n\"\n")?;
    assert_eq!(node.read("/etc/motd")?, "one\n");
    node.write("/etc/motd", "by hand\n")?;
    wait_for("the drift to be seen", || {
        let list = controller.json(&["drift", "list"]).map_err(|e| e.to_string())?;
        if list["items"].as_array().is_some_and(|i| i.len() == 1) { Ok(()) } else { Err(list.to_string()) }
    });
    let adopted = controller.ctl(&["drift", "adopt", "web-1:/etc/motd", "--apply", "--wait"])?;
    assert_eq!(adopted.code, 0, "{adopted:#?}");

    controller.kill();
    controller.resume()?;
    controller.wait_online("web-1");
    let history = controller.json(&["object", "history", "file/motd"])?;
    assert_eq!(history["items"].as_array().map(Vec::len), Some(2), "{history}");
    assert!(controller.ctl_ok(&["audit", "--verify"])?.out.contains("whole"));
    Ok(())
}
