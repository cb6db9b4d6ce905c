//! Roles: they come to be when they are first used.

use lampas_api::Role;
use lampas_runtime::clock;
use lampas_shared::fleet::RoleName;
use sqlx::{Any, QueryBuilder};

use crate::db::{DbError, Tx, row::Reader};

/// Makes sure that a role is listed.
pub async fn ensure(tx: &mut Tx, role: &RoleName) -> Result<(), DbError> {
    let after = tx.dialect().on_conflict(&["name"], &[]);
    let mut query = QueryBuilder::<Any>::new("INSERT INTO role (name, created_ms, note) VALUES (");
    query.push_bind(role.as_str().to_owned()).push(", ").push_bind(clock::now().0).push(", '')").push(after);
    query.build().execute(tx.conn()).await?;
    Ok(())
}

/// Returns all roles by name with their counts, or one of them.
pub async fn list(tx: &mut Tx, only: Option<&RoleName>) -> Result<Vec<Role>, DbError> {
    let count = |what: &str| format!("CAST(COALESCE(SUM(CASE WHEN {what} THEN 1 ELSE 0 END), 0) AS SIGNED)");
    let mut query = QueryBuilder::<Any>::new(
        format!(
            "SELECT r.name, COUNT(n.id) AS nodes, {} AS online, {} AS converged, {} AS drifted, {} AS failed, \
             (SELECT COUNT(*) FROM object o WHERE o.scope = ",
            count("n.state = 'online'"),
            count("n.id IS NOT NULL AND c.state = 'converged'"),
            count("c.state = 'drifted'"),
            count("c.state IN ('failed', 'blocked')"),
        )
        .replace("AS SIGNED", tx.dialect().integer()),
    );
    query.push(tx.dialect().concat("'role:'", "r.name")).push(
        ") AS objects FROM role r LEFT JOIN node_role m ON m.role = r.name \
         LEFT JOIN node n ON n.id = m.node AND n.revoked_ms IS NULL LEFT JOIN node_config c ON c.node = n.id",
    );
    if let Some(role) = only {
        query.push(" WHERE r.name = ").push_bind(role.as_str().to_owned());
    }
    query.push(" GROUP BY r.name ORDER BY r.name");
    let rows = query.build().fetch_all(tx.conn()).await?;
    rows.iter()
        .map(|row| {
            let r = Reader::new("role", row);
            let number = |column| r.count(column).map(|n| n as u32);
            Ok(Role {
                name: r.parse("name")?,
                nodes: number("nodes")?,
                online: number("online")?,
                converged: number("converged")?,
                drifted: number("drifted")?,
                failed: number("failed")?,
                objects: number("objects")?,
            })
        })
        .collect()
}
