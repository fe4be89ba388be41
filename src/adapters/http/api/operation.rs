//! One operation of the API: where it is, what it takes and answers, and who carries it out.

use std::sync::Arc;

use axum::routing::MethodRouter;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Any question may be wrong, come from nobody who may ask it, under a name that is not ours, or too often, or at a bad time.
const ALWAYS: [u16; 5] = [400, 401, 403, 429, 503];

pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A reference to the schema of a type.
fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

pub struct Operation<P> {
    pub method: &'static str,
    /// Below `/api/v1`.
    pub path: &'static str,
    pub id: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
    /// Names in the path, and what stands there.
    pub places: Vec<(&'static str, SchemaOf)>,
    /// A struct, whose fields are the parameters.
    pub query: Option<SchemaOf>,
    pub body: Option<SchemaOf>,
    pub answer: Option<SchemaOf>,
    /// It answers a stream, each of whose events has the answer as its data.
    pub is_stream: bool,
    /// It is answered by what was done.
    pub is_deed: bool,
    pub problems: Vec<u16>,
    /// Where an answer leads: the operation, its parameter, and where in the answer that is found.
    pub links: Vec<(&'static str, &'static str, &'static str)>,
    pub handler: MethodRouter<Arc<P>>,
}

/// A GET that answers JSON.
pub fn reading<P>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: MethodRouter<Arc<P>>,
) -> Operation<P> {
    Operation {
        method: "get",
        path,
        id,
        summary,
        description: "",
        places: Vec::new(),
        query: None,
        body: None,
        answer: None,
        is_stream: false,
        is_deed: false,
        problems: ALWAYS.to_vec(),
        links: Vec::new(),
        handler,
    }
}

impl<P> Operation<P> {
    /// A POST that asks for a deed.
    pub fn asking(
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: MethodRouter<Arc<P>>,
    ) -> Operation<P> {
        let problems = [&ALWAYS[..], &[404, 409, 413, 415, 422]].concat();
        Operation { method: "post", is_deed: true, problems, ..reading(path, id, summary, handler) }
    }

    pub fn says(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    /// What stands in the path names something that may not be there.
    pub fn at<T: JsonSchema>(mut self, name: &'static str) -> Self {
        self.places.push((name, reference::<T>));
        self.fails(404)
    }

    pub fn asks<T: JsonSchema>(self) -> Self {
        Self { query: Some(T::json_schema), ..self }
    }

    pub fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Some(reference::<T>), ..self }
    }

    pub fn answers<T: JsonSchema>(self) -> Self {
        Self { answer: Some(reference::<T>), ..self }
    }

    pub fn streams<T: JsonSchema>(self) -> Self {
        Self { is_stream: true, ..self.answers::<T>() }
    }

    pub fn leads_to(mut self, operation: &'static str, parameter: &'static str, found: &'static str) -> Self {
        self.links.push((operation, parameter, found));
        self
    }

    pub fn fails(mut self, status: u16) -> Self {
        self.problems.push(status);
        self
    }
}
