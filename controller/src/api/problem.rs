//! What goes wrong in a call, as problem details (RFC 9457): stable codes, and the fields at fault.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use lampas_api::{FieldProblem, Problem};
use lampas_shared::{
    TextError,
    error::{Chain, Fault},
};
use tracing::error;

/// Why a call is refused or failed. The body is written by the outermost layer, which knows the request's id.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The stable code.
    pub code: String,
    /// What happened, what it means and what to do.
    pub detail: String,
    /// The fields at fault.
    pub fields: Vec<FieldProblem>,
    /// For 429 and 503: when to come again, in seconds.
    pub retry_after_secs: Option<u64>,
}

/// What a handler returns.
pub type Answer<T> = Result<T, Refusal>;

/// The codes with their status and title; the same words for every problem of a code.
const CODES: &[(&str, u16, &str)] = &[
    ("unauthenticated", 401, "Sign in first"),
    ("sign_in_failed", 401, "Sign-in failed"),
    ("second_factor.needed", 401, "A second factor is needed too"),
    ("second_factor.wrong", 401, "The second factor is wrong"),
    ("security_key.unavailable", 409, "Security keys can't be used here"),
    ("security_key.refused", 422, "The security key was refused"),
    ("second_factor.required", 403, "Set up a second factor first"),
    ("reauthentication.needed", 403, "Show once more that it is you"),
    ("reauthentication.root_code", 403, "This is root code: show once more that it is you"),
    ("authorization_pending", 400, "Nobody has confirmed it yet"),
    ("slow_down", 400, "Ask less often"),
    ("access_denied", 400, "It was refused"),
    ("expired_token", 400, "The code is over"),
    ("forbidden", 403, "Not permitted"),
    ("csrf", 403, "The request lacks the session's CSRF token"),
    ("wrong_host", 421, "Not addressed to this controller"),
    ("not_found", 404, "There is no such thing"),
    ("set.empty", 404, "The set of manifests holds nothing"),
    ("method_not_allowed", 405, "This method is not known here"),
    ("conflict", 409, "Somebody else was faster"),
    ("exists", 409, "It exists already"),
    ("last_administrator", 409, "The last administrator stays"),
    ("setup_closed", 409, "Set-up is over"),
    ("precondition_failed", 412, "It changed since you looked"),
    ("precondition_required", 428, "Say which revision you looked at"),
    ("too_large", 413, "The body is too large"),
    ("media_type", 415, "The body must be JSON"),
    ("malformed", 400, "The request can't be read"),
    ("invalid", 422, "Something in the request is wrong"),
    ("throttled", 429, "Too many attempts"),
    ("busy", 503, "The controller is busy"),
    ("timeout", 504, "It took too long"),
    ("unavailable", 503, "Not available"),
    ("store_full", 507, "The controller's disk is full"),
    ("internal", 500, "Something went wrong in the controller"),
    ("plan.moved", 409, "Something moved since the plan was made"),
    ("plan.unplanned", 409, "Some nodes could not be asked"),
    ("node.guarded", 409, "The node may not be moved without a change"),
    ("change.rolling", 409, "An object is on its way with another change"),
    ("approval.needed", 409, "Somebody else must approve it first"),
    ("approval.own", 403, "Nobody approves their own change"),
    ("change.frozen", 409, "A freeze stands"),
    ("rollout.state", 409, "The rollout can't be told so"),
    ("provider.failed", 502, "The identity provider can't be used"),
    ("node.unreachable", 503, "The node is not connected"),
];

fn known(code: &str) -> (u16, &'static str) {
    CODES.iter().find(|(c, ..)| *c == code).map_or((409, "It can't be done"), |(_, status, title)| (*status, *title))
}

impl Refusal {
    /// A problem of a known code; of an unknown one it is a conflict.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(known(code).0).expect("the table holds statuses");
        Self { status, code: code.to_owned(), detail: detail.into(), fields: Vec::new(), retry_after_secs: None }
    }

    /// There is no such thing.
    pub fn not_found(what: &str, which: impl std::fmt::Display) -> Self {
        Self::new("not_found", format!("there is no {what} {which}"))
    }

    /// One field is wrong.
    pub fn field(pointer: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::fields(vec![FieldProblem { pointer: pointer.to_owned(), detail }])
    }

    /// Fields are wrong.
    pub fn fields(fields: Vec<FieldProblem>) -> Self {
        let first = fields.first().map(|f| f.detail.clone()).unwrap_or_default();
        let more = if fields.len() > 1 { format!(" (and {} more)", fields.len() - 1) } else { String::new() };
        Self { fields, ..Self::new("invalid", format!("{first}{more}")) }
    }

    /// A checked text is wrong.
    pub fn text(pointer: &str, error: &TextError) -> Self {
        Self::field(pointer, error.to_string())
    }

    /// Something inside failed: logged whole, shown without internals.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        if crate::db::DbError::is_full(error) {
            error!(error = %Chain(error), "the store is full");
            let detail = "the controller's store has no room left, so nothing was changed; free some on its disk, and try \
                          again: no restart is needed";
            return Self::new("store_full", detail).retry_after(60);
        }
        error!(error = %Chain(error), "a call failed inside");
        Self::new("internal", "the controller's log says more under this request's id")
    }

    /// A fault of a node.
    pub fn node_fault(fault: &Fault) -> Self {
        let mut refusal = Self::new(&fault.code, fault.message.clone());
        if fault.retry {
            refusal.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        refusal
    }

    /// Says when to come again.
    #[must_use]
    pub fn retry_after(self, secs: u64) -> Self {
        Self { retry_after_secs: Some(secs), ..self }
    }

    /// Builds the body.
    pub fn problem(&self, request: &str) -> Problem {
        Problem {
            kind: format!("/problems/{}", self.code),
            code: self.code.clone(),
            title: known(&self.code).1.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            fields: self.fields.clone(),
            request: request.to_owned(),
        }
    }

    /// Writes the whole answer, with the request's id in it.
    pub fn render(&self, request: &str) -> Response {
        let body = serde_json::to_vec(&self.problem(request)).expect("a problem of strings serialises");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(secs) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lampas\""));
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_its_own_title() {
        for (code, status, title) in CODES {
            assert!(StatusCode::from_u16(*status).is_ok(), "{code}");
            assert_eq!(CODES.iter().filter(|(c, _, t)| c == code || t == title).count(), 1, "{code}");
        }
    }

    #[test]
    fn several_fields_are_counted_in_the_detail() {
        let wrong = |p: &str| FieldProblem { pointer: p.to_owned(), detail: format!("{p} is wrong") };
        let problem = Refusal::fields(vec![wrong("/a"), wrong("/b")]).problem("r1");
        assert_eq!((problem.status, problem.detail.as_str()), (422, "/a is wrong (and 1 more)"));
        assert_eq!(problem.kind, "/problems/invalid");
    }
}
