//! `audit`: who did what, and from where.

use std::io::Write;

use clap::Args;

use super::exit;
use super::incidents::{parse_limit, since};
use super::session::{self, Session};
use crate::model::history::{AuditEntry, AuditFilter};
use crate::model::{Wall, WorkerName};
use crate::views::look::{Look, clean};
use crate::views::table::{Cell, Table};

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only since then: a span back (2h, 7d) or a date
    #[arg(long, value_name = "SPAN|DATE")]
    since: Option<String>,
    /// Only what was done to this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<WorkerName>,
    /// At most this many
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    limit: Option<usize>,
    /// The entries as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &AuditArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let since = since(args.since.as_deref(), session)?;
    let filter = AuditFilter { worker: args.worker.clone(), since, limit: args.limit, ..AuditFilter::default() };
    let entries = session.wait(session.client.audit(&filter))?;
    session.check_worker(args.worker.as_ref(), entries.is_empty())?;
    match args.json {
        true => session::json(&entries, out)?,
        false => session::lines(&table(&entries, session.wall(), &session.look), out)?,
    }
    Ok(exit::OK)
}

/// Newest first, one line each. The sentence names who; what nobody asked for has none.
fn table(entries: &[AuditEntry], now: Wall, look: &Look) -> Vec<String> {
    if entries.is_empty() {
        return vec!["Nobody did anything.".into()];
    }
    let mut table = Table::new(&["WHEN", "ID", "WHAT"], 2).wrapping();
    for entry in entries {
        table.row(vec![
            Cell::new(look.moment(entry.at, now)),
            Cell::right(entry.incident.map(|id| id.to_string()).unwrap_or_default()),
            Cell::new(clean(&entry.text)),
        ]);
    }
    table.lines(look)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::IncidentId;

    #[test]
    fn a_line_for_each_deed() {
        let entry = |id: u64, incident: Option<u64>, text: &str| AuditEntry {
            id,
            at: Wall(id as i64 * 1_000_000),
            who: None,
            worker: None,
            unit: None,
            incident: incident.map(IncidentId),
            event: "paused".into(),
            text: text.into(),
        };
        let entries = [
            entry(9, Some(42), "alice (basic auth, from 192.0.2.7) approved restart of mail@1.service"),
            entry(7, None, "the hold file is there\u{1b}[2J"),
        ];
        let look = Look::plain(jiff::tz::TimeZone::UTC);
        expect![[r#"
            WHEN       ID  WHAT
            00:00:09  #42  alice (basic auth, from 192.0.2.7) approved restart of mail@1.service
            00:00:07       the hold file is there�[2J
        "#]]
        .assert_eq(&(table(&entries, Wall(10_000_000), &look).join("\n") + "\n"));
        let narrow = Look { width: Some(50), ..look.clone() };
        expect![[r#"
            WHEN       ID  WHAT
            00:00:09  #42  alice (basic auth, from 192.0.2.7)
                           approved restart of mail@1.service
            00:00:07       the hold file is there�[2J
        "#]]
        .assert_eq(&(table(&entries, Wall(10_000_000), &narrow).join("\n") + "\n"));
        assert_eq!(table(&[], Wall(0), &look), ["Nobody did anything."]);
    }
}
