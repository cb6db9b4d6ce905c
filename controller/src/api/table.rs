//! The table of calls: one row for each call with its method, path, permission and act. Router, access check and
//! OpenAPI document are all made from it, so that a call which isn't in it can't exist.
//!
//! Rows are listed by feature in [`super::calls`].

use std::{borrow::Cow, collections::BTreeMap};

use axum::{
    Router,
    handler::Handler,
    http::Method,
    middleware::from_fn_with_state,
    routing::{MethodFilter, MethodRouter, on},
};
use lampas_api::Page;
use lampas_shared::access::Permission;
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        Content, RefOr, Required, Schema,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        response::ResponseBuilder,
        schema::{ArrayBuilder, Object, Type},
    },
};

use super::{App, guard};

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, signed in or not: sign-in, set-up, health.
    Open,
    /// Who has this permission.
    Needs(Permission),
}

/// Where the permission of a call must be held, and who sees to that. What a row doesn't say otherwise needs it over the
/// whole fleet: a call that is forgotten is closed to who has a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scoped {
    /// Over the whole fleet.
    Fleet,
    /// It is about the caller's own account, which lies in no scope.
    Own,
    /// Somewhere: it tells nothing of the fleet, and changes nothing.
    Plain,
    /// On the node that the path names; the guard sees to it.
    Node,
    /// On the whole role that the path names; the guard sees to it.
    Role,
    /// Over the scope of each object, and on each node that would move; the service sees to it, in its transaction.
    Objects,
    /// On each node, or over the scope, that the request selects; the service sees to it.
    Selection,
    /// Somewhere; the handler leaves out what lies elsewhere.
    Filtered,
}

impl Scoped {
    /// Says it in words, for the OpenAPI document.
    fn words(self) -> &'static str {
        match self {
            Self::Fleet => " over the whole fleet",
            Self::Own | Self::Plain => "",
            Self::Node => " on the node",
            Self::Role => " on the whole role",
            Self::Objects => " over the scope of each object and on each node that moves",
            Self::Selection => " over all that is selected",
            Self::Filtered => "; what lies outside of it is left out",
        }
    }
}

/// The rule of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// The method.
    pub method: &'static str,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// Who may call.
    pub access: Access,
    /// Where the permission must be held.
    pub scoped: Scoped,
    /// The act as the audit knows it; absent for calls that change nothing.
    pub act: Option<&'static str>,
    /// What it does, for the OpenAPI document.
    pub summary: &'static str,
    /// Whether it may take longer than other calls: streams, long polls.
    pub is_long: bool,
    /// Whether its caller must have been there within the last minutes.
    pub is_grave: bool,
    /// Whether it is answered in a session that has to set up a second factor first.
    pub is_for_enrolling: bool,
}

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// One row.
pub(crate) struct Call {
    /// The rule.
    pub rule: Rule,
    route: MethodRouter<App>,
    query: Vec<Parameter>,
    body: Option<RefOr<Schema>>,
    is_body_optional: bool,
    answer: Option<(u16, &'static str, RefOr<Schema>)>,
    /// Another media type of the same text.
    other_text: Option<&'static str>,
    schemas: Schemas,
}

/// A call that changes nothing.
pub(crate) fn get<T: 'static>(
    path: &'static str,
    access: Access,
    summary: &'static str,
    handler: impl Handler<T, App>,
) -> Call {
    Call::new("GET", MethodFilter::GET, path, access, None, summary, on(MethodFilter::GET, handler))
}

/// A call that asks with a body and changes nothing.
pub(crate) fn ask<T: 'static>(
    path: &'static str,
    access: Access,
    summary: &'static str,
    handler: impl Handler<T, App>,
) -> Call {
    Call::new("POST", MethodFilter::POST, path, access, None, summary, on(MethodFilter::POST, handler))
}

/// A call that changes something: `act` is what the audit calls it.
pub(crate) fn act<T: 'static>(
    method: &'static str,
    path: &'static str,
    access: Access,
    act: &'static str,
    summary: &'static str,
    handler: impl Handler<T, App>,
) -> Call {
    let filter = MethodFilter::try_from(Method::from_bytes(method.as_bytes()).expect("the table names methods"))
        .expect("the table names methods that are routed");
    Call::new(method, filter, path, access, Some(act), summary, on(filter, handler))
}

impl Call {
    fn new(
        method: &'static str,
        _: MethodFilter,
        path: &'static str,
        access: Access,
        act: Option<&'static str>,
        summary: &'static str,
        route: MethodRouter<App>,
    ) -> Self {
        Self {
            rule: Rule {
                method,
                path,
                access,
                scoped: Scoped::Fleet,
                act,
                summary,
                is_long: false,
                is_grave: false,
                is_for_enrolling: false,
            },
            route,
            query: Vec::new(),
            body: None,
            is_body_optional: false,
            answer: None,
            other_text: None,
            schemas: Schemas::new(),
        }
    }

    /// Says where the permission must be held, if not over the whole fleet.
    pub(crate) fn scoped(mut self, scoped: Scoped) -> Self {
        self.rule.scoped = scoped;
        self
    }

    /// Lifts the time limit: the call streams or waits.
    pub(crate) fn long(mut self) -> Self {
        self.rule.is_long = true;
        self
    }

    /// Asks for a proof of who sits there (see [`guard::Caller::grave`]).
    pub(crate) fn grave(mut self) -> Self {
        self.rule.is_grave = true;
        self
    }

    /// Answers also who has to set up a second factor first.
    pub(crate) fn for_enrolling(mut self) -> Self {
        self.rule.is_for_enrolling = true;
        self
    }

    /// Takes these query parameters.
    pub(crate) fn query<Q: IntoParams>(mut self) -> Self {
        self.query = Q::into_params(|| Some(ParameterIn::Query));
        self
    }

    /// Takes this JSON body.
    pub(crate) fn takes<B: ToSchema>(mut self) -> Self {
        self.body = Some(self.schema::<B>());
        self
    }

    /// Takes this JSON body, or none.
    pub(crate) fn may_take<B: ToSchema>(mut self) -> Self {
        self.is_body_optional = true;
        self.takes::<B>()
    }

    /// Answers 200 with this.
    pub(crate) fn gives<R: ToSchema>(self) -> Self {
        self.answers::<R>(200)
    }

    /// Answers with this status and body.
    pub(crate) fn answers<R: ToSchema>(mut self, status: u16) -> Self {
        self.answer = Some((status, "application/json", self.schema::<R>()));
        self
    }

    /// Answers 200 with a page of a list.
    pub(crate) fn gives_page<R: ToSchema>(mut self) -> Self {
        // A generic schema refers to its parameter's without bringing it.
        self.schema::<R>();
        self.gives::<Page<R>>()
    }

    /// Answers 200 with a list.
    pub(crate) fn gives_list<R: ToSchema>(mut self) -> Self {
        let items = self.schema::<R>();
        self.answer = Some((200, "application/json", ArrayBuilder::new().items(items).into()));
        self
    }

    /// Answers 200 with text of this media type.
    pub(crate) fn gives_text(mut self, media: &'static str) -> Self {
        self.answer = Some((200, media, text()));
        self
    }

    /// Answers with text of another media type, if that is asked for.
    pub(crate) fn or_text(mut self, media: &'static str) -> Self {
        self.other_text = Some(media);
        self
    }

    fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = component_name::<T>();
        let mut found = Vec::new();
        T::schemas(&mut found);
        self.schemas.extend(found);
        self.schemas.insert(name.clone(), T::schema());
        utoipa::openapi::Ref::from_schema_name(name).into()
    }

    pub(super) fn operation(&self) -> Operation {
        let Rule { method, path, access, summary, scoped, .. } = self.rule;
        let tag = path.strip_prefix("/api/v1/").and_then(|p| p.split('/').next()).unwrap_or("system");
        let mut operation = OperationBuilder::new()
            .summary(Some(summary))
            .operation_id(Some(operation_id(method, path)))
            .tag(tag.trim_end_matches(".json"));
        for name in path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')) {
            operation = operation.parameter(
                ParameterBuilder::new()
                    .name(name)
                    .parameter_in(ParameterIn::Path)
                    .required(Required::True)
                    .schema(Some(text())),
            );
        }
        for parameter in &self.query {
            operation = operation.parameter(parameter.clone());
        }
        if let Some(body) = &self.body {
            let required = if self.is_body_optional { Required::False } else { Required::True };
            operation = operation.request_body(Some(
                RequestBodyBuilder::new()
                    .content("application/json", Content::new(Some(body.clone())))
                    .required(Some(required))
                    .build(),
            ));
        }
        operation = match &self.answer {
            Some((status, media, schema)) => {
                let answer =
                    ResponseBuilder::new().description("Done").content(*media, Content::new(Some(schema.clone())));
                let answer =
                    self.other_text.iter().fold(answer, |a, m| a.content(*m, Content::new(Some(schema.clone()))));
                operation.response(status.to_string(), answer)
            }
            None => operation.response("204", ResponseBuilder::new().description("Done")),
        };
        let problem = ResponseBuilder::new()
            .description("A problem (RFC 9457)")
            .content("application/problem+json", Content::new(Some(utoipa::openapi::Ref::from_schema_name("Problem"))));
        operation = operation.response("default", problem);
        if let Access::Needs(permission) = access {
            let word =
                serde_json::to_value(permission).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            operation = operation
                .description(Some(format!("Needs the permission `{word}`{}.", scoped.words())))
                .securities(Some(security()));
        } else {
            operation = operation.description(Some("Open to everybody.".to_owned())).securities(Some([]));
        }
        operation.build()
    }

    #[cfg(test)]
    pub(super) fn takes_body(&self) -> bool {
        self.body.is_some()
    }

    pub(super) fn schemas(&self) -> &Schemas {
        &self.schemas
    }
}

fn security() -> [utoipa::openapi::security::SecurityRequirement; 2] {
    use utoipa::openapi::security::SecurityRequirement;
    [SecurityRequirement::new("token", [] as [&str; 0]), SecurityRequirement::new("session", [] as [&str; 0])]
}

fn text() -> RefOr<Schema> {
    Object::with_type(Type::String).into()
}

/// `GET /api/v1/nodes/{node}/resources` → `get_nodes_node_resources`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/api/v1").split(['/', '-', '.']).filter(|w| !w.is_empty());
    let words: Vec<&str> = words.map(|w| w.trim_matches(['{', '}'])).collect();
    format!("{}_{}", method.to_ascii_lowercase(), words.join("_"))
}

/// The name of a schema; generic ones carry their parameter's: `Page_NodeSummary`.
fn component_name<T: ToSchema>() -> String {
    let own = T::name();
    match std::any::type_name::<T>().split_once('<') {
        Some((_, inner)) if !matches!(own, Cow::Owned(_)) => {
            let inner = inner.trim_end_matches('>').rsplit("::").next().unwrap_or_default();
            format!("{own}_{inner}")
        }
        _ => own.into_owned(),
    }
}

/// Makes the router: each row behind the guard with its own rule.
pub(super) fn router(app: &App, calls: Vec<Call>) -> Router<App> {
    let mut router = Router::new();
    for call in calls {
        let guarded = call.route.layer(from_fn_with_state((app.clone(), call.rule), guard::check));
        router = router.route(call.rule.path, guarded);
    }
    router
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_operations_and_schemas_are_stable() {
        assert_eq!(operation_id("GET", "/api/v1/nodes/{node}/resources"), "get_nodes_node_resources");
        assert_eq!(operation_id("GET", "/api/v1/openapi.json"), "get_openapi_json");
        assert_eq!(component_name::<Page<lampas_api::NodeSummary>>(), "Page_NodeSummary");
        assert_eq!(component_name::<lampas_api::Node>(), "Node");
    }
}
