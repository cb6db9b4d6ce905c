//! The query parameters of lists. Unknown ones are refused; what is left out does not filter.

use lampas_shared::time::UnixMs;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// Questions that may be left out; after `must` those that stand in each request, or have a value of their own.
macro_rules! questions {
    ($(
        $(#[$meta:meta])*
        $name:ident $(must { $($(#[$must_meta:meta])* $must:ident: $must_type:ty,)* })?
        { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub struct $name {
            $($(
                $(#[$must_meta])*
                pub $must: $must_type,
            )*)?
            $(
                $(#[$field_meta])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[param(nullable = false)]
                pub $field: Option<$type>,
            )*
        }
    )*};
}

/// Questions for a page of a list.
macro_rules! queries {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        questions! {$(
            $(#[$meta])*
            $name {
                $($(#[$field_meta])* $field: $type,)*
                /// The `next` of the page before.
                after: String,
                /// How many rows: 1 to 500, 100 by default.
                limit: u32,
            }
        )*}
    };
}

queries! {
    /// `GET /api/v1/users`.
    UserQuery {}
    /// `GET /api/v1/user-groups`.
    UserGroupQuery {}
    /// `GET /api/v1/grants`.
    GrantQuery {
        /// To this subject: `user:eve`, `group:web-team`.
        subject: String,
    }
    /// `GET /api/v1/tokens`.
    TokenQuery {
        /// Everybody's, for who manages users.
        all: bool,
    }
    /// `GET /api/v1/nodes`.
    NodeQuery {
        /// A part of the name or the address.
        query: String,
        /// Those of this role.
        role: String,
        /// Those heard like this: `online`, `stale`, `offline`.
        state: String,
        /// Those whose configuration stands like this: `converged`, `drifted` …
        config: String,
        /// Those with these labels: `env=prod,tier=web`.
        label: String,
        /// Those that somebody on them paused, or whose generation somebody on them undid.
        halted: bool,
    }
    /// `GET /api/v1/nodes/{node}/resources` and other plain lists.
    PageQuery {}
    /// `GET /api/v1/operations`.
    OperationQuery {
        /// Those that are here: `running`, `succeeded`, `failed`, `cancelled`.
        state: String,
        /// Those that ran on this node, by id or name.
        node: String,
    }
    /// `GET /api/v1/operations/{operation}/output`; `after` is the `next` of the answer before.
    OutputQuery {
        /// Only of this run.
        run: String,
        /// When nothing moved since `seen`: wait for so many seconds, 0 to 25; 0 by default.
        wait: u32,
        /// The `seen` of the answer before.
        seen: u64,
    }
    /// `GET /api/v1/activity`.
    ActivityQuery {
        /// Of this node, by id or name.
        node: String,
        /// Of this object, by id.
        object: String,
        /// Of this change, by id or number.
        change: String,
    }
    /// `GET /api/v1/objects`.
    ObjectQuery {
        /// Of this kind.
        kind: String,
        /// With exactly this scope.
        scope: String,
        /// In this set of manifests.
        set: String,
        /// A part of the name.
        query: String,
        /// Those that are in force on this node, by id or name.
        node: String,
    }
    /// `GET /api/v1/objects/deleted`.
    DeletedQuery {
        /// Of this kind.
        kind: String,
        /// With exactly this scope.
        scope: String,
        /// With exactly this name.
        name: String,
    }
    /// `GET /api/v1/changes`.
    ChangeQuery {
        /// In this state.
        state: String,
        /// With a draft for exactly this scope: `fleet`, `role:app`, `node:web-1`.
        scope: String,
        /// With a draft of this kind; of this kind and scope in one draft when both are given.
        kind: String,
        /// By this user.
        author: String,
        /// With this plan, by a prefix of its id.
        plan: String,
    }
    /// `GET /api/v1/changes/{change}/nodes`.
    ChangeNodeQuery {
        /// In one of these states, joined with commas: `failed,unreachable`.
        state: String,
    }
    /// `GET /api/v1/drift`.
    DriftQuery {
        /// On this node, by id or name.
        node: String,
        /// Of this object, by id.
        object: String,
        /// Whether it still stands (`true`), or is over (`false`).
        standing: bool,
    }
    /// `GET /api/v1/runs`.
    RunQuery {
        /// Of this job, by id.
        object: String,
        /// On this node, by id or name.
        node: String,
    }
    /// `GET /api/v1/enrolment-tokens`.
    EnrolTokenQuery {}
    /// `GET /api/v1/sessions`.
    SessionQuery {
        /// Everybody's, for those who manage users.
        all: bool,
        /// Of this user, by id or name; for those who manage users.
        user: String,
    }
    /// `GET /api/v1/audit`.
    AuditQuery {
        /// By this principal: `user:admin`.
        principal: String,
        /// Of this act (`change.apply`), or of this area (`change.`).
        act: String,
        /// On what holds this text.
        object: String,
        /// Where anything that can be read holds this text.
        text: String,
        /// Not before.
        since: UnixMs,
        /// Before.
        until: UnixMs,
    }
}

/// How an export of the audit is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditFormat {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// Comma-separated values with a head.
    Csv,
}

/// `GET /api/v1/users/{user}/may`.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MayQuery {
    /// A permission: `change`.
    pub action: String,
    /// A scope: `role:app`.
    pub scope: String,
}

/// `GET /api/v1/objects/{object}/diff`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// The older revision; 0 for nothing.
    pub from: u64,
    /// The newer revision.
    pub to: u64,
}

questions! {
    /// `GET /api/v1/export`.
    ExportQuery {
        /// Only this scope.
        scope: String,
        /// Only this kind.
        kind: String,
        /// As it stood at this moment; now by default.
        at: UnixMs,
    }
    /// `GET /api/v1/changes/{change}`.
    WaitQuery {
        /// Waits until its progress differs from what it is, at most this many seconds (1 to 55).
        wait_secs: u32,
        /// Leaves out the drafts and the plan, which name every node: for whoever has them and follows how it goes.
        brief: bool,
    }
    /// `GET /api/v1/kept-back`.
    KeptBackQuery {
        /// Only this object.
        object: String,
        /// Only from this node.
        node: String,
    }
    /// `GET /api/v1/freezes`.
    FreezeQuery {
        /// Also those of the last month that are over.
        past: bool,
    }
    /// `GET /api/v1/events`.
    EventQuery {
        /// Events after this sequence, as the header `Last-Event-ID`; without either only what comes.
        after: u64,
        /// Only these areas, joined with commas: `fleet,host,change,job,access`.
        areas: String,
    }
    /// `GET /api/v1/audit/export`.
    AuditExportQuery must {
        /// `jsonl` (the default) or `csv`.
        #[serde(default)]
        #[param(inline, required = false)]
        format: AuditFormat,
    } {
        /// By this principal.
        principal: String,
        /// Of this act, or of this area.
        act: String,
        /// On what holds this text.
        object: String,
        /// Where anything that can be read holds this text.
        text: String,
        /// Not before.
        since: UnixMs,
        /// Before.
        until: UnixMs,
    }
    /// `GET /api/v1/history`.
    HistoryQuery must {
        /// From this moment.
        from: UnixMs,
    } {
        /// To this one; now by default.
        to: UnixMs,
        /// Only this scope.
        scope: String,
        /// Only this kind.
        kind: String,
    }
    /// `GET /api/v1/past/diff`: of the whole fleet, of a role, or of a node.
    PastDiffQuery must {
        /// From this moment.
        from: UnixMs,
    } {
        /// To this one; now by default.
        to: UnixMs,
        /// Of this role alone.
        role: String,
        /// Of this node alone, by id or name.
        node: String,
    }
}
