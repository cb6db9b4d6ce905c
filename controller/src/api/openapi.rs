//! The OpenAPI document, made from the table of calls.

use std::collections::{BTreeMap, BTreeSet};

use axum::{extract::State, response::IntoResponse};
use utoipa::{
    ToSchema,
    openapi::{
        ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, RefOr, Schema,
        path::{HttpMethod, PathItemBuilder},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{App, calls, table::Call};

/// `GET /api/v1/openapi.json`.
pub(super) async fn serve(State(app): State<App>) -> impl IntoResponse {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], app.openapi.clone())
}

/// Returns the document as JSON.
pub fn json() -> String {
    document(&calls()).to_pretty_json().expect("the document serialises")
}

fn document(calls: &[Call]) -> OpenApi {
    let mut schemas = BTreeMap::new();
    let mut found = Vec::new();
    add::<lampas_api::Problem>(&mut found);
    // The events of `/api/v1/events` travel as a stream, and the schema of a page doesn't bring its row's along.
    add::<lampas_shared::event::Event>(&mut found);
    add::<lampas_api::NodeResource>(&mut found);
    add::<lampas_api::ChangeNode>(&mut found);
    add::<lampas_api::OpenSession>(&mut found);
    add::<lampas_api::AuditEntry>(&mut found);
    schemas.extend(found);
    let mut by_path: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        schemas.extend(call.schemas().clone());
        by_path.entry(call.rule.path).or_default().push(call);
    }
    open_parts(&mut schemas);
    let mut paths = PathsBuilder::new();
    for (path, calls) in by_path {
        let mut item = PathItemBuilder::new();
        for call in calls {
            item = item.operation(method(call.rule.method), call.operation());
        }
        paths = paths.path(path, item.build());
    }
    let mut components = ComponentsBuilder::new()
        .security_scheme("token", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()))
        .security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(super::guard::COOKIE))));
    for (name, schema) in schemas {
        components = components.schema(name, schema);
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("LAMPAS")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some("Lists are pages that go on at `next`; errors are problem details (RFC 9457)."))
                .build(),
        )
        .paths(paths.build())
        .components(Some(components.build()))
        .build()
}

/// A schema that is one part of an `allOf` can't forbid further properties: those of the other parts would be among
/// them, and nothing would satisfy the whole. (The controller still refuses fields that it doesn't know.)
fn open_parts(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let mut parts = BTreeSet::new();
    for schema in schemas.values() {
        collect_parts(schema, false, &mut parts);
    }
    for name in parts {
        if let Some(RefOr::T(Schema::Object(object))) = schemas.get_mut(&name) {
            object.additional_properties = None;
        }
    }
}

fn collect_parts(schema: &RefOr<Schema>, is_part: bool, found: &mut BTreeSet<String>) {
    match schema {
        RefOr::Ref(reference) if is_part => {
            found.extend(reference.ref_location.rsplit('/').next().map(str::to_owned));
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter().for_each(|item| collect_parts(item, true, found)),
        RefOr::T(Schema::OneOf(one)) => one.items.iter().for_each(|item| collect_parts(item, is_part, found)),
        RefOr::T(Schema::AnyOf(any)) => any.items.iter().for_each(|item| collect_parts(item, is_part, found)),
        _ => {}
    }
}

fn add<T: ToSchema>(found: &mut Vec<(String, RefOr<Schema>)>) {
    T::schemas(found);
    found.push((T::name().into_owned(), T::schema()));
}

fn method(text: &str) -> HttpMethod {
    match text {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        let document: serde_json::Value = serde_json::from_str(&json()).expect("is JSON");
        assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.")), "{}", document["openapi"]);
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(references.len() > 50, "the document refers to its schemas");
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("references are local");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn the_copy_of_the_dashboard_is_this_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ui/src/api/openapi.json");
        let copy = std::fs::read_to_string(path).expect("the dashboard's copy");
        let first = json().lines().zip(copy.lines()).position(|(a, b)| a != b);
        assert!(
            copy.trim_end() == json(),
            "{path} is another document (first in line {:?}); make it anew, from the top of the repository: \
             cargo run -p lampas-controller -- openapi > controller/ui/src/api/openapi.json && \
             (cd controller/ui && npm run api)",
            first.map(|n| n + 1)
        );
    }

    #[test]
    fn no_part_of_a_whole_forbids_what_the_others_bring() {
        let document: serde_json::Value = serde_json::from_str(&json()).expect("is JSON");
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let body = schemas["Body"]["oneOf"].as_array().expect("kinds of bodies");
        let parts = body.iter().flat_map(|b| b["allOf"].as_array().expect("parts"));
        let names: Vec<_> = parts.filter_map(|p| p["$ref"].as_str()?.rsplit('/').next()).collect();
        assert!(names.contains(&"HostsEntry"), "{names:?}");
        for name in names {
            assert_eq!(schemas[name].get("additionalProperties"), None, "{name}");
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let calls = calls();
        let mut ids: Vec<_> = calls.iter().filter_map(|c| c.operation().operation_id).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all);
        assert_eq!(all, calls.len());
    }

    fn collect(value: &serde_json::Value, into: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    match value.as_str() {
                        Some(reference) if key == "$ref" => into.push(reference.to_owned()),
                        _ => collect(value, into),
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|v| collect(v, into)),
            _ => {}
        }
    }
}
