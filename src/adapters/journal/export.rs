//! journald's export format, as bytes come in: whole entries go out, in bounded memory.
//!
//! A field is `NAME=value` and a line break, or, for bytes, `NAME`, a line break, the length as 64 bits little-endian,
//! the bytes and a line break. An empty line ends an entry. Fields that nobody asked for, and those that are too long,
//! are passed over without being kept; of a message that is too long the beginning is kept. After bytes that are no such thing, reading goes on at the next entry.

/// Longest field that is kept, and what is kept of a message: beyond it is a dump.
pub const VALUE_MAX: usize = 64 << 10;
/// Longest name: journald takes 64 characters.
const NAME_MAX: usize = 64;
/// Longest field that journald takes (DATA_SIZE_MAX); a greater length is garbage.
const BYTES_MAX: u64 = 768 << 20;
/// Where an entry begins.
const BEGIN: &[u8] = b"\n\n__CURSOR=";
/// The worst priority of syslog(3) is 0; an entry may have none.
const PRIORITY_MAX: u8 = 7;

/// What is kept of an entry. Names with an underscore in front are journald's own word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub cursor: String,
    /// The worst, where it was given several times.
    pub priority: Option<u8>,
    /// `_SYSTEMD_UNIT`
    pub unit: String,
    /// `_SYSTEMD_USER_UNIT`
    pub user_unit: String,
    /// `UNIT` or `USER_UNIT`: of whom systemd speaks, also in the moment before it becomes the unit's program.
    pub about: String,
    pub pid: Option<u32>,
    /// Empty unless it was asked for. Bytes, as the writer chose them.
    pub message: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Cursor,
    Priority,
    Unit,
    UserUnit,
    About,
    Pid,
    Message,
}

impl Field {
    fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"__CURSOR" => Some(Field::Cursor),
            b"PRIORITY" => Some(Field::Priority),
            b"_SYSTEMD_UNIT" => Some(Field::Unit),
            b"_SYSTEMD_USER_UNIT" => Some(Field::UserUnit),
            b"UNIT" | b"USER_UNIT" => Some(Field::About),
            b"_PID" => Some(Field::Pid),
            b"MESSAGE" => Some(Field::Message),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Name,
    /// The rest of a line; `None`: it is passed over.
    Text(Option<Field>),
    Length {
        field: Option<Field>,
        read: u32,
        length: u64,
    },
    Bytes {
        field: Option<Field>,
        left: u64,
    },
    /// The line break after bytes.
    Break,
    /// Looking for [`BEGIN`], of which so many bytes are seen.
    Lost(usize),
}

/// Reads a stream. Keeps one entry and one field at a time.
#[derive(Debug)]
pub struct Parser {
    state: State,
    name: Vec<u8>,
    value: Vec<u8>,
    entry: Entry,
    damaged: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self { state: State::Name, name: Vec::new(), value: Vec::new(), entry: Entry::default(), damaged: 0 }
    }
}

impl Parser {
    /// How often the stream was no export.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Reads on; `found` gets each entry when it is whole.
    pub fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(&Entry)) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Name => self.name(bytes, &mut found),
                State::Text(field) => self.text(bytes, field),
                State::Length { field, read, length } => self.length(bytes, field, read, length),
                State::Bytes { field, left } => self.bytes(bytes, field, left),
                State::Break => self.line_break(bytes),
                State::Lost(seen) => self.lost(bytes, seen),
            };
        }
    }

    fn name<'b>(&mut self, bytes: &'b [u8], found: &mut impl FnMut(&Entry)) -> &'b [u8] {
        let part_of_name = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_';
        let end = bytes.iter().position(|b| !part_of_name(b)).unwrap_or(bytes.len());
        if self.name.len() + end > NAME_MAX {
            return self.lose(bytes);
        }
        self.name.extend_from_slice(&bytes[..end]);
        let rest = &bytes[end..];
        match rest.first() {
            None => return rest,
            Some(b'=') if !self.name.is_empty() => self.state = State::Text(Field::of(&self.name)),
            Some(b'\n') if self.name.is_empty() => self.end(found),
            Some(b'\n') => self.state = State::Length { field: Field::of(&self.name), read: 0, length: 0 },
            Some(_) => return self.lose(rest),
        }
        self.name.clear();
        self.value.clear();
        &rest[1..]
    }

    fn text<'b>(&mut self, bytes: &'b [u8], field: Option<Field>) -> &'b [u8] {
        let end = bytes.iter().position(|b| *b == b'\n');
        let field = self.keep(field, &bytes[..end.unwrap_or(bytes.len())]);
        self.state = State::Text(field);
        let Some(end) = end else { return &[] };
        self.take(field);
        self.state = State::Name;
        &bytes[end + 1..]
    }

    fn length<'b>(&mut self, bytes: &'b [u8], field: Option<Field>, read: u32, length: u64) -> &'b [u8] {
        let length = length | u64::from(bytes[0]) << (8 * read);
        self.state = match read {
            7 if length > BYTES_MAX => return self.lose(&bytes[1..]),
            7 if length == 0 => {
                self.take(field);
                State::Break
            }
            7 => State::Bytes { field, left: length },
            _ => State::Length { field, read: read + 1, length },
        };
        &bytes[1..]
    }

    fn bytes<'b>(&mut self, bytes: &'b [u8], field: Option<Field>, left: u64) -> &'b [u8] {
        let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let field = self.keep(field, &bytes[..here]);
        let left = left - here as u64;
        self.state = State::Bytes { field, left };
        if left == 0 {
            self.take(field);
            self.state = State::Break;
        }
        &bytes[here..]
    }

    fn line_break<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if bytes[0] != b'\n' {
            return self.lose(bytes);
        }
        self.state = State::Name;
        &bytes[1..]
    }

    fn lost<'b>(&mut self, bytes: &'b [u8], mut seen: usize) -> &'b [u8] {
        for (nth, byte) in bytes.iter().enumerate() {
            seen = match (*byte == BEGIN[seen], *byte) {
                (true, _) => seen + 1,
                // Another line break after two is as good as the second.
                (false, b'\n') if seen == 2 => 2,
                (false, b'\n') => 1,
                (false, _) => 0,
            };
            if seen == BEGIN.len() {
                self.state = State::Text(Some(Field::Cursor));
                return &bytes[nth + 1..];
            }
        }
        self.state = State::Lost(seen);
        &[]
    }

    /// What is read is no export: the entry is given up, and the next one looked for.
    fn lose<'b>(&mut self, rest: &'b [u8]) -> &'b [u8] {
        self.damaged += 1;
        self.clear();
        self.name.clear();
        self.value.clear();
        self.state = State::Lost(0);
        rest
    }

    fn keep(&mut self, field: Option<Field>, bytes: &[u8]) -> Option<Field> {
        let field = field?;
        let room = VALUE_MAX - self.value.len();
        if bytes.len() > room && field != Field::Message {
            self.value.clear();
            return None;
        }
        self.value.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Some(field)
    }

    /// A field is whole.
    fn take(&mut self, field: Option<Field>) {
        let Some(field) = field else { return };
        let text = std::str::from_utf8(&self.value).unwrap_or_default();
        let entry = &mut self.entry;
        match field {
            Field::Cursor => copy(&mut entry.cursor, text),
            Field::Unit => copy(&mut entry.unit, text),
            Field::UserUnit => copy(&mut entry.user_unit, text),
            Field::About => copy(&mut entry.about, text),
            Field::Pid => entry.pid = text.parse().ok(),
            Field::Priority => {
                let priority = text.parse().ok().filter(|priority| *priority <= PRIORITY_MAX);
                entry.priority = entry.priority.into_iter().chain(priority).min();
            }
            // Given several times, they are looked at as lines of one message, as far as there is room.
            Field::Message => {
                if !entry.message.is_empty() && entry.message.len() < VALUE_MAX {
                    entry.message.push(b'\n');
                }
                let room = VALUE_MAX - entry.message.len();
                entry.message.extend_from_slice(&self.value[..self.value.len().min(room)]);
            }
        }
        self.value.clear();
    }

    /// Several empty lines are one.
    fn end(&mut self, found: &mut impl FnMut(&Entry)) {
        if !self.entry.cursor.is_empty() {
            found(&self.entry);
        }
        self.clear();
    }

    /// Keeps the room that was made.
    fn clear(&mut self) {
        let entry = &mut self.entry;
        for text in [&mut entry.cursor, &mut entry.unit, &mut entry.user_unit, &mut entry.about] {
            text.clear();
        }
        entry.message.clear();
        (entry.priority, entry.pid) = (None, None);
    }
}

fn copy(into: &mut String, text: &str) {
    into.clear();
    into.push_str(text);
}
