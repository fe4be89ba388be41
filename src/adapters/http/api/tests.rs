//! The document: complete, bounded, and without what nobody can read.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::adapters::http::tests::App;

fn document() -> Value {
    let (_, shutdown) = tokio::sync::watch::channel(false);
    document::of(&operations::<App>(&shutdown, 0))
}

fn references<'d>(value: &'d Value, found: &mut BTreeSet<&'d str>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| match value {
            Value::String(to) if key == "$ref" => drop(found.insert(to)),
            value => references(value, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let lost: Vec<_> = found.iter().filter(|to| document.pointer(&to[1..]).is_none()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let unused: Vec<_> =
        schemas.keys().filter(|name| !found.contains(&*format!("#/components/schemas/{name}"))).collect();
    assert!(unused.is_empty(), "{unused:?}");
    // schemars tells two types of one name apart by a number.
    let twice: Vec<_> = schemas.keys().filter(|name| name.ends_with(|last: char| last.is_ascii_digit())).collect();
    assert!(twice.is_empty(), "give one of them another name: {twice:?}");
}

#[test]
fn operations_have_a_name_and_say_what_they_do() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with("/api/v1/"), "{path}");
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{path}");
            let responses = operation["responses"].as_object().unwrap();
            for status in ["200", "400", "401", "503"] {
                assert!(responses.contains_key(status), "{method} {path}: {status}");
            }
            let named = path.matches('{').count();
            let places = operation["parameters"].as_array().unwrap().iter().filter(|one| one["in"] == "path").count();
            assert_eq!(named, places, "{path}");
        }
    }
}

#[test]
fn what_is_taken_is_said_with_its_bounds() {
    let document = document();
    let parameter = |path: &str, name: &str| {
        let parameters = document["paths"][format!("/api/v1{path}")]["get"]["parameters"].as_array().unwrap();
        parameters.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} of {path}")).clone()
    };
    let since = parameter("/incidents", "since");
    assert_eq!(since["required"], false);
    assert_eq!(since["description"], "Not older than this.");
    assert_eq!(parameter("/incidents", "limit")["schema"]["maximum"], u64::MAX);
    assert_eq!(parameter("/incidents", "open")["schema"]["type"], "boolean", "absent, never null");
    assert_eq!(parameter("/instances", "worker")["schema"]["$ref"], "#/components/schemas/WorkerName");
    assert_eq!(parameter("/preview", "action")["required"], true);
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["WorkerName"]["maxLength"], 64);
    assert_eq!(schemas["Wall"]["minimum"], i64::MIN);
    assert_eq!(schemas["Health"]["enum"].as_array().unwrap().len(), 6);
}

#[test]
fn a_deed_is_one_of_those_that_there_are() {
    let document = document();
    let ask = &document["components"]["schemas"]["Ask"];
    assert_eq!(ask["discriminator"]["propertyName"], "ask");
    let mapping = ask["discriminator"]["mapping"].as_object().unwrap();
    assert_eq!(ask["oneOf"].as_array().unwrap().len(), mapping.len());
    assert!(mapping.contains_key("pause") && mapping.contains_key("reload"), "{mapping:?}");
    let pause = &document["components"]["schemas"]["AskPause"];
    assert_eq!(pause["required"], serde_json::json!(["ask", "reason"]), "the others may be left out");
}
