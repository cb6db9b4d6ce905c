//! The tables of what operations need beyond their runs: an operator's signature, and secrets by reference.

use std::{collections::BTreeMap, sync::Arc};

use lampas_shared::{
    host::EnvName,
    id::{NodeId, OperationId, RunId, SecretValueId},
    operation::SecretUse,
    signature::Signed,
    time::UnixMs,
};
use sqlx::{Any, QueryBuilder};

use super::{NewRun, OperationRow, RunRow};
use crate::db::{
    DbError, Tx,
    row::{Reader, id_chunks, insert_many, push_ids},
};

/// Stores what an operation that is made needs.
pub(super) async fn create(tx: &mut Tx, row: &OperationRow, runs: &[NewRun]) -> Result<(), DbError> {
    if let Some(signing) = &row.signing {
        sqlx::query("INSERT INTO operation_signature (operation, until_ms) VALUES (?, ?)")
            .bind(row.id.to_string())
            .bind(signing.until.0)
            .execute(tx.conn())
            .await?;
    }
    let secrets: Vec<(RunId, &EnvName, &SecretUse)> =
        runs.iter().flat_map(|run| run.secrets.iter().map(|(name, used)| (run.run, name, used))).collect();
    insert_many(tx, "operation_run_secret", &["run", "variable", "secret", "value"], "", &secrets, |b, one| {
        let (run, variable, used) = one;
        b.push_bind(run.to_string())
            .push_bind(variable.to_string())
            .push_bind(used.name.to_string())
            .push_bind(used.value.to_string());
    })
    .await
}

/// Puts into runs what they need.
pub(super) async fn fill(tx: &mut Tx, row: &OperationRow, runs: &mut [RunRow]) -> Result<(), DbError> {
    if let Some(serial) = row.signing.as_ref().and_then(|s| s.serial) {
        let signed = statement(tx, serial).await?.map(Arc::new);
        for run in runs.iter_mut() {
            run.signed.clone_from(&signed);
        }
    }
    if row.spec.secrets.is_empty() {
        return Ok(());
    }
    let ids: Vec<RunId> = runs.iter().map(|r| r.run).collect();
    let mut found: BTreeMap<RunId, BTreeMap<EnvName, SecretUse>> = BTreeMap::new();
    for chunk in id_chunks(&ids) {
        let mut query = QueryBuilder::<Any>::new(
            "SELECT k.run, k.variable, k.secret, k.value FROM operation_run_secret k WHERE k.run IN ",
        );
        push_ids(&mut query, chunk);
        for row in &query.build().persistent(false).fetch_all(tx.conn()).await? {
            let r = Reader::new("operation_run_secret", row);
            let used = SecretUse { name: r.parse("secret")?, value: r.parse("value")? };
            found.entry(r.parse("run")?).or_default().insert(r.parse("variable")?, used);
        }
    }
    for run in runs {
        run.secrets = found.remove(&run.run).unwrap_or_default();
    }
    Ok(())
}

async fn statement(tx: &mut Tx, serial: u64) -> Result<Option<Signed>, DbError> {
    let row = sqlx::query("SELECT s.statement, s.armour FROM signature s WHERE s.serial = ?")
        .bind(serial as i64)
        .fetch_optional(tx.conn())
        .await?;
    row.map(|row| {
        let r = Reader::new("signature", &row);
        Ok(Signed { text: r.text("statement")?, signature: r.text("armour")? })
    })
    .transpose()
}

/// Stores that an operation was signed; returns whether it waited for that.
pub(crate) async fn signed(tx: &mut Tx, id: OperationId, serial: u64, now: UnixMs) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE operation_signature SET serial = ?, signed_ms = ? WHERE operation = ? AND signed_ms IS NULL AND until_ms > ?",
    )
    .bind(serial as i64)
    .bind(now.0)
    .bind(id.to_string())
    .bind(now.0)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Returns the runs of an operation as they are told to nodes.
pub(crate) async fn runs(tx: &mut Tx, row: &OperationRow) -> Result<Vec<RunRow>, DbError> {
    let rows = sqlx::query(
        "SELECT r.run, r.operation, r.node, r.state, r.work, r.told_ms, r.has_begun FROM operation_run r \
         WHERE r.operation = ? ORDER BY r.place",
    )
    .bind(row.id.to_string())
    .fetch_all(tx.conn())
    .await?;
    let mut runs: Vec<RunRow> = rows.iter().map(super::run_row).collect::<Result<_, _>>()?;
    fill(tx, row, &mut runs).await?;
    Ok(runs)
}

/// Returns whether a run that its node was told of needs this value of a secret.
pub(crate) async fn needs(tx: &mut Tx, node: NodeId, value: SecretValueId) -> Result<bool, DbError> {
    let row = sqlx::query(
        "SELECT r.run FROM operation_run_secret k JOIN operation_run r ON r.run = k.run \
         WHERE k.value = ? AND r.node = ? AND r.state = 'running' LIMIT 1",
    )
    .bind(value.to_string())
    .bind(node.to_string())
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.is_some())
}

/// Drops what operations that go needed.
pub(super) async fn prune(tx: &mut Tx, ids: &[String]) -> Result<(), DbError> {
    let mut query = QueryBuilder::<Any>::new(
        "DELETE FROM operation_run_secret WHERE run IN (SELECT r.run FROM operation_run r WHERE r.operation IN ",
    );
    push_ids(&mut query, ids);
    query.push(")").build().persistent(false).execute(tx.conn()).await?;
    let mut query = QueryBuilder::<Any>::new("DELETE FROM operation_signature WHERE operation IN ");
    push_ids(&mut query, ids);
    query.build().persistent(false).execute(tx.conn()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use lampas_api::OperationSigning;
    use lampas_runtime::random;
    use lampas_shared::operation::{OperationSpec, OperationState};

    use super::*;
    use crate::{
        db::{Db, testing},
        operation::store::{create, find, prune, start, under_way},
    };

    testing::on_both!(what_a_run_needs_is_kept_until_it_is_over);

    async fn what_a_run_needs_is_kept_until_it_is_over(db: Db) {
        let spec = r#"{"work":{"kind":"command","argv":["true"]},"on":["fleet"],"secrets":{"pw":"db.password"}}"#;
        let spec: OperationSpec = serde_json::from_str(spec).expect("an operation");
        let (node, value): (NodeId, SecretValueId) = (random::new_id(), random::new_id());
        let now = UnixMs(1_790_000_000_000);
        let used = SecretUse { name: "db.password".parse().expect("a name"), value };
        let variable: EnvName = "PARAM_PW".parse().expect("a name");
        let run = NewRun {
            run: random::new_id(),
            node,
            name: "web-1".into(),
            script: None,
            secrets: [(variable.clone(), used.clone())].into(),
            refused: None,
            observes: false,
        };
        let row = OperationRow {
            id: random::new_id(),
            number: 0,
            state: OperationState::Running,
            spec,
            author: "ann".into(),
            principal: "user:ann".into(),
            again_of: None,
            created_at: now,
            ended_at: None,
            cancelled: None,
            signing: Some(OperationSigning { until: now.plus_ms(1000), signed_at: None, serial: None }),
        };
        let (row, run, used, variable) = (&row, &run, &used, &variable);
        db.write(|mut tx| async move {
            create(&mut tx, row, None, None, std::slice::from_ref(run)).await?;
            let id = row.id.to_string();
            let found = find(&mut tx, &id).await?.expect("is there");
            assert_eq!(found.waits_until(), Some(now.plus_ms(1000)));
            assert!(!needs(&mut tx, node, value).await?, "before its node was told nobody gets it");
            assert!(!signed(&mut tx, row.id, 7, now.plus_ms(1000)).await?, "too late");
            assert!(signed(&mut tx, row.id, 7, now).await?);
            assert!(!signed(&mut tx, row.id, 8, now).await?, "once");
            let found = find(&mut tx, &id).await?.expect("is there");
            assert_eq!((found.waits_until(), found.signing.and_then(|s| s.serial)), (None, Some(7)));
            let all = under_way(&mut tx).await?;
            let (_, runs) = all.first().expect("is under way");
            assert_eq!(runs[0].secrets, [(variable.clone(), used.clone())].into());
            start(&mut tx, &[run.run], now).await?;
            assert!(needs(&mut tx, node, value).await?);
            assert!(!needs(&mut tx, random::new_id(), value).await?, "another node's");
            sqlx::query("UPDATE operation SET ended_ms = 1").execute(tx.conn()).await?;
            prune(&mut tx, now, now).await?;
            assert!(find(&mut tx, &id).await?.is_none() && !needs(&mut tx, node, value).await?);
            let left = sqlx::query("SELECT k.run FROM operation_run_secret k").fetch_all(tx.conn()).await?;
            assert!(left.is_empty());
            Ok::<_, DbError>(tx.done(()))
        })
        .await
        .expect("written");
    }
}
