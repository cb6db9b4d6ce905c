//! Lists give nothing away: a search that finds by hidden contents reads them letter by letter, and a cursor that is the name
//! of what may not be seen tells it.

use super::*;

#[tokio::test]
async fn nobody_finds_by_what_he_may_not_read() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    let file = |name: &str, mode: &str| {
        let body = json!({"kind": "file", "path": format!("/etc/{name}"), "content": "zeppelin", "mode": mode});
        json!({"name": name, "scope": "role:app", "body": body})
    };
    let made =
        admin.send("POST", "/api/v1/changes", change(&[file("hidden", "0600"), file("open", "0644")], true)).await;
    assert_eq!(made.0, 201, "{}", made.1);
    admin.user("vera", "none").await;
    admin.granted("user:vera", "view", "role:app").await;
    let vera = controller.sign_in("vera").await;
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().into_iter().flatten().map(|o| text(&o["name"])).collect()
    };
    for (who, query, found) in [
        (&admin, "zeppelin", vec!["hidden", "open"]),
        (&vera, "zeppelin", vec![]),
        (&vera, "idde", vec!["hidden"]),
        (&vera, "HIDDEN", vec!["hidden"]),
    ] {
        let (status, page) = who.get(&format!("/api/v1/objects?query={query}")).await;
        assert_eq!((status, names(&page)), (200, found.into_iter().map(str::to_owned).collect()), "{query}: {page}");
    }
}

#[tokio::test]
async fn cursors_are_names_of_what_may_be_seen() {
    let controller = Controller::start().await;
    let admin = controller.set_up().await;
    world(&controller, &admin).await;
    controller.node("web-1b", "cache").await;
    controller.node("web-2", "app").await;
    let jobs = [job("a", "role:app", "date"), job("b", "role:cache", "date"), job("c", "role:app", "date")];
    let (status, made) = admin.send("POST", "/api/v1/changes", change(&jobs, true)).await;
    assert_eq!(status, 201, "{made}");
    let eve = of_app(&controller, &admin).await;
    for (list, expected) in
        [("/api/v1/nodes", vec!["web-1", "web-2"]), ("/api/v1/objects", vec!["a", "c", "everywhere", "hello"])]
    {
        for limit in 1..5 {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let (status, page) = eve.get(&format!("{list}?limit={limit}{after}")).await;
                assert_eq!(status, 200, "{page}");
                let items = page["items"].as_array().expect("items");
                seen.extend(items.iter().map(|i| text(&i["name"])));
                let Some(next) = page["next"].as_str() else { break };
                assert_eq!(next.split('/').next(), seen.last().map(String::as_str), "{list} by {limit}");
                after = format!("&after={}", next.replace('/', "%2F"));
            }
            assert_eq!(seen, expected, "{list} by {limit}");
        }
    }
}
