//! Columns that line up, whatever is in the cells.

use super::look::{Look, Tone, columns, fit, pad, wrap};

/// One cell; the tone paints it without counting as columns.
#[derive(Debug, Clone)]
pub struct Cell {
    pub text: String,
    pub tone: Option<Tone>,
    pub right: bool,
}

impl Cell {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: None, right: false }
    }
    /// Numbers line up at their end.
    pub fn right(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: None, right: true }
    }
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = Some(tone);
        self
    }
}

/// Rows under a heading, with two spaces between columns.
#[derive(Debug, Default)]
pub struct Table {
    heading: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
    /// Text below a row, by the number of rows before it.
    notes: Vec<(usize, Cell)>,
    /// The column that gives way when the table is wider than the terminal.
    elastic: usize,
    /// It goes on in the next line instead of being cut.
    wraps: bool,
    indent: usize,
}

/// Narrowest that the elastic column gets.
const ELASTIC_MIN: usize = 12;
const GAP: usize = 2;
/// How far a note stands in from its row.
const NOTE_INDENT: usize = 7;

impl Table {
    pub fn new(heading: &[&str], elastic: usize) -> Self {
        Self {
            heading: heading.iter().map(|text| Cell::new(*text)).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
            elastic,
            wraps: false,
            indent: 0,
        }
    }

    /// For what must be read whole: the elastic column goes on in the next line instead of being cut.
    pub fn wrapping(mut self) -> Self {
        self.wraps = true;
        self
    }

    pub fn indent(mut self, indent: usize) -> Self {
        self.indent = indent;
        self
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Text below the last row, over the whole width.
    pub fn note(&mut self, text: Cell) {
        self.notes.push((self.rows.len(), text));
    }

    pub fn lines(&self, look: &Look) -> Vec<String> {
        let widths = self.widths(look);
        let heading: Vec<Cell> = self.heading.iter().enumerate().map(|(i, cell)| self.heading_cell(i, cell)).collect();
        let mut lines = vec![self.line(&heading, &widths, true, look)];
        for (i, row) in self.rows.iter().enumerate() {
            lines.push(self.line(row, &widths, false, look));
            lines.extend(self.further_lines(row, &widths, look));
            let notes = self.notes.iter().filter(|(after, _)| *after == i + 1);
            lines.extend(notes.flat_map(|(_, note)| self.note_lines(note, look)));
        }
        lines
    }

    /// What did not fit into the elastic cell of the row.
    fn further_lines(&self, row: &[Cell], widths: &[usize], look: &Look) -> Vec<String> {
        let Some(cell) = row.get(self.elastic).filter(|_| self.wraps) else { return Vec::new() };
        let empty = || row.iter().map(|cell| Cell { text: String::new(), ..cell.clone() });
        let further = wrap(&cell.text, widths[self.elastic]).into_iter().skip(1);
        further
            .map(|text| {
                let mut cells: Vec<Cell> = empty().collect();
                cells[self.elastic].text = text;
                self.line(&cells, widths, false, look)
            })
            .collect()
    }

    fn note_lines(&self, note: &Cell, look: &Look) -> Vec<String> {
        let indent = self.indent + NOTE_INDENT;
        let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(ELASTIC_MIN));
        let painted = |line: &String| match note.tone {
            Some(tone) => look.paint(tone, line),
            None => line.clone(),
        };
        wrap(&note.text, width).iter().map(|line| format!("{}{}", " ".repeat(indent), painted(line))).collect()
    }

    /// A heading stands where its column's cells stand.
    fn heading_cell(&self, column: usize, cell: &Cell) -> Cell {
        let right = self.rows.first().and_then(|row| row.get(column)).is_some_and(|cell| cell.right);
        Cell { text: cell.text.clone(), tone: None, right }
    }

    fn widths(&self, look: &Look) -> Vec<usize> {
        let width = |i: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(i)).map(|cell| columns(&cell.text));
            cells.chain(self.heading.get(i).map(|cell| columns(&cell.text))).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.heading.len()).map(width).collect();
        if let Some(limit) = look.width {
            let total = self.indent + widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
            if let Some(elastic) = widths.get_mut(self.elastic) {
                *elastic = elastic.saturating_sub(total.saturating_sub(limit)).max(ELASTIC_MIN.min(*elastic));
            }
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], is_heading: bool, look: &Look) -> String {
        let mut line = " ".repeat(self.indent);
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            let first = || wrap(&cell.text, *width).swap_remove(0);
            let text = if self.wraps && i == self.elastic { first() } else { fit(&cell.text, *width, look.unicode) };
            let text = match (cell.right, i + 1 == row.len()) {
                (true, _) => format!("{}{text}", " ".repeat(width.saturating_sub(columns(&text)))),
                (false, true) => text,
                (false, false) => pad(&text, *width),
            };
            line.push_str(&match (is_heading, cell.tone) {
                (true, _) => look.dim(&text),
                (false, Some(tone)) => look.paint(tone, &text),
                (false, None) => text,
            });
            if i + 1 < row.len() {
                line.push_str(&" ".repeat(GAP));
            }
        }
        // Trailing spaces are noise in a log; painted cells end in an escape and keep theirs.
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn columns_line_up_and_the_elastic_one_gives_way() {
        let mut table = Table::new(&["NAME", "N", "BECAUSE", "UP"], 2);
        table.row(vec![
            Cell::new("mail"),
            Cell::right("7"),
            Cell::new("running since the beginning"),
            Cell::new("1 h"),
        ]);
        table.row(vec![Cell::new("a-long-name"), Cell::right("1000"), Cell::new("ok"), Cell::new("2 d")]);
        let mut look = Look::plain(TimeZone::UTC);
        expect![[r#"
            NAME            N  BECAUSE                      UP
            mail            7  running since the beginning  1 h
            a-long-name  1000  ok                           2 d"#]]
        .assert_eq(&table.lines(&look).join("\n"));
        look.width = Some(40);
        let lines = table.lines(&look);
        expect![[r#"
            NAME            N  BECAUSE           UP
            mail            7  running since t~  1 h
            a-long-name  1000  ok                2 d"#]]
        .assert_eq(&lines.join("\n"));
        assert!(lines.iter().all(|line| columns(line) <= 40));
    }

    #[test]
    fn notes_stand_below_their_row() {
        let mut table = Table::new(&["NAME"], 0);
        table.row(vec![Cell::new("a")]);
        table.note(Cell::new("this is why it is as it is"));
        table.row(vec![Cell::new("b")]);
        let look = Look { width: Some(26), ..Look::plain(TimeZone::UTC) };
        assert_eq!(table.lines(&look), ["NAME", "a", "       this is why it is", "       as it is", "b"]);
    }
}
