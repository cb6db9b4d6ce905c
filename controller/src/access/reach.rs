//! How far somebody reaches: rights asked about nodes and scopes as they stand.
//!
//! A [`Principal`] that a call makes carries the rights of its caller, so that whatever acts in its name can ask, deep in
//! a transaction, with the nodes and objects as they are there. The controller itself has no bounds.
//! A [`Reach`] is the same for reading: which nodes and which objects a caller may see. An object may be seen by who
//! may see all of its scope, or one of the nodes that it is for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lampas_api::Page;
use lampas_shared::{
    access::{Permission, Place, Rights},
    fleet::{NodeName, Scope},
    id::NodeId,
};
use thiserror::Error;

use crate::{
    api::{App, guard::Caller, problem::Answer},
    audit::Principal,
    change::View,
    compile::NodeInput,
};

/// How many pages are passed over before a client is asked to come again.
const PASSED_OVER: usize = 20;
/// How many rows such pages have at least.
const SIFTED: u32 = 100;
/// How many names a refusal lists.
const NAMED: usize = 5;

/// Something lies outside of what somebody may.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{who} lacks the permission {} on {what}", .permission.as_str())]
pub struct Outside {
    /// Who.
    pub who: String,
    /// Which permission.
    pub permission: Permission,
    /// On what.
    pub what: String,
}

/// Returns where a node stands.
pub(crate) fn place(node: &NodeInput) -> Place<'_> {
    Place { name: &node.name, roles: &node.roles, labels: &node.labels }
}

/// Finds nodes by name.
pub(crate) fn finder<'m>(members: &'m [NodeInput]) -> impl Fn(&NodeName) -> Option<Place<'m>> {
    move |name: &NodeName| members.iter().find(|m| m.name == *name).map(place)
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

impl Principal {
    /// Returns the principal, bound by rights.
    #[must_use]
    pub fn with_rights(self, rights: Rights) -> Self {
        Self { rights: Some(Arc::new(rights)), ..self }
    }

    /// Returns the principal without bounds, for what the controller does by itself in its name.
    #[must_use]
    pub(crate) fn unbound(&self) -> Self {
        Self { rights: None, ..self.clone() }
    }

    fn outside(&self, permission: Permission, names: &[String]) -> Outside {
        Outside { who: self.name.clone(), permission, what: listed(names) }
    }

    /// Wants a permission over each of some scopes.
    ///
    /// # Errors
    /// With the scopes over which it isn't held.
    pub(crate) fn must_on_scopes<'s>(
        &self,
        permission: Permission,
        scopes: impl IntoIterator<Item = &'s Scope>,
        members: &[NodeInput],
    ) -> Result<(), Outside> {
        let Some(rights) = self.rights.as_ref().filter(|r| !r.is_fleet(permission)) else { return Ok(()) };
        let find = finder(members);
        let scopes: BTreeSet<&Scope> = scopes.into_iter().collect();
        let out = scopes.into_iter().filter(|s| !rights.on_scope(permission, s, &find)).map(ToString::to_string);
        let out: Vec<String> = out.collect();
        if out.is_empty() { Ok(()) } else { Err(self.outside(permission, &out)) }
    }

    /// Wants a permission on each of some nodes.
    ///
    /// # Errors
    /// With the nodes on which it isn't held; one that isn't there is none on which it is.
    pub(crate) fn must_on_nodes(
        &self,
        permission: Permission,
        nodes: impl IntoIterator<Item = NodeId>,
        members: &[NodeInput],
    ) -> Result<(), Outside> {
        let Some(rights) = self.rights.as_ref().filter(|r| !r.is_fleet(permission)) else { return Ok(()) };
        let known: BTreeMap<NodeId, &NodeInput> = members.iter().map(|m| (m.id, m)).collect();
        let out = nodes.into_iter().filter_map(|id| match known.get(&id) {
            Some(node) if rights.on_node(permission, place(node)) => None,
            Some(node) => Some(node.name.to_string()),
            None => Some(format!("the node {id}, which is not in the fleet")),
        });
        let out: Vec<String> = out.collect();
        if out.is_empty() { Ok(()) } else { Err(self.outside(permission, &out)) }
    }

    /// Returns whether a permission is held over scopes and nodes.
    pub(crate) fn may<'s>(
        &self,
        permission: Permission,
        scopes: impl IntoIterator<Item = &'s Scope>,
        nodes: impl IntoIterator<Item = NodeId>,
        members: &[NodeInput],
    ) -> bool {
        self.must_on_scopes(permission, scopes, members).is_ok()
            && self.must_on_nodes(permission, nodes, members).is_ok()
    }
}

/// What a caller may see, or do, by one permission.
#[derive(Debug)]
pub(crate) enum Reach {
    /// Everything.
    All,
    /// What lies in some scopes.
    Part(Part),
}

/// A part of the fleet.
#[derive(Debug)]
pub(crate) struct Part {
    rights: Arc<Rights>,
    permission: Permission,
    view: Arc<View>,
    nodes: BTreeSet<NodeId>,
    names: BTreeSet<NodeName>,
}

impl Reach {
    /// Returns how far a caller reaches with a permission.
    pub(crate) async fn of(app: &App, caller: &Caller, permission: Permission) -> Answer<Self> {
        let rights = &caller.identity()?.rights;
        if rights.is_fleet(permission) {
            return Ok(Self::All);
        }
        let view = app.desired.view().await?;
        let within = |m: &&NodeInput| rights.on_node(permission, place(m));
        let found: Vec<&NodeInput> = view.members().iter().filter(within).collect();
        let (nodes, names) = (found.iter().map(|m| m.id).collect(), found.iter().map(|m| m.name.clone()).collect());
        Ok(Self::Part(Part { rights: rights.clone(), permission, nodes, names, view: view.clone() }))
    }

    /// Fills a page from what is within reach: pages of which nothing is are passed over, a few at a time. Such a page may
    /// hold less than was asked for, and tells no total.
    pub(crate) async fn page<T, F: Future<Output = Answer<Page<T>>>>(
        &self,
        after: Option<String>,
        mut fetch: impl FnMut(Option<String>) -> F,
        keep: impl Fn(&T) -> bool,
    ) -> Answer<Page<T>> {
        let mut page = fetch(after).await?;
        if self.is_all() {
            return Ok(page);
        }
        for _ in 0..PASSED_OVER {
            page.items.retain(&keep);
            page.total = None;
            match page.next.take() {
                Some(next) if page.items.is_empty() => page = fetch(Some(next)).await?,
                next => return Ok(Page { next, ..page }),
            }
        }
        page.items.retain(&keep);
        Ok(Page { total: None, ..page })
    }

    /// Fills a page as [`Reach::page`] does, where the cursor of a row is its name: it is that of a row within reach, so
    /// that the names of others can't be read off. `fetch` is given how many rows to fetch.
    pub(crate) async fn page_by_name<T, F: Future<Output = Answer<Page<T>>>>(
        &self,
        (after, limit): (Option<String>, u32),
        mut fetch: impl FnMut(Option<String>, u32) -> F,
        keep: impl Fn(&T) -> bool,
        cursor: impl Fn(&T) -> String,
    ) -> Answer<Page<T>> {
        if self.is_all() {
            return fetch(after, limit).await;
        }
        let mut page = self.page(after, |after| fetch(after, limit.max(SIFTED)), keep).await?;
        let has_more = page.next.is_some() || page.items.len() > limit as usize;
        page.items.truncate(limit as usize);
        if let Some(last) = page.items.last().filter(|_| has_more) {
            page.next = Some(cursor(last));
        }
        Ok(page)
    }

    /// Returns whether everything is within reach.
    pub(crate) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Returns whether a node is.
    pub(crate) fn has_node(&self, node: NodeId) -> bool {
        match self {
            Self::All => true,
            Self::Part(part) => part.nodes.contains(&node),
        }
    }

    /// Returns the nodes within reach, if these are not all.
    pub(crate) fn nodes(&self) -> Option<&BTreeSet<NodeId>> {
        match self {
            Self::All => None,
            Self::Part(part) => Some(&part.nodes),
        }
    }

    /// Returns whether the node of a name is.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Part(part) => NodeName::parse(name).is_ok_and(|n| part.names.contains(&n)),
        }
    }

    /// Returns whether a text names a node that isn't within reach. A name within another word counts: rather one text too
    /// many is kept back.
    pub(crate) fn is_named_beyond(&self, text: &str) -> bool {
        let Self::Part(part) = self else { return false };
        let is_beyond = |m: &NodeInput| !part.nodes.contains(&m.id) && text.contains(m.name.as_str());
        part.view.members().iter().any(is_beyond)
    }

    /// Returns whether what is in a scope is: all of it, or one of its nodes.
    pub(crate) fn has_scope(&self, scope: &Scope) -> bool {
        let Self::Part(part) = self else { return true };
        let members = part.view.members();
        let has_one = |m: &NodeInput| part.nodes.contains(&m.id) && scope.contains(&m.name, &m.roles, &m.labels);
        part.rights.on_scope(part.permission, scope, &finder(members)) || members.iter().any(has_one)
    }
}
