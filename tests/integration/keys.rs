//! The keys of sealed values: of two controllers on one store the second holds none until it is brought.

use std::fs;

use anyhow::Result;
use lampas_tests::{Controller, MariaDb, Store};

#[test]
fn a_second_controller_lacks_the_key_until_it_is_brought() -> Result<()> {
    let server = MariaDb::start()?;
    let store = Store::Database(server.database_file()?);
    let one = Controller::start_with(store.clone())?;
    let two = Controller::prepare(store)?;
    fs::write(one.path("value"), "hunter2")?;
    one.ctl_ok(&["secret", "set", "db", "--scope", "fleet", "--file", "value"])?;
    assert_eq!(one.ctl(&["controller"])?.code, 0);
    let missing = two.command(&["keys", "show"]).expect_err("there is no key").to_string();
    assert!(missing.contains("identity/secret-key") && missing.contains("keys export"), "{missing}");
    assert!(!two.data().join("identity/secret-key").exists(), "none is made");

    let file = |name: &str| one.path(name).display().to_string();
    let (public, recovery, keys) = (file("public"), file("recovery"), file("keys"));
    let keygen = std::process::Command::new(lampas_tests::binary("lampas-controller")?)
        .args(["backup", "keygen", "--recovery-key", &recovery, "--public-key", &public])
        .status()?;
    assert!(keygen.success());
    one.command(&["keys", "export", "--to", &keys, "--key-file", &public])?;
    two.command(&["keys", "import", "--from", &keys, "--key-file", &recovery])?;
    let shown = two.command(&["keys", "show"])?;
    assert!(shown.lines().any(|l| l.starts_with("identity/secret-key") && l.contains(" right ")), "{shown}");

    // Another key in its place is told where somebody looks, and nothing is sealed under it.
    let key = one.data().join("identity/secret-key");
    fs::rename(&key, one.path("kept"))?;
    fs::write(one.path("other"), [7; 32])?;
    fs::set_permissions(one.path("other"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    fs::rename(one.path("other"), &key)?;
    let told = one.ctl(&["controller"])?;
    assert!(told.code == 1 && told.out.contains("other"), "{told:#?}");
    let overview = one.ctl_ok(&["overview"])?.out;
    assert!(overview.contains("identity/secret-key") && overview.contains("the key here is another one"), "{overview}");
    let ready = one.https("", "GET", "/readyz", &["--output", &file("ready")])?;
    assert_eq!(ready.status, 200);
    assert_eq!(fs::read_to_string(one.path("ready"))?, "ready\nidentity/secret-key: other\n");
    let refused = one.ctl(&["secret", "set", "db", "--scope", "fleet", "--file", "value"])?;
    assert!(refused.code == 1 && refused.err.contains("another one"), "{refused:#?}");
    fs::rename(one.path("kept"), &key)?;
    assert_eq!(one.ctl(&["controller"])?.code, 0);
    Ok(())
}
