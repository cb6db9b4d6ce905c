//! Who belongs where: edits of nodes as changes, and nodes let in by who has a part of the fleet; on both databases.

use anyhow::{Context as _, Result, ensure};
use lampas_runtime::clock;
use lampas_tests::{Controller, MariaDb, Node, Store, wait_for};

#[test]
fn an_edit_of_a_protected_node_is_approved() -> Result<()> {
    edited(&Controller::start()?)
}

#[test]
fn an_edit_of_a_protected_node_is_approved_on_mariadb() -> Result<()> {
    let server = MariaDb::start()?;
    edited(&Controller::start_with(Store::Database(server.database_file()?))?)
}

#[test]
fn who_has_a_role_lets_in_its_nodes() -> Result<()> {
    let_in(&Controller::start()?)
}

#[test]
fn who_has_a_role_lets_in_its_nodes_on_mariadb() -> Result<()> {
    let server = MariaDb::start()?;
    let_in(&Controller::start_with(Store::Database(server.database_file()?))?)
}

/// Somebody signed in by a token in a file of their name.
struct Person<'c>(&'c Controller, &'static str);

impl<'c> Person<'c> {
    fn admin(controller: &'c Controller) -> Result<Self> {
        std::fs::write(controller.path("password"), "correct horse battery")?;
        Self(controller, "admin").with_token("administrator", &["--grave"])
    }

    fn new(admin: &Self, login: &'static str, preset: &str) -> Result<Self> {
        admin.ok(&["user", "create", login, "--preset", preset, "--password-file", "password"])?;
        Self(admin.0, login).with_token("operator", &[])
    }

    fn with_token(self, preset: &str, more: &[&str]) -> Result<Self> {
        let args = ["token", "api", "--user", self.1, "--name", "test", "--preset", preset];
        let secret = self.0.command(&[&args, more].concat())?;
        std::fs::write(self.0.path(self.1), secret.trim())?;
        Ok(self)
    }

    fn says(&self, args: &[&str]) -> Result<(i32, String, String)> {
        let done = self.0.ctl_with(&[&["--token-file", self.1], args].concat(), "")?;
        Ok((done.code, done.out, done.err))
    }

    fn ok(&self, args: &[&str]) -> Result<String> {
        let (code, out, err) = self.says(args)?;
        ensure!(code == 0, "{} {args:?}: {code} {out} {err}", self.1);
        Ok(out)
    }
}

fn edited(controller: &Controller) -> Result<()> {
    let web = controller.node("web-1", "app")?;
    let file = |role: &str| {
        format!(
            "[[file]]\nname = \"{role}\"\nscope = \"role:{role}\"\npath = \"/etc/{role}\"\ncontent = \"{role}\\n\"\n"
        )
    };
    controller.apply(&file("app"))?;
    controller.apply(&file("database"))?;
    let admin = Person::admin(controller)?;
    let (eve, dana) = (Person::new(&admin, "eve", "operator")?, Person::new(&admin, "dana", "operator")?);
    admin.ok(&["protect", "role:database", "-m", "customers"])?;
    // From here on it is known how the node stands.
    let mut before = String::new();
    wait_for("the first look at the node", || {
        before = clock::now().to_string();
        let past = controller.json(&["role", "show", "app", "--at", &before]).map_err(|e| e.to_string())?;
        if past["members"][0]["name"] == "web-1" { Ok(()) } else { Err(past.to_string()) }
    });

    let (code, _, err) = eve.says(&["node", "set", "web-1", "--role", "database"])?;
    assert!(code != 0 && err.contains("--plan"), "{err}");
    let (code, out, err) = eve.says(&["node", "set", "web-1", "--role", "database", "--plan", "-m", "it moves"])?;
    assert_eq!(code, 10, "{out} {err}");
    assert!(out.contains("node web-1") && out.contains("role = database") && out.contains("/etc/database"), "{out}");
    let plan = out.rsplit(' ').next().context("a plan")?.trim().to_owned();
    assert_eq!(web.read("/etc/app")?, "app\n", "a plan writes nothing");
    let (code, _, err) = eve.says(&["apply", "--plan", &plan])?;
    assert!(code == 4 && err.contains("needs an approval") && err.contains("dana"), "{err}");
    let waiting = dana.ok(&["approval", "list", "--for-me"])?;
    assert!(waiting.contains("node web-1"), "{waiting}");
    let change = controller.json(&["change", "list"])?["items"][0]["number"].to_string();
    dana.ok(&["change", "approve", &change, "--plan", &plan, "--yes"])?;
    eve.ok(&["apply", "--plan", &plan, "--wait"])?;
    assert_eq!(web.read("/etc/database")?, "database\n");
    assert!(web.read("/etc/app").is_err(), "what its former role set is gone");

    wait_for("the role without its node", || {
        let (code, out, err) = eve.says(&["diff", "--from", &before, "--role", "app"]).map_err(|e| e.to_string())?;
        if code == 10 && out.contains("- node web-1") { Ok(()) } else { Err(format!("{code} {out} {err}")) }
    });
    let of_node = eve.says(&["diff", "--from", &before, "--node", "web-1"])?.1;
    assert!(of_node.contains("roles app → database") && of_node.contains("+ file database"), "{of_node}");
    assert!(of_node.contains("- file app"), "{of_node}");
    let (code, _, err) = eve.says(&["diff", "--from", "2001-01-01T00:00:00Z", "--node", "web-1"])?;
    assert!(code == 0 && err.contains("is not known"), "{err}");
    let then = eve.ok(&["role", "show", "app", "--at", &before])?;
    assert!(then.contains("web-1"), "{then}");

    // The way back is a change like any other.
    let (_, out, err) = eve.says(&["change", "revert", &change])?;
    assert!(out.contains("role = app") || err.contains("needs an approval"), "{out} {err}");
    Ok(())
}

fn let_in(controller: &Controller) -> Result<()> {
    controller.node("db-1", "db")?;
    let admin = Person::admin(controller)?;
    let eve = Person::new(&admin, "eve", "none")?;
    admin.ok(&["grant", "add", "user:eve", "view,manage_nodes", "role:app"])?;
    for args in [
        &["token", "create", "--role", "db", "--quiet"][..],
        &["token", "create", "--role", "app", "--role", "db", "--quiet"],
        &["token", "create", "--role", "app", "--label", "env=prod", "--quiet"],
        &["token", "create", "--node", "db-1", "--quiet"],
        &["token", "create", "--quiet"],
    ] {
        let (code, out, err) = eve.says(args)?;
        assert!(code == 4 && err.contains("manage_nodes"), "{args:?}: {code} {out} {err}");
    }
    let make = |more: &[&str]| eve.ok(&[&["token", "create", "--role", "app", "--quiet"], more].concat());
    let (first, named, last) = (make(&["--node", "web-1"])?, make(&["--node", "web-7"])?, make(&[])?);
    Node::prepare("web-1")?.enrol(controller.port(), &first)?;
    wait_for("the node in her list", || {
        let nodes = eve.ok(&["node", "list"]).map_err(|e| e.to_string())?;
        if nodes.contains("web-1") && !nodes.contains("db-1") { Ok(()) } else { Err(nodes) }
    });
    // The name is another node's meanwhile, and one of hers no longer.
    controller.node("web-7", "db")?;
    let refused = Node::prepare("other")?.enrol(controller.port(), &named);
    assert!(refused.is_err(), "it would come in as a node of another role");
    admin.ok(&["token", "create", "--role", "db", "--quiet"])?;
    let own = eve.ok(&["token", "list"])?;
    assert!(own.contains("web-1") && own.lines().count() == 4, "her own alone: {own}");
    let grants = controller.json(&["grant", "list"])?;
    let id = grants[0]["id"].as_str().context("a grant")?.to_owned();
    admin.ok(&["grant", "remove", &id])?;
    let refused = Node::prepare("web-2")?.enrol(controller.port(), &last);
    assert!(refused.is_err_and(|e| e.to_string().contains("token")), "she may let in nobody any more");
    Ok(())
}
