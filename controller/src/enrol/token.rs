//! Making a token: what may be asked for, and the row that it becomes.

use lampas_api::{EnrolToken, EnrolTokenCreate};
use lampas_runtime::{
    clock,
    identity::{TokenText, secret_hash},
    random,
};
use lampas_shared::{desired::ContentHash, event::EventKind, id::TokenId, time::UnixMs};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    network::{Network, NetworkError},
    store,
};
use crate::{
    audit::{Entry, Principal},
    db::{DbError, Tx},
    event::NewEvent,
};

const TTL_SECS: std::ops::RangeInclusive<u64> = 60..=604_800;
const USES: std::ops::RangeInclusive<u32> = 1..=10_000;
const ROLES_MAX: usize = 32;
const LABELS_MAX: usize = 64;

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
    /// There is no such token.
    #[error("there is no enrolment token {0}")]
    NotFound(TokenId),
    /// The store.
    #[error(transparent)]
    Store(#[from] DbError),
}

crate::store_error!(TokenError);

/// Makes a token. `pin` is that of [`crate::ca::Credentials`].
///
/// # Errors
/// When a field is out of its bounds, which is named.
pub async fn create(
    tx: &mut Tx,
    ask: &EnrolTokenCreate,
    pin: ContentHash,
    by: &Principal,
) -> Result<NewToken, TokenError> {
    check(ask)?;
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
    store::insert(tx, &row, &ask.labels, secret_hash(&text.secret())).await?;
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
