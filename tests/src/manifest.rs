//! Manifests that several tests apply.

/// An application's configuration (`/etc/app.conf` of the role app) made of lines that may use the variable `db.user`.
pub fn templated(lines: &str) -> String {
    format!(
        r#"
[[var]]
name = "db.user"
scope = "fleet"
value = "app"

[[file]]
name = "app.conf"
scope = "role:app"
path = "/etc/app.conf"
mode = "0640"
template = true
content = """
{lines}"""
"#
    )
}
