//! Events: facts about the fleet, in the order in which they were committed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{ChangeId, NodeId, ObjectId},
    time::UnixMs,
};

/// One fact. The schema is the same in SSE, webhooks and alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its place in the order of commits; what SSE resumes from.
    pub seq: u64,
    /// What happened.
    pub kind: EventKind,
    /// When, by the controller's clock.
    pub at: UnixMs,
    /// The node concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The object concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// The change concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeId>,
    /// Names and numbers that go with it; never a content or a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

macro_rules! event_kinds {
    ($($(#[$meta:meta])* $variant:ident = $text:literal,)*) => {
        /// What can happen: `area.noun.verb`. A closed enumeration, version 1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[$meta])* #[serde(rename = $text)] $variant,)*
        }

        impl EventKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

/// By hand: the derive does not see names that come out of a macro.
#[cfg(feature = "schema")]
impl utoipa::PartialSchema for EventKind {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(Self::ALL.iter().map(|kind| kind.as_str())))
            .into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for EventKind {}

event_kinds! {
    /// A node has a certificate.
    NodeEnrolled = "fleet.node.enrolled",
    /// A node's agent connected.
    NodeConnected = "fleet.node.connected",
    /// A node's agent is gone.
    NodeDisconnected = "fleet.node.disconnected",
    /// A node's name, roles, labels or address changed.
    NodeChanged = "fleet.node.changed",
    /// A node's certificate was revoked.
    NodeRevoked = "fleet.node.revoked",
    /// A node was taken out of the fleet.
    NodeRemoved = "fleet.node.removed",
    /// A node was refused; the details say why.
    NodeRefused = "fleet.node.refused",
    /// A node does not take the state that it shall have; the details say why.
    NodeDeclined = "fleet.node.declined",
    /// An enrolment token was made, used or withdrawn.
    TokenChanged = "fleet.token.changed",
    /// A node's configuration state changed.
    NodeReported = "host.node.reported",
    /// A generation was undone by the node, because it cut the node off.
    GenerationQuarantined = "host.generation.quarantined",
    /// A node dropped reports because its outbox was full; the details say how many and of when.
    ReportsLost = "host.report.lost",
    /// Somebody changed something by hand.
    DriftFound = "host.drift.found",
    /// A drift is over.
    DriftEnded = "host.drift.ended",
    /// An object has a new revision.
    ObjectChanged = "change.object.changed",
    /// A change moved on.
    ChangeMoved = "change.change.moved",
    /// A rollout moved on.
    RolloutMoved = "change.rollout.moved",
    /// A change was put on the schedule, applied by it, held, dropped or taken off.
    ScheduleMoved = "change.schedule.moved",
    /// A scope was protected, or is no longer.
    ProtectionChanged = "change.protection.changed",
    /// A freeze was made or ended.
    FreezeChanged = "change.freeze.changed",
    /// A git source was set up, changed or removed.
    SourceChanged = "change.source.changed",
    /// A git source was looked at, and stands otherwise than before.
    SourceMoved = "change.source.moved",
    /// A run of a job was recorded.
    JobRan = "job.run.recorded",
    /// An operation was started.
    OperationStarted = "operation.operation.started",
    /// Somebody asked to end an operation.
    OperationCancelled = "operation.operation.cancelled",
    /// An operation is over on all of its nodes.
    OperationEnded = "operation.operation.ended",
    /// Runs of an operation moved on.
    OperationMoved = "operation.run.moved",
    /// A user was made, changed or removed.
    UserChanged = "access.user.changed",
    /// An identity provider was made, changed or removed.
    ProviderChanged = "access.provider.changed",
    /// Somebody signed in.
    SessionOpened = "access.session.opened",
    /// A sign-in failed.
    SessionRefused = "access.session.refused",
    /// The counter of a security key went back: somebody may have copied it.
    KeySuspect = "access.key.suspect",
    /// The mail server, or the morning mail, was set, changed or taken away.
    MailChanged = "mail.setting.changed",
    /// A message was tried, sent or given up.
    MailMoved = "mail.delivery.moved",
}
