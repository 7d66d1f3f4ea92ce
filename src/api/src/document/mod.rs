//! The OpenAPI document, made of [`Endpoint::ALL`] and the types: what is not in the list is neither
//! served nor described.

mod operation;

use utoipa::openapi::path::{HttpMethod, PathsBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use self::operation::{BEARER, operation};
use crate::{Endpoint, Method, PREFIX};

/// Schemas by name, as the types hand them out.
type Schemas = Vec<(String, RefOr<Schema>)>;

/// The whole document; `version` is that of the program which serves it.
#[must_use]
pub fn document(version: &str) -> OpenApi {
    let mut schemas = Schemas::new();
    let mut paths = PathsBuilder::new().build();
    for endpoint in Endpoint::ALL {
        let method = match endpoint.method() {
            Method::Get => HttpMethod::Get,
            Method::Head => HttpMethod::Head,
            Method::Post => HttpMethod::Post,
            Method::Put => HttpMethod::Put,
            Method::Delete => HttpMethod::Delete,
        };
        let operation = operation(endpoint, &mut schemas);
        paths.add_path_operation(template(endpoint), vec![method], operation);
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token of the controller's configuration. Its scopes decide what it is good for.",
        ))
        .build();
    let info = InfoBuilder::new()
        .title("Helix controller")
        .version(version)
        .description(Some(
            "Jobs of work items, every attempt of each, queues and agents. Times are RFC 3339, \
             durations seconds, sizes bytes, digests hexadecimal. Every failure is answered with \
             `application/problem+json` (RFC 9457).",
        ))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(
            ComponentsBuilder::new()
                .schemas_from_iter(schemas)
                .security_scheme(BEARER, SecurityScheme::Http(bearer))
                .build(),
        ))
        .build()
}

/// The path of an endpoint as documents write it.
#[must_use]
pub fn template(endpoint: Endpoint) -> String {
    format!("{PREFIX}{}", endpoint.path().replace("{*", "{"))
}

/// Notes the schema of a type and those that it is made of; a reference to it.
fn reference<T: ToSchema + PartialSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    let name = T::name().into_owned();
    if !schemas.iter().any(|(known, _)| *known == name) {
        schemas.push((name.clone(), T::schema()));
        T::schemas(schemas);
    }
    RefOr::Ref(utoipa::openapi::Ref::from_schema_name(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn json() -> Value {
        serde_json::to_value(document("1.2.3")).expect("a document")
    }

    fn references<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    into.insert(reference);
                }
                fields.values().for_each(|value| references(value, into));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }

    #[test]
    fn the_document_has_every_endpoint_and_no_other() {
        let document = json();
        let mut found = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for method in item.as_object().expect("methods").keys() {
                found.insert((method.to_uppercase(), path.clone()));
            }
        }
        let expected: BTreeSet<_> = Endpoint::ALL
            .into_iter()
            .map(|one| (one.method().as_str().to_owned(), template(one)))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_wanted() {
        let document = json();
        let mut wanted = BTreeSet::new();
        references(&document, &mut wanted);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let present: BTreeSet<String> = schemas
            .keys()
            .map(|name| format!("#/components/schemas/{name}"))
            .collect();
        let wanted: BTreeSet<String> = wanted.into_iter().map(str::to_owned).collect();
        assert_eq!(wanted, present);
    }

    #[test]
    fn every_parameter_of_a_path_is_described() {
        let document = json();
        for endpoint in Endpoint::ALL {
            let path = template(endpoint);
            let method = endpoint.method().as_str().to_lowercase();
            let operation = &document["paths"][&path][&method];
            let described: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let wanted: BTreeSet<&str> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            assert_eq!(described, wanted, "{endpoint:?}");
            assert!(operation["operationId"].is_string(), "{endpoint:?}");
            assert!(operation["summary"].is_string(), "{endpoint:?}");
        }
    }
}
