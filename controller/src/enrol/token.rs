//! Making a token: what may be asked for, and the row that it becomes.

use lampas_api::{EnrolToken, EnrolTokenCreate};
use lampas_runtime::{
    clock,
    identity::{TokenText, secret_hash},
    random,
};
use lampas_shared::{
    access::Permission,
    desired::ContentHash,
    event::EventKind,
    id::{TokenId, TokenId as ApiTokenId, UserId},
    time::UnixMs,
};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    bounds::{self, Entrant},
    network::{Network, NetworkError},
    store::{self, Bound},
};
use crate::{
    access::Outside,
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
    fleet,
};

const TTL_SECS: std::ops::RangeInclusive<u64> = 60..=604_800;
const USES: std::ops::RangeInclusive<u32> = 1..=10_000;
const ROLES_MAX: usize = 32;
const LABELS_MAX: usize = 64;

/// Who makes a token: what is asked again when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maker {
    /// The user.
    pub user: UserId,
    /// The API token that they used.
    pub token: Option<ApiTokenId>,
}

/// A token that was just made. Its text is shown once and kept nowhere.
#[derive(Debug)]
pub struct NewToken {
    /// Its row.
    pub row: EnrolToken,
    /// The text that the operator carries to the node.
    pub text: Zeroizing<String>,
}

/// Why a token can't be made.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The life.
    #[error("ttl_secs: {0} s is not between a minute and a week (60 to 604,800)")]
    Ttl(u64),
    /// The uses.
    #[error("uses: {0} is not between 1 and 10,000")]
    Uses(u32),
    /// A name for many.
    #[error("uses: a token that names a node lets in that one node; leave out the name or the uses")]
    NamedForMany,
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Too many roles or labels.
    #[error("{field}: at most {max}")]
    TooMany {
        /// Of what.
        field: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// It would let in what its maker may not.
    #[error("{0}; a token gives roles and labels over which its maker manages nodes, and no others")]
    Outside(#[from] Outside),
    /// There is no such token.
    #[error("there is no enrolment token {0}")]
    NotFound(TokenId),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

crate::store_error!(TokenError);

/// Makes a token. `pin` is that of [`crate::ca::Credentials`]; who has rights over a part of the fleet alone must be known.
///
/// # Errors
/// When a field is out of its bounds, which is named, or the token would let in what its maker may not.
pub async fn create(
    tx: &mut Tx,
    ask: &EnrolTokenCreate,
    pin: ContentHash,
    (by, maker): (&Principal, Option<Maker>),
) -> Result<NewToken, TokenError> {
    check(ask)?;
    let mut bound = Bound::default();
    if let Some(rights) = by.rights.as_ref().filter(|r| bounds::are_partial(r)) {
        let members = fleet::members(tx).await?;
        let known = match &ask.node {
            Some(name) => fleet::id_of(tx, name).await?,
            None => None,
        };
        let entrant = Entrant { roles: &ask.roles, labels: &ask.labels, name: ask.node.as_ref(), known };
        bounds::within(&by.name, rights, entrant, &members)?;
        let nobody = || Outside {
            who: by.name.clone(),
            permission: Permission::ManageNodes,
            what: "the whole fleet, and it isn't known who could be asked again".to_owned(),
        };
        bound = Bound { maker: Some(maker.ok_or_else(nobody)?), known };
    }
    let network = ask.cidr.as_deref().map(str::parse::<Network>).transpose()?;
    let text = TokenText::draw(pin);
    let now: UnixMs = clock::now();
    let row = EnrolToken {
        id: random::new_id(),
        roles: ask.roles.clone(),
        node: ask.node.clone(),
        cidr: network.map(|n| n.to_string()),
        author: by.name.clone(),
        created_at: now,
        expires_at: now.plus_ms(ask.ttl_secs as i64 * 1000),
        uses_left: ask.uses,
        observe: ask.observe,
        enrolled: Vec::new(),
        state: "waiting".to_owned(),
    };
    store::insert(tx, &row, &ask.labels, secret_hash(&text.secret()), bound).await?;
    tx.event(NewEvent::new(EventKind::TokenChanged).with("token", row.id).with("state", "waiting"));
    tx.audit(Entry::done(by, "token.create", row.id.to_string()).with_details(ask));
    Ok(NewToken { row, text: text.reveal() })
}

fn check(ask: &EnrolTokenCreate) -> Result<(), TokenError> {
    if !TTL_SECS.contains(&ask.ttl_secs) {
        return Err(TokenError::Ttl(ask.ttl_secs));
    }
    if !USES.contains(&ask.uses) {
        return Err(TokenError::Uses(ask.uses));
    }
    if ask.uses > 1 && ask.node.is_some() {
        return Err(TokenError::NamedForMany);
    }
    if ask.roles.len() > ROLES_MAX {
        return Err(TokenError::TooMany { field: "roles", max: ROLES_MAX });
    }
    if ask.labels.len() > LABELS_MAX {
        return Err(TokenError::TooMany { field: "labels", max: LABELS_MAX });
    }
    Ok(())
}
