//! Fields on a line of stderr: the message as it is, then `unit=… incident=…`, without what only the journal needs.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes the fields of facts by their short names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, empty: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    empty: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // The sentence says what the event is.
        if self.result.is_err() || matches!(field.name(), "MESSAGE_ID" | "UNITMEDIC_EVENT") {
            return;
        }
        let gap = if self.empty { "" } else { " " };
        self.empty = false;
        self.result = match field.name() {
            "message" => write!(self.writer, "{gap}{value}"),
            name => match name.strip_prefix("UNITMEDIC_") {
                Some(short) => write!(self.writer, "{gap}{}={value}", short.to_ascii_lowercase()),
                None => write!(self.writer, "{gap}{name}={value}"),
            },
        };
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match value.bytes().all(|byte| byte.is_ascii_graphic()) || field.name() == "message" {
            true => self.write(field, format_args!("{value}")),
            false => self.write(field, format_args!("{value:?}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, format_args!("{value:?}"));
    }
}
