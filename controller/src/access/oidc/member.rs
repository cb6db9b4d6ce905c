//! What a provider's groups give here, anew at each sign-in.
//!
//! Groups of users that a mapping names are joined, and left again when the provider says so no more; who is in one by an
//! administrator's hand stays. A preset is given to accounts alone that the provider made. Neither takes the last
//! administrator away: then things stay as they are.

use std::collections::BTreeSet;

use lampas_api::ProviderSpec;
use lampas_runtime::clock;
use lampas_shared::{
    access::{Preset, UserGroupName},
    event::EventKind,
    id::{IdentityId, UserGroupId},
};

use super::store::{self, ProviderRow};
use crate::{
    access::{
        Access, AccessError, grant, group,
        store::{self as users, UserRow},
    },
    api::problem::{Answer, Refusal},
    audit::{Entry, Principal},
    db::Tx,
    event::NewEvent,
};

/// What somebody's groups at a provider mean here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meant {
    pub(super) groups: BTreeSet<UserGroupName>,
    /// The preset, if mappings say anything of presets.
    pub(super) preset: Option<Preset>,
}

/// Decides what groups mean.
pub(super) fn meant(spec: &ProviderSpec, claimed: &[String]) -> Meant {
    let matched = || spec.mappings.iter().filter(|m| claimed.contains(&m.claim));
    let says_presets = spec.mappings.iter().any(|m| m.preset.is_some());
    let highest = matched().filter_map(|m| m.preset).max();
    Meant {
        groups: matched().filter_map(|m| m.group.clone()).collect(),
        preset: says_presets.then(|| highest.unwrap_or(spec.default_preset)),
    }
}

impl Access {
    /// Takes up what the provider says of a user who signs in, and returns the user as it is then.
    pub(super) async fn refreshed(
        &self,
        by: &Principal,
        row: &ProviderRow,
        identity: IdentityId,
        shown: &str,
        claimed: &[String],
    ) -> Answer<UserRow> {
        let meant = &meant(&row.spec, claimed);
        let now = clock::now();
        let user = self
            .db
            .write(|mut tx: Tx| async move {
                grant::store::lock(&mut tx).await?;
                let gone = || AccessError::from(Refusal::new("sign_in_failed", "the identity was unlinked meanwhile"));
                let known = store::identity_by_id(&mut tx, identity).await?.ok_or_else(gone)?;
                let mut user = users::user_by_id(&mut tx, known.user).await?.ok_or_else(gone)?;
                let mut what = Vec::new();
                let memberships = follow(&mut tx, &user, &known.memberships, meant, &mut what).await?;
                if let Some(preset) = meant.preset.filter(|p| known.is_maker && *p != user.preset) {
                    let before = user.preset;
                    user.preset = preset;
                    users::update_user(&mut tx, &user, now).await?;
                    if grant::store::has_administrator(&mut tx).await? {
                        what.push(format!("{} → {}", before.as_str(), preset.as_str()));
                    } else {
                        user.preset = before;
                        users::update_user(&mut tx, &user, now).await?;
                        what.push(format!("stays {}: the last administrator", before.as_str()));
                    }
                }
                store::used(&mut tx, identity, shown, &memberships, now).await?;
                let mut object = format!("{} with {}", user.login, row.name);
                if !what.is_empty() {
                    object.push_str(&format!(": {}", what.join(", ")));
                    tx.event(NewEvent::new(EventKind::UserChanged).with("login", &user.login));
                }
                tx.audit(Entry::done(by, "session.provider", object));
                Ok::<_, AccessError>(tx.done(user))
            })
            .await?;
        Ok(user)
    }
}

/// Joins and leaves groups. Returns those that the user is in because the provider says so.
async fn follow(
    tx: &mut Tx,
    user: &UserRow,
    before: &[UserGroupId],
    meant: &Meant,
    what: &mut Vec<String>,
) -> Result<Vec<UserGroupId>, AccessError> {
    let now = clock::now();
    let mut stands = Vec::new();
    for name in &meant.groups {
        // A group that was removed since means nothing.
        let Some(group) = group::store::by_name(tx, name.as_str()).await? else { continue };
        let is_new = group::store::join(tx, group.id, user.id, now).await?;
        if is_new {
            what.push(format!("joined {name}"));
        }
        if is_new || before.contains(&group.id) {
            stands.push(group.id);
        }
    }
    let left: Vec<UserGroupId> = before.iter().filter(|id| !stands.contains(id)).copied().collect();
    for id in &left {
        let Some(group) = group::store::by_id(tx, *id).await? else { continue };
        if !group::store::leave(tx, *id, user.id).await? {
            continue;
        }
        if grant::store::has_administrator(tx).await? {
            what.push(format!("left {}", group.name));
        } else {
            group::store::join(tx, *id, user.id, now).await?;
            stands.push(*id);
            what.push(format!("stays in {}: the last administrator", group.name));
        }
    }
    Ok(stands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_mean_what_the_mappings_say_and_no_more() {
        let spec = |presets: bool| -> ProviderSpec {
            let mut mappings = vec![
                serde_json::json!({"claim": "ops", "group": "operators"}),
                serde_json::json!({"claim": "web", "group": "web-team"}),
            ];
            if presets {
                mappings.push(serde_json::json!({"claim": "root", "preset": "administrator"}));
                mappings.push(serde_json::json!({"claim": "ops", "preset": "operator"}));
            }
            let spec = serde_json::json!({
                "issuer": "https://id.example", "client_id": "c", "groups_claim": "groups", "mappings": mappings,
                "default_preset": "viewer",
            });
            serde_json::from_value(spec).expect("a spec")
        };
        let check = |presets: bool, claimed: &[&str], groups: &[&str], preset: Option<Preset>| {
            let claimed: Vec<String> = claimed.iter().map(|c| (*c).to_owned()).collect();
            let groups = groups.iter().map(|g| UserGroupName::parse(*g).expect("a name")).collect();
            assert_eq!(meant(&spec(presets), &claimed), Meant { groups, preset }, "{claimed:?}");
        };
        check(false, &[], &[], None);
        check(false, &["ops"], &["operators"], None);
        check(false, &["OPS", "ops ", "administrators", "operators"], &[], None);
        check(true, &[], &[], Some(Preset::Viewer));
        check(true, &["ops", "web"], &["operators", "web-team"], Some(Preset::Operator));
        check(true, &["ops", "root"], &["operators"], Some(Preset::Administrator));
    }
}
