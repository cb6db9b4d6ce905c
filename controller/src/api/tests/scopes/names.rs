//! Names of variables and secrets in templates: those of elsewhere are not there.

use super::*;

#[tokio::test]
async fn a_name_of_elsewhere_is_none() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    let var = |name: &str, scope: &str| json!({"name": name, "scope": scope, "body": {"kind": "var", "value": "x"}});
    for (name, scope) in [("theirs", "role:db"), ("mine", "role:app"), ("all", "fleet"), ("near", "node:web-1")] {
        let (status, made) = admin.send("POST", "/api/v1/changes", change(&[var(name, scope)], true)).await;
        assert_eq!(status, 201, "{made}");
    }
    let eve = of_app(&controller, &admin).await;
    let problems = async |who: &Browser<'_>, name: &str| {
        let body = json!({
            "kind": "file", "path": "/etc/conf", "content": format!("{{{{var.{name}}}}}"), "template": true,
        });
        let spec = json!({"name": "conf", "scope": "role:app", "body": body});
        let (status, check) = who.send("POST", "/api/v1/check/spec", spec).await;
        assert_eq!(status, 200, "{check}");
        check["problems"].to_string()
    };
    for (name, is_there) in [("theirs", false), ("nowhere", false), ("mine", true), ("all", true), ("near", true)] {
        let found = problems(&eve, name).await;
        assert_eq!(!found.contains("make it first"), is_there, "{name}: {found}");
        // Nothing tells one from the other.
        assert_eq!(
            found.replace(name, "*"),
            if is_there { "[]".to_owned() } else { problems(&eve, "qqq").await.replace("qqq", "*") }
        );
    }
    assert_eq!(problems(&admin, "theirs").await, "[]", "the plan says that it is not for these nodes");
}
