//! The table of operations as an OpenAPI 3.1 document.
//!
//! Its schemas are derived from the types that are read and written, so that they cannot say anything else.

use std::collections::{BTreeMap, BTreeSet};

use hyper::StatusCode;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::PREFIX;
use super::operation::Operation;
use crate::adapters::http::problem::{PROBLEM_JSON, Problem};

const SCHEMAS: &str = "#/components/schemas/";
/// What is read differs from what is written where something may be left out; then it has a name of its own.
const GIVEN: &str = "Given";

const ABOUT: &str = "Sees, judges and repairs the workers of a systemd host. Times are whole numbers: microseconds since 1970 \
(wall time), or of CLOCK_MONOTONIC within one boot; spans have `secs` and `nanos`. Errors are `application/problem+json` \
(RFC 9457), whose `detail` says what to do. A parameter that is not known is an error. Answers of 1 KiB and more come in \
gzip where the asker takes it.";

/// Schemas of both directions: of what is answered, and of what is asked.
struct Schemas {
    answered: SchemaGenerator,
    given: SchemaGenerator,
}

pub fn of<P>(operations: &[Operation<P>]) -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut schemas = Schemas {
        answered: settings().for_serialize().into_generator(),
        given: settings().for_deserialize().into_generator(),
    };
    schemas.answered.subschema_for::<Problem>();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let path = paths.entry(format!("{PREFIX}{}", operation.path)).or_default();
        path.insert(operation.method.into(), described(operation, &mut schemas));
    }
    let mut paths = json!(paths);
    let components = components(schemas, &mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "unitmedic",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        // Reading may be open; whoever has a login uses it.
        "security": [{}, { "basic": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {
                    "type": "http", "scheme": "basic", "description": "A user of the web configuration.",
                },
                "bearer": {
                    "type": "http", "scheme": "bearer", "description": "A token of the web configuration.",
                },
            },
        },
    })
}

fn described<P>(operation: &Operation<P>, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = operation
        .places
        .iter()
        .map(|(name, schema)| json!({ "name": name, "in": "path", "required": true, "schema": schema(&mut schemas.given) }))
        .collect();
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(query(&mut schemas.given).to_value()));
    }
    if operation.is_stream {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "The id of the last event that was read; it goes before `after`.",
        }));
    }
    let mut responses = Map::new();
    if let Some(answer) = operation.answer {
        let schema = answer(&mut schemas.answered);
        let kind = if operation.is_stream { "text/event-stream" } else { "application/json" };
        let schema =
            if operation.is_stream { json!({ "type": "string", "contentSchema": schema }) } else { json!(schema) };
        let links: Map<String, Value> = operation.links.iter().map(|link| (link.0.to_owned(), linked(link))).collect();
        let answer =
            |what: &str| json!({ "description": what, "content": { kind: { "schema": schema } }, "links": links });
        responses.insert("200".into(), answer(if operation.is_deed { "It is done." } else { "The answer." }));
        if operation.is_deed {
            responses.insert("202".into(), answer("It has begun; the incidents tell the rest."));
        }
    }
    for status in operation.problems.iter().collect::<BTreeSet<_>>() {
        let reason = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
        let schema = json!({ "$ref": format!("{SCHEMAS}Problem") });
        let content = json!({ PROBLEM_JSON: { "schema": schema } });
        responses.insert(status.to_string(), json!({ "description": reason, "content": content }));
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if !operation.description.is_empty() {
        described["description"] = operation.description.into();
    }
    if let Some(body) = operation.body {
        let schema = body(&mut schemas.given);
        described["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    described
}

fn linked((operation, parameter, found): &(&str, &str, &str)) -> Value {
    json!({ "operationId": operation, "parameters": { *parameter: format!("$response.body#{found}") } })
}

/// The fields of a struct as parameters. What may be absent is left out, never `null`.
fn query_parameters(schema: Value) -> Vec<Value> {
    let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
    let parameter = |(name, field): (&String, &Value)| {
        let mut schema = without_null(field.clone());
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let required = required.iter().any(|required| *required == name);
        let mut parameter = json!({ "name": name, "in": "query", "required": required, "schema": schema });
        if let Some(description) = description {
            parameter["description"] = description;
        }
        parameter
    };
    schema["properties"].as_object().into_iter().flatten().map(parameter).collect()
}

fn without_null(mut schema: Value) -> Value {
    let Some(fields) = schema.as_object_mut() else { return schema };
    if fields.get("default").is_some_and(Value::is_null) {
        fields.remove("default");
    }
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            fields.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = fields.get("anyOf") {
        let others: Vec<Value> = choices.iter().filter(|choice| choice["type"] != "null").cloned().collect();
        if let [Value::Object(only)] = others.as_slice() {
            let only = only.clone();
            fields.remove("anyOf");
            fields.extend(only);
        }
    }
    schema
}

/// All schemas by name. What is given is named anew, in `paths` as well, where it is not what is answered.
fn components(mut schemas: Schemas, paths: &mut Value) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = schemas.answered.take_definitions(true).into_iter().collect();
    let mut given: BTreeMap<String, Value> = schemas.given.take_definitions(true).into_iter().collect();
    let mut differ: BTreeSet<String> = BTreeSet::new();
    loop {
        let is_new = |(name, schema): (&String, &Value)| {
            let other = all.get(name).is_some_and(|answered| answered != schema || mentions(schema, &differ));
            (other && !differ.contains(name)).then(|| name.clone())
        };
        let more: Vec<String> = given.iter().filter_map(is_new).collect();
        if more.is_empty() {
            break;
        }
        differ.extend(more);
    }
    given.values_mut().for_each(|schema| rename(schema, &differ));
    rename_given(paths, &differ);
    for (name, schema) in given {
        let name = if differ.contains(&name) { format!("{name}{GIVEN}") } else { name };
        all.insert(name, schema);
    }
    let tagged: Vec<String> = all.keys().cloned().collect();
    for name in tagged {
        name_the_variants(&name, &mut all);
    }
    all.values_mut().for_each(tidy);
    tidy(paths);
    if let Some(span) = all.get_mut("Duration") {
        // So serde takes it, and no further field.
        span["properties"]["nanos"]["maximum"] = 999_999_999.into();
        span["additionalProperties"] = false.into();
    }
    all
}

fn mentions(schema: &Value, names: &BTreeSet<String>) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(key, value)| match value {
            Value::String(to) if key == "$ref" => to.strip_prefix(SCHEMAS).is_some_and(|name| names.contains(name)),
            value => mentions(value, names),
        }),
        Value::Array(items) => items.iter().any(|item| mentions(item, names)),
        _ => false,
    }
}

fn rename(schema: &mut Value, names: &BTreeSet<String>) {
    match schema {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| match value {
            Value::String(to) if key == "$ref" && to.strip_prefix(SCHEMAS).is_some_and(|name| names.contains(name)) => {
                to.push_str(GIVEN);
            }
            value => rename(value, names),
        }),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}

/// Only what is given in an operation: its parameters and its body.
fn rename_given(paths: &mut Value, names: &BTreeSet<String>) {
    let operations = paths.as_object_mut().into_iter().flatten().filter_map(|(_, path)| path.as_object_mut()).flatten();
    for (_, operation) in operations {
        for part in ["parameters", "requestBody"] {
            if let Some(part) = operation.get_mut(part) {
                rename(part, names);
            }
        }
    }
}

/// The variants of an enum with a tag get names, as a discriminator needs them.
fn name_the_variants(name: &str, all: &mut BTreeMap<String, Value>) {
    let Some(Value::Array(variants)) = all.get(name).and_then(|schema| schema.get("oneOf")).cloned() else { return };
    let Some(tag) = tag_of(&variants) else { return };
    let (mut references, mut mapping) = (Vec::new(), Map::new());
    for variant in variants {
        let word = variant["properties"][&tag]["const"].as_str().unwrap_or_default().to_owned();
        let own = format!("{name}{}", in_camel_case(&word));
        let to = format!("{SCHEMAS}{own}");
        references.push(json!({ "$ref": to }));
        mapping.insert(word, json!(to));
        all.insert(own, variant);
    }
    if let Some(schema) = all.get_mut(name) {
        schema["oneOf"] = references.into();
        schema["discriminator"] = json!({ "propertyName": tag, "mapping": mapping });
    }
}

/// The property that is another constant in each.
fn tag_of(variants: &[Value]) -> Option<String> {
    let constant = |variant: &Value, name: &str| variant["properties"][name]["const"].is_string();
    let mut names = variants.first()?["properties"].as_object()?.keys();
    names.find(|name| variants.iter().all(|variant| constant(variant, name))).cloned()
}

fn in_camel_case(word: &str) -> String {
    let upper = |part: &str| {
        let (first, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        format!("{}{rest}", first.to_ascii_uppercase())
    };
    word.split(['_', '-']).map(upper).collect()
}

/// What schemars leaves open or says at length.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            words(fields);
            bounds(fields);
            if let Some(Value::String(about)) = fields.get_mut("description") {
                // Links between types are for readers of the code.
                *about = about.replace("[`", "`").replace("`]", "`");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// A choice of single words is an enum of them.
fn words(fields: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = fields.get("oneOf") else { return };
    let mut all = Vec::new();
    let mut said = String::new();
    for choice in choices {
        let listed = choice["enum"].as_array().cloned().unwrap_or_default();
        let word = choice.get("const").cloned();
        if choice["type"] != "string" || listed.is_empty() && word.is_none() {
            return;
        }
        if let (Some(Value::String(word)), Some(meaning)) = (&word, choice["description"].as_str()) {
            said.push_str(&format!("\n- `{word}`: {}", meaning.replace('\n', " ")));
        }
        all.extend(word.into_iter().chain(listed));
    }
    fields.remove("oneOf");
    fields.insert("type".into(), "string".into());
    fields.insert("enum".into(), all.into());
    if !said.is_empty() {
        let about = fields.get("description").and_then(Value::as_str).unwrap_or_default();
        let about = format!("{about}{}{}", if about.is_empty() { "" } else { "\n" }, said);
        fields.insert("description".into(), about.trim_start().into());
    }
}

/// What a parser takes is bounded, whatever the schema of a number says.
fn bounds(fields: &mut Map<String, Value>) {
    let Some(format) = fields.get("format").and_then(Value::as_str) else { return };
    let (least, most) = match format {
        "int32" => (i64::from(i32::MIN), i32::MAX as u64),
        "int64" => (i64::MIN, i64::MAX as u64),
        "uint8" => (0, u64::from(u8::MAX)),
        "uint32" => (0, u64::from(u32::MAX)),
        "uint" | "uint64" => (0, u64::MAX),
        _ => return,
    };
    fields.insert("minimum".into(), least.into());
    fields.insert("maximum".into(), most.into());
}
