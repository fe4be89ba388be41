//! A page of rows, newest first, found in a time that does not grow with the history.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::model::history::Filter;

/// How a page is found: ids grow with time, so that of the rows not older than `since` nearly all are not before the first of
/// them. Only what came back later (a reopened incident), or was put down by a clock that has been set back, is before it, and
/// is looked for by the index of time when the rest does not fill the page.
pub(super) struct Paging {
    pub select: &'static str,
    pub order: &'static str,
    pub id: &'static str,
    /// Finds the id of the first row that is not older than `?1`.
    pub first: &'static str,
    pub by_time: &'static str,
}

impl Paging {
    pub fn read(
        &self,
        connection: &Connection,
        clause: &Clause,
        filter: &Filter,
        most: usize,
        take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let by_time = format!("INDEXED BY {}", self.by_time);
        let since = match (filter.until, filter.since) {
            (Some(_), _) => return self.page(connection, &by_time, clause, most, take).map(drop),
            (None, None) => return self.page(connection, "", clause, most, take).map(drop),
            (None, Some(since)) => since,
        };
        let first =
            connection.prepare_cached(self.first)?.query_row([since.0], |row| row.get::<_, i64>(0)).optional()?;
        let Some(first) = first else { return Ok(()) };
        let (mut young, mut old) = (clause.clone(), clause.clone());
        young.bound(&format!("{} >= ", self.id), first.into());
        let taken = self.page(connection, "", &young, most, take)?;
        if taken < most {
            old.bound(&format!("{} < ", self.id), first.into());
            self.page(connection, &by_time, &old, most - taken, take)?;
        }
        Ok(())
    }

    fn page(
        &self,
        connection: &Connection,
        index: &str,
        clause: &Clause,
        most: usize,
        take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<usize> {
        let sql = format!("{} {index} {} ORDER BY {} LIMIT {most}", self.select, clause.text(), self.order);
        let mut select = connection.prepare_cached(&sql)?;
        let mut rows = select.query(params_from_iter(&clause.values))?;
        let mut taken = 0;
        while let Some(row) = rows.next()? {
            take(row)?;
            taken += 1;
        }
        Ok(taken)
    }
}

/// A WHERE clause whose values are bound, never pasted.
#[derive(Clone)]
pub(super) struct Clause {
    pub parts: Vec<String>,
    pub values: Vec<Value>,
}

impl Clause {
    pub fn of(filter: &Filter, id: &str, time: &str) -> Self {
        let mut clause = Clause { parts: Vec::new(), values: Vec::new() };
        if let Some(worker) = &filter.worker {
            clause.bound("worker = ", worker.as_str().to_string().into());
        }
        if let Some(unit) = &filter.unit {
            clause.bound("unit = ", unit.as_str().to_string().into());
        }
        if let Some(since) = filter.since {
            clause.bound(&format!("{time} >= "), since.0.into());
        }
        if let Some(until) = filter.until {
            clause.bound(&format!("{time} < "), until.0.into());
        }
        if let Some(before) = filter.before {
            clause.bound(&format!("{id} < "), i64::try_from(before).unwrap_or(i64::MAX).into());
        }
        clause
    }

    pub fn bound(&mut self, condition: &str, value: Value) {
        self.values.push(value);
        self.parts.push(format!("{condition}?{}", self.values.len()));
    }

    pub fn fixed(&mut self, condition: &str) {
        self.parts.push(condition.to_string());
    }

    pub fn text(&self) -> String {
        match self.parts.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", self.parts.join(" AND ")),
        }
    }
}
