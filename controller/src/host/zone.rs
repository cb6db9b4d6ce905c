//! The zone that a cron job without one of its own goes by: its nodes', as far as they have one in common.

use std::collections::{BTreeMap, BTreeSet};

use lampas_render::Zone;
use lampas_shared::{host::TimeZoneName, id::NodeId, object::Kind};

use crate::{
    access::Reach,
    api::{App, problem::Answer},
    db::{DbError, Tx},
    fleet,
};

/// How many nodes of a scope are looked at: the nodes of a role seldom lie in several zones, and this is asked for while
/// somebody writes.
const LOOKED_AT: usize = 50;

/// Returns the zones of nodes, as far as they said them and they are known here.
pub(crate) async fn zones(app: &App, nodes: &[NodeId]) -> Answer<BTreeMap<NodeId, TimeZoneName>> {
    if nodes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let said = app
        .db
        .read(|mut tx: Tx| async move {
            let said = fleet::said(&mut tx, nodes).await?;
            Ok::<_, DbError>(tx.done(said))
        })
        .await?;
    let known = |zone: &str| TimeZoneName::parse(zone).ok().filter(|z| Zone::parse(z).is_ok());
    Ok(said.into_iter().filter_map(|(node, facts)| Some((node, known(&facts?.time_zone)?))).collect())
}

/// Returns the zone that the nodes of a job's scope have in common, for a job that names none.
pub(crate) async fn of_job(app: &App, reach: &Reach, raw: &serde_json::Value) -> Answer<Option<TimeZoneName>> {
    let body = &raw["body"];
    let is_open = body["kind"] == Kind::Cron.as_str() && body["time_zone"].as_str().unwrap_or_default().is_empty();
    let Some(Ok(scope)) = raw["scope"].as_str().filter(|_| is_open).map(str::parse::<lampas_shared::fleet::Scope>)
    else {
        return Ok(None);
    };
    let view = app.desired.view().await?;
    let within = view.members().iter().filter(|m| reach.has_node(m.id) && scope.contains(&m.name, &m.roles, &m.labels));
    let nodes: Vec<NodeId> = within.map(|m| m.id).take(LOOKED_AT).collect();
    Ok(common(zones(app, &nodes).await?.into_values()))
}

fn common(zones: impl Iterator<Item = TimeZoneName>) -> Option<TimeZoneName> {
    let mut zones: BTreeSet<TimeZoneName> = zones.collect();
    let first = zones.pop_first()?;
    zones.is_empty().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_zone_is_common_and_two_are_not() {
        let check = |given: &[&str], expected: Option<&str>| {
            let zones = given.iter().map(|z| TimeZoneName::parse(*z).expect("a zone"));
            assert_eq!(common(zones).map(|z| z.to_string()).as_deref(), expected, "{given:?}");
        };
        check(&["Europe/Berlin", "Europe/Berlin"], Some("Europe/Berlin"));
        check(&["Europe/Berlin", "Asia/Tokyo"], None);
        check(&[], None);
    }
}
