//! What one person can't do alone: two people at the API, nodes of a protected role, a schedule, a freeze.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lampas_runtime::clock;
use lampas_tests::{Controller, Node, Session, wait_for, wait_within};
use serde_json::{Value, json};

/// A change that was planned, and what an approval of it names.
struct Planned {
    path: String,
    digest: String,
}

impl Planned {
    /// Makes and plans a change of one file of the role app.
    fn by(who: &Session<'_>, name: &str, content: &str) -> Result<Self> {
        let body = json!({"kind": "file", "path": format!("/etc/{name}"), "content": format!("{content}\n")});
        let draft = json!({"put": {"name": name, "scope": "role:app", "body": body}});
        let made = who.ok("POST", "/changes", &json!({"drafts": [draft], "reason": content}))?;
        Self::of(&made)
    }

    fn of(change: &Value) -> Result<Self> {
        let digest = change["plan"]["digest"].as_str().with_context(|| format!("a plan: {change:#}"))?.to_owned();
        Ok(Self { path: format!("/changes/{}", change["number"]), digest })
    }

    fn call(&self, act: &str) -> String {
        format!("{}/{act}", self.path)
    }

    fn approve(&self, who: &Session<'_>) -> Result<()> {
        who.ok("POST", &self.call("approve"), &json!({"plan": self.digest, "reason": "read it"})).map(drop)
    }

    /// Returns what applies it.
    fn apply(&self, more: Value) -> Value {
        let mut body = json!({"plan": self.digest});
        body.as_object_mut().into_iter().for_each(|b| b.extend(more.as_object().cloned().unwrap_or_default()));
        body
    }

    fn wait(&self, who: &Session<'_>, what: &str, pointer: &str, wanted: &str) -> Value {
        wait_within(Duration::from_secs(90), what, || {
            let change = who.ok("GET", &self.path, &Value::Null).map_err(|e| e.to_string())?;
            if change.pointer(pointer).is_some_and(|v| v == wanted) { Ok(change) } else { Err(format!("{change:#}")) }
        })
    }
}

fn texts(nodes: &[Node; 2], name: &str) -> [String; 2] {
    [0, 1].map(|n: usize| nodes[n].read(&format!("/etc/{name}")).unwrap_or_default().trim().to_owned())
}

fn wait_texts(nodes: &[Node; 2], name: &str, wanted: &str) {
    wait_for(&format!("{name} on both nodes"), || {
        let found = texts(nodes, name);
        if found == [wanted, wanted] { Ok(()) } else { Err(found) }
    });
}

#[test]
fn a_held_rollout_wants_a_second_person_and_a_plan_that_moved_wants_them_again() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let anna = Session::admin(&controller)?;
    let bert = Session::new(&anna, "bert", "operator")?;
    let vera = Session::new(&anna, "vera", "viewer")?;
    anna.ok("POST", "/protections", &json!({"scope": "role:app", "reason": "customers"}))?;

    // Who made the plan can't let it through, whoever they are; nor can who may only look.
    let first = Planned::by(&anna, "motd", "one")?;
    anna.refused("POST", &first.call("approve"), &json!({"plan": first.digest}), "approval.own")?;
    let said = anna.refused("POST", &first.call("apply"), &first.apply(json!({})), "approval.needed")?;
    assert!(said.contains("bert"), "{said}");
    vera.refused("POST", &first.call("approve"), &json!({"plan": first.digest}), "forbidden")?;
    let other = json!({"plan": "0".repeat(first.digest.len())});
    bert.refused("POST", &first.call("approve"), &other, "plan.moved")?;
    assert_eq!(texts(&nodes, "motd"), ["", ""], "nothing of it is anywhere");

    // A second one may; it begins with its canary, and the rest waits.
    first.approve(&bert)?;
    let canary = json!({"rollout": {"waves": ["1"], "soak_secs": 3600}});
    anna.ok("POST", &first.call("apply"), &first.apply(canary))?;
    let mut found = Vec::new();
    for wave in [1, 2] {
        wait_for("the wave to soak", || {
            let shown = controller.json(&["rollout", "show", "1"]).map_err(|e| e.to_string())?;
            if shown["phase"] == "soaking" && shown["wave"] == wave { Ok(()) } else { Err(shown.to_string()) }
        });
        found.push(texts(&nodes, "motd").iter().filter(|t| *t == "one").count());
        bert.ok("POST", &first.call("rollout"), &json!({"order": "promote", "reason": "it looks well"}))?;
    }
    assert_eq!(found, [1, 2], "one node first");
    first.wait(&anna, "the rollout to be over", "/state", "done");

    // What was approved is over when something moves: here, the other's change on the same nodes.
    let second = Planned::by(&anna, "motd", "two")?;
    second.approve(&bert)?;
    let third = Planned::by(&bert, "issue", "three")?;
    bert.refused("POST", &third.call("approve"), &json!({"plan": third.digest}), "approval.own")?;
    third.approve(&anna)?;
    bert.ok("POST", &third.call("apply"), &third.apply(json!({})))?;
    wait_texts(&nodes, "issue", "three");
    anna.refused("POST", &second.call("apply"), &second.apply(json!({})), "plan.moved")?;
    let again = Planned::of(&anna.ok("POST", &second.call("plan"), &json!({}))?)?;
    assert_ne!(again.digest, second.digest);
    anna.refused("POST", &again.call("apply"), &again.apply(json!({})), "approval.needed")?;
    bert.refused("POST", &again.call("approve"), &json!({"plan": second.digest}), "plan.moved")?;
    assert_eq!(texts(&nodes, "motd"), ["one", "one"]);
    again.approve(&bert)?;
    anna.ok("POST", &again.call("apply"), &again.apply(json!({})))?;
    wait_texts(&nodes, "motd", "two");

    // Each of it stands in the audit, what was refused too.
    let audit = controller.json(&["audit", "--act", "change.approve"])?;
    let rows: Vec<(&str, &str)> = audit["items"]
        .as_array()
        .context("rows")?
        .iter()
        .rev()
        .map(|e| (e["principal"].as_str().unwrap_or_default(), e["result"].as_str().unwrap_or_default()))
        .collect();
    let done = |by: &str| rows.iter().filter(|(who, result)| *who == by && *result == "done").count();
    assert_eq!((done("user:bert"), done("user:admin"), done("user:vera")), (3, 1, 0), "{rows:?}");
    assert!(rows.iter().any(|(who, result)| *who == "user:admin" && result.starts_with("refused")), "{rows:?}");
    Ok(())
}

#[test]
fn what_is_only_looked_at_waits_for_nobody_until_somebody_tries_to_apply_it() -> Result<()> {
    let controller = Controller::start()?;
    let _node = controller.node("web-1", "app")?;
    let anna = Session::admin(&controller)?;
    let bert = Session::new(&anna, "bert", "operator")?;
    anna.ok("POST", "/protections", &json!({"scope": "role:app", "reason": "customers"}))?;
    let manifest = "[[file]]\nname = \"env\"\nscope = \"role:app\"\npath = \"/etc/app.env\"\n\
                    content = \"PW={{secret.db-pass}}\"\n";
    let looked = controller.ctl_with(&["apply", "-f", "-", "--plan"], manifest)?;
    let said =
        "file env (role:app): content holds {{secret.db-pass}}, which is written as it stands: set template = true";
    assert!(looked.code == 10 && looked.out.contains(said), "{looked:#?}");
    assert!(looked.err.contains("needs an approval for role:app"), "{looked:#?}");
    let plan = looked.out.rsplit(' ').next().context("a plan")?.trim().to_owned();
    let waits = || -> Result<(usize, bool)> {
        let listed = bert.ok("GET", "/approvals", &Value::Null)?;
        let overview = bert.ok("GET", "/overview", &Value::Null)?;
        let kinds = overview["attention"].as_array().context("a list")?.iter().map(|a| a["kind"].clone());
        let is_told = kinds.into_iter().any(|k| k == "approval_waiting" || k == "plan_waiting");
        Ok((listed.as_array().context("a list")?.len(), is_told))
    };
    assert_eq!(waits()?, (0, false));
    assert_eq!(controller.ctl(&["apply", "--plan", &plan])?.code, 4);
    assert_eq!(waits()?, (1, true));

    // To plan one again is to ask as well: that is how the dashboard does.
    let again = controller.ctl_with(&["apply", "-f", "-", "--plan"], &manifest.replace("PW", "OTHER"))?;
    assert_eq!((again.code, waits()?.0), (10, 1), "{again:#?}");
    let number = controller.json(&["change", "list"])?["items"][0]["number"].to_string();
    anna.ok("POST", &format!("/changes/{number}/plan"), &json!({}))?;
    assert_eq!(waits()?.0, 2);
    Ok(())
}

#[test]
fn what_is_scheduled_waits_for_the_end_of_a_freeze_and_is_dropped_if_it_moved_meanwhile() -> Result<()> {
    let controller = Controller::start()?;
    let nodes = [controller.node("web-1", "app")?, controller.node("web-2", "app")?];
    let anna = Session::admin(&controller)?;
    let bert = Session::new(&anna, "bert", "operator")?;
    anna.ok("POST", "/protections", &json!({"scope": "role:app", "reason": "customers"}))?;
    let freeze = || -> Result<String> {
        let until = clock::now().plus_ms(3_600_000);
        let made = anna.ok("POST", "/freezes", &json!({"scope": "role:app", "until": until, "reason": "a sale"}))?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    };
    let thaw = |id: &str| anna.ok("POST", &format!("/freezes/{id}/end"), &json!({"reason": "sold out"}));
    let schedule = |planned: &Planned| {
        // Long enough for the call itself to come before it on a machine that is busy.
        let at = clock::now().plus_ms(4000);
        anna.send("POST", &planned.call("apply"), &planned.apply(json!({"at": at})))
    };
    let held = |planned: &Planned| {
        wait_for("the schedule to wait for the freeze", || {
            let change = anna.ok("GET", &planned.path, &Value::Null).map_err(|e| e.to_string())?;
            let schedule = &change["control"]["schedule"];
            let waits = schedule["reason"].as_str().is_some_and(|r| r.starts_with("it waits: "));
            if schedule["state"] == "waiting" && waits { Ok(()) } else { Err(format!("{change:#}")) }
        });
    };

    // Nobody schedules past the second person either.
    let first = Planned::by(&anna, "motd", "one")?;
    let refused = schedule(&first)?;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("approval.needed")), "{refused:#?}");
    first.approve(&bert)?;
    let frozen = freeze()?;
    anna.refused("POST", &first.call("apply"), &first.apply(json!({})), "change.frozen")?;
    let scheduled = schedule(&first)?;
    assert_eq!(scheduled.status, 200, "{scheduled:#?}");
    held(&first);
    assert_eq!(texts(&nodes, "motd"), ["", ""]);
    thaw(&frozen)?;
    wait_texts(&nodes, "motd", "one");
    first.wait(&anna, "the change to be done", "/control/schedule/state", "applied");

    // Held again, and what it was made of moves: it is dropped, says so, and stays planned.
    let second = Planned::by(&anna, "motd", "two")?;
    second.approve(&bert)?;
    let frozen = freeze()?;
    let scheduled = schedule(&second)?;
    assert_eq!(scheduled.status, 200, "{scheduled:#?}");
    held(&second);
    let third = Planned::by(&bert, "issue", "three")?;
    third.approve(&anna)?;
    let over = json!({"override_freeze": true, "reason": "it can't wait"});
    bert.refused("POST", &third.call("apply"), &third.apply(over.clone()), "forbidden")?;
    anna.ok("POST", &third.call("apply"), &third.apply(over))?;
    wait_texts(&nodes, "issue", "three");
    thaw(&frozen)?;
    let dropped = second.wait(&anna, "the schedule to be dropped", "/control/schedule/state", "dropped");
    assert!(dropped["control"]["schedule"]["reason"].as_str().is_some_and(|r| !r.is_empty()), "{dropped:#}");
    assert_eq!(dropped["state"], "planned", "{dropped:#}");
    assert_eq!(texts(&nodes, "motd"), ["one", "one"]);
    Ok(())
}
