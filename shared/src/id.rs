//! Ids: UUIDv7 in text, made from a time and random bytes that the caller gives.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{TextError, time::UnixMs};

/// What every id can do.
pub trait Id: Sized {
    /// Builds a UUIDv7 (RFC 9562, section 5.7) from a time and ten random bytes.
    fn from_parts(now: UnixMs, random: [u8; 10]) -> Self;
}

macro_rules! id {
    ($($(#[$meta:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an existing UUID.
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Reads the text form.
            pub fn parse(text: &str) -> Result<Self, TextError> {
                Uuid::parse_str(text).map(Self).map_err(|_| TextError::new($what, text, "is not a UUID"))
            }

            /// Returns the UUID.
            pub fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl Id for $name {
            fn from_parts(now: UnixMs, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(now.0.max(0) as u64, &random).into_uuid())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    )*};
}

id! {
    /// Names one fleet for ever; made at the controller's first start.
    FleetId = "fleet id";
    /// Names one node for ever; its name may change.
    NodeId = "node id";
    /// Names one controller of a fleet.
    ControllerId = "controller id";
    /// Names one object for ever; its name and scope may change.
    ObjectId = "object id";
    /// Names a change.
    ChangeId = "change id";
    /// Names a user.
    UserId = "user id";
    /// Names a group of users.
    UserGroupId = "group id";
    /// Names a user's security key.
    SecurityKeyId = "security key id";
    /// Names an identity provider.
    ProviderId = "identity provider id";
    /// Names a user's identity at a provider, or an invitation for one.
    IdentityId = "identity id";
    /// Names a grant.
    GrantId = "grant id";
    /// Names a session, an enrolment token or an API token; never the secret itself.
    TokenId = "token id";
    /// Names one drift finding.
    DriftId = "drift id";
    /// Names an operation.
    OperationId = "operation id";
    /// Names a scope's protection.
    ProtectionId = "protection id";
    /// Names a git source.
    SourceId = "source id";
    /// Names a message that is sent by mail.
    MailId = "mail id";
    /// Names a freeze.
    FreezeId = "freeze id";
    /// Names one value of a secret; drawn at random, it says nothing of the value.
    SecretValueId = "secret value id";
    /// Names one run: of a job, or of an operation on one node.
    RunId = "run id";
}
