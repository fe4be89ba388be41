//! What of a log line can be its pattern: the line without numbers, addresses, ids, paths, quoted values and secrets.
//!
//! One pass over the bytes, the same for all programs. What is masked is gone: no later part sees it.

/// Bytes of a line that are looked at. What is longer is hardly told apart by its end.
pub const LINE_MAX: usize = 4096;
/// Tokens of a line that are looked at.
pub const TOKENS_MAX: usize = 128;
/// How a masked value is shown.
pub const VALUE: &str = "<*>";

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// Begins a control sequence of a terminal.
const ESCAPE: u8 = 0x1b;
/// They belong to the number before them.
const UNITS: [&str; 17] =
    ["B", "kB", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "bytes", "ns", "us", "ms", "s", "sec", "secs", "%"];
/// What follows a key with such a word in it is nobody's business, however its words are put together.
const SECRETS: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "accountkey",
    "encryptionkey",
    "privatekey",
    "signingkey",
    "credential",
    "bearer",
    "sessionid",
    "sessid",
    "signature",
];
/// So ends the name of a secret.
const SECRET_ENDS: [&str; 2] = ["pass", "pwd"];
/// Such short names have to be the whole key.
const SECRET_NAMES: [&str; 2] = ["pw", "sid"];
/// Bytes of a key that are looked at, the last ones.
const KEY_MAX: usize = 64;
/// Bytes of a number in hexadecimal with colons: a fingerprint of 64 bytes has 191. So no line is gone through for each of
/// its words.
const COLONS_MAX: usize = 256;
/// A word after which a secret stands.
const SCHEMES: [&str; 4] = ["Bearer", "bearer", "BEARER", "Basic"];
/// Options of programs that are given `user:password`.
const USER_OPTIONS: [&str; 3] = ["-u", "--user", "--proxy-user"];
/// So begin the tokens that well-known services give out. All others of their length have a digit.
const ISSUED: [&str; 14] = [
    "AKIA",
    "ASIA",
    "AIza",
    "eyJ",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xox",
    "sk_",
    "rk_",
    "sk-",
    "npm_",
];
/// Bytes that such a token has at least.
const ISSUED_MIN: usize = 16;

/// A token of a masked line, by a number that is the same on every host and in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// What was masked.
    pub const VALUE: Token = Token(0);

    fn of(text: &str) -> Self {
        let letters = text.bytes().any(|byte| byte.is_ascii_alphabetic() || byte >= 0x80);
        // FNV-1a: small, and the same for ever. Whoever makes two lines collide mixes up two of his own patterns.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Token(text.bytes().fold(0xcbf2_9ce4_8422_2325, mix) & !1 | u64::from(letters) | 2)
    }

    pub fn is_value(self) -> bool {
        self == Token::VALUE
    }

    /// One number for tokens in a row.
    pub fn all(tokens: &[Token]) -> u64 {
        let mix = |hash: u64, token: &Token| (hash ^ token.0).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        tokens.iter().fold(tokens.len() as u64, mix)
    }

    /// It is more than punctuation.
    pub fn is_word(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A masked line; kept to be filled again.
#[derive(Debug, Default)]
pub struct Masked {
    pub tokens: Vec<Token>,
    parts: Vec<Part>,
    /// What was said before the value that comes next.
    after: After,
    /// A quote that is open, and the token that comes first in it.
    quote: Option<(u8, usize)>,
}

/// Where a token stands in its line.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
    spaced: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum After {
    #[default]
    Anything,
    /// `key=`: what follows is a value if it looks like one.
    Equals,
    /// `password=`, `token:`, `Bearer`.
    Secret,
    /// `Authorization:`: a scheme, and then a secret.
    Scheme,
    /// `Cookie:`: all that comes is secret.
    Secrets,
}

impl After {
    /// What follows this key.
    fn key(key: &str) -> Option<Self> {
        let mut plain = [0; KEY_MAX];
        let mut length = 0;
        for byte in key.bytes().rev().filter(u8::is_ascii_alphanumeric).take(KEY_MAX) {
            length += 1;
            plain[KEY_MAX - length] = byte.to_ascii_lowercase();
        }
        let plain = &plain[KEY_MAX - length..];
        let has =
            |word: &str| plain.len() >= word.len() && plain.windows(word.len()).any(|part| part == word.as_bytes());
        match plain {
            _ if plain.len() < 2 => None,
            _ if has("authorization") => Some(After::Scheme),
            _ if has("cookie") => Some(After::Secrets),
            _ if SECRETS.into_iter().any(has) => Some(After::Secret),
            _ if SECRET_ENDS.iter().any(|end| plain.ends_with(end.as_bytes())) => Some(After::Secret),
            _ if SECRET_NAMES.iter().any(|name| plain == name.as_bytes()) => Some(After::Secret),
            _ => None,
        }
    }

    fn hides(self) -> bool {
        matches!(self, After::Secret | After::Scheme | After::Secrets)
    }
}

impl Masked {
    /// Masks the line. Bytes that are no text, and the control sequences of terminals, are passed over.
    pub fn read(&mut self, line: &str) {
        self.tokens.clear();
        self.parts.clear();
        (self.after, self.quote) = (After::Anything, None);
        let line = cut(line);
        let bytes = line.as_bytes();
        let (mut at, mut spaced) = (0, false);
        while at < bytes.len() && self.tokens.len() < TOKENS_MAX {
            let byte = bytes[at];
            if byte == ESCAPE {
                at += escape(&bytes[at..]);
            } else if KINDS[byte as usize] == Kind::Space {
                (at, spaced) = (at + 1, true);
            } else if is_control(bytes, at) {
                (at, spaced) = (at + 2, true);
            } else if let Some(end) = self.secret(line, at) {
                self.value(line, Part { start: at, end, spaced });
                (at, spaced) = (end, false);
            } else if is_separator(bytes, at) {
                self.separator(line, Part { start: at, end: at + 1, spaced });
                (at, spaced) = (at + 1, false);
            } else {
                let (end, masked) = word(bytes, at);
                self.word(line, Part { start: at, end, spaced }, masked);
                (at, spaced) = (end, false);
            }
        }
    }

    /// The pattern of this one line. `line` is the one that was read.
    pub fn text(&self, line: &str) -> String {
        let line = cut(line);
        let mut text = String::with_capacity(line.len().min(512));
        for (token, part) in self.tokens.iter().zip(&self.parts) {
            if part.spaced && !text.is_empty() {
                text.push(' ');
            }
            text.push_str(if token.is_value() { VALUE } else { &line[part.start..part.end] });
            // Tokens are told apart again by this.
            text.push(GLUE);
        }
        text.pop();
        text
    }

    fn last(&self) -> Option<Token> {
        self.tokens.last().copied()
    }

    fn push(&mut self, token: Token, part: Part) {
        self.tokens.push(token);
        self.parts.push(part);
    }

    fn pop(&mut self) -> Option<Part> {
        self.tokens.pop();
        self.parts.pop()
    }

    fn separator(&mut self, line: &str, part: Part) {
        let bytes = line.as_bytes();
        let byte = bytes[part.start];
        let before = self.parts.last().filter(|last| last.end > last.start).map(|last| &line[last.start..last.end]);
        let opened = match byte {
            b')' => before == Some("("),
            b']' => before == Some("["),
            b'}' => before == Some("{"),
            _ => false,
        };
        // A value that is not there is a value.
        if opened {
            self.value(line, Part { start: part.start, end: part.start, spaced: false });
        }
        match byte {
            // Before a secret it opens, whatever was counted so far.
            b'"' | b'\'' if self.after.hides() => self.quote = Some((byte, self.tokens.len() + 1)),
            b'"' | b'\'' => self.quoted(bytes, part),
            _ => {}
        }
        self.after = match byte {
            // Between a key and its secret: `token: "…"`, `"token": "…"`.
            b'"' | b'\'' | b':' | b'=' if self.after.hides() => self.after,
            b'"' | b'\'' | b':' | b'=' => match self.key(line, before) {
                None if byte == b'=' => After::Equals,
                after => after.unwrap_or_default(),
            },
            b'(' if !part.spaced => before.and_then(After::key).unwrap_or_default(),
            _ => After::Anything,
        };
        self.push(Token::of(&line[part.start..part.end]), part);
    }

    /// What follows the word before, or the one in quotes before; `API key` is one word.
    fn key(&self, line: &str, before: Option<&str>) -> Option<After> {
        let word = |back: usize| self.parts.iter().rev().nth(back);
        let before = match before? {
            "\"" | "'" => &line[word(1)?.start..word(1)?.end],
            key if key.eq_ignore_ascii_case("key") => &line[word(1).or(word(0))?.start..word(0)?.end],
            before => before,
        };
        After::key(before)
    }

    /// Where the secret ends that begins at `at`; `None`: none does.
    fn secret(&mut self, line: &str, at: usize) -> Option<usize> {
        if !self.after.hides() {
            return None;
        }
        let bytes = line.as_bytes();
        let opened = self.quote.filter(|(_, first)| *first == self.tokens.len());
        let end = match (bytes[at], opened) {
            (quote, Some((opening, _))) if quote == opening => at,
            (_, Some((opening, _))) => closing(bytes, at, opening),
            (b'\x22' | b'\'' | b':' | b'=', None) => return None,
            _ if self.after == After::Secrets => self.quote.map_or(bytes.len(), |(quote, _)| closing(bytes, at, quote)),
            (b'\\' | b'`', None) => escaped(line, at),
            (b'(' | b'[' | b'\x7b', None) => group(bytes, at),
            // Behind `password(`.
            _ if self.parts.last().is_some_and(|last| &line[last.start..last.end] == "(") => within(bytes, at),
            _ => run(bytes, at),
        };
        let text = &line[at..end];
        let scheme = SCHEMES.contains(&text);
        self.after = match self.after {
            After::Scheme if !scheme && opened.is_none() => After::Secret,
            // `password => …`
            after if !text.is_empty() && text.bytes().all(|byte| b"=>:-".contains(&byte)) => after,
            _ if scheme => After::Secret,
            _ => After::Anything,
        };
        (!text.is_empty() && !scheme).then_some(end)
    }

    /// A single word in quotes is a value, however it looks; but a key has them, too.
    fn quoted(&mut self, bytes: &[u8], part: Part) {
        let (byte, here) = (bytes[part.start], self.tokens.len());
        let key = matches!(bytes.get(part.end), Some(b':' | b'='));
        let Some((_, opened)) = self.quote.take_if(|(opening, _)| *opening == byte) else {
            self.quote = (!key).then_some((byte, here + 1));
            return;
        };
        if here == opened + 1
            && !key
            && self.last().is_some_and(Token::is_word)
            && let Some(word) = self.pop()
        {
            self.push(Token::VALUE, word);
        }
    }

    fn word(&mut self, line: &str, part: Part, masked: bool) {
        let text = &line[part.start..part.end];
        let looks = |text: &str| text.bytes().any(|byte| matches!(byte, b'.' | b'/' | b'@'));
        let value = match self.after {
            After::Equals => masked || looks(text),
            _ => masked,
        };
        let hides = SCHEMES.contains(&text) || is_option(text);
        self.after = if hides { After::Secret } else { After::Anything };
        if value {
            return self.value(line, part);
        }
        if self.last() == Some(Token::VALUE) && UNITS.contains(&text) {
            return;
        }
        self.push(Token::of(text), part);
    }

    /// Values in a row are one: lists, dates and addresses are as long as they like.
    fn value(&mut self, line: &str, mut part: Part) {
        while let Some(last) = self.parts.last()
            && (MONTHS.contains(&&line[last.start..last.end]) || DAYS.contains(&&line[last.start..last.end]))
        {
            part.spaced = last.spaced;
            self.pop();
        }
        if let [.., Token::VALUE, _] = self.tokens[..]
            && let Some(last) = self.parts.last()
            && matches!(&line[last.start..last.end], "," | ":")
        {
            self.pop();
        }
        if self.last() != Some(Token::VALUE) {
            self.push(Token::VALUE, part);
        }
    }
}

/// Stands between the tokens of a pattern's text; control characters never come from a line.
pub const GLUE: char = '\x1f';

/// The tokens of a pattern's text, as [`Masked::text`] wrote it.
pub fn tokens(text: &str) -> Vec<Token> {
    let part = |part: &str| match part.strip_prefix(' ').unwrap_or(part) {
        VALUE => Token::VALUE,
        word => Token::of(word),
    };
    if text.is_empty() { Vec::new() } else { text.split(GLUE).map(part).collect() }
}

/// The text of a pattern as it is shown.
pub fn shown(text: &str) -> String {
    text.chars().filter(|c| *c != GLUE).collect()
}

fn cut(line: &str) -> &str {
    &line[..line.floor_char_boundary(LINE_MAX)]
}

/// Bytes of a terminal's control sequence, which begins with ESC.
fn escape(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'[') => {
            bytes.iter().skip(2).position(|byte| (0x40..0x7f).contains(byte)).map_or(bytes.len(), |at| at + 3)
        }
        _ => 1,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Word,
    Digit,
    Space,
    Separator,
    /// A separator, but for the one in "isn't".
    Apostrophe,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Word; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'0'..=b'9' => Kind::Digit,
            b' ' | 0x00..=0x1f | 0x7f => Kind::Space,
            b',' | b';' | b':' | b'=' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'"' | b'|' => Kind::Separator,
            b'\'' => Kind::Apostrophe,
            _ => Kind::Word,
        };
        byte += 1;
    }
    kinds
};

fn is_separator(bytes: &[u8], at: usize) -> bool {
    match KINDS[bytes[at] as usize] {
        Kind::Separator => true,
        Kind::Apostrophe => {
            let letter = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
            !(letter(at.checked_sub(1)) && letter(Some(at + 1)))
        }
        Kind::Word | Kind::Digit | Kind::Space => false,
    }
}

/// Where the word that begins at `at` ends, and whether its looks alone make it a value.
fn word(bytes: &[u8], at: usize) -> (usize, bool) {
    let rest = &bytes[at..];
    if let Some(length) = path(bytes, at).or_else(|| colons(rest)) {
        return (at + length, true);
    }
    let mut end = at;
    let (mut digit, mut odd, mut user) = (false, false, false);
    while let Some(byte) = bytes.get(end) {
        match KINDS[*byte as usize] {
            Kind::Digit => digit = true,
            Kind::Word => match byte {
                b'\\' => odd = true,
                // Of `user@host`, or what is left of `user:password@host`.
                b'@' => user = end > at,
                0xc2 if is_control(bytes, end) => break,
                _ => odd |= user,
            },
            Kind::Space => break,
            Kind::Separator | Kind::Apostrophe if is_separator(bytes, end) => break,
            Kind::Separator | Kind::Apostrophe => {}
        }
        end += 1;
    }
    if let Some(length) = url(rest, end - at) {
        return (at + length, true);
    }
    (end, digit || odd || is_issued(&rest[..end - at]))
}

/// A token by its beginning, or a secret in a tag: `<password>…`.
fn is_issued(word: &[u8]) -> bool {
    if word.len() >= ISSUED_MIN && ISSUED.iter().any(|start| word.starts_with(start.as_bytes())) {
        return true;
    }
    let tag = word.iter().position(|byte| *byte == b'>').filter(|_| word[0] == b'<');
    tag.and_then(|end| str::from_utf8(&word[..end]).ok()).is_some_and(|key| After::key(key).is_some())
}

/// An absolute path: a slash that nothing leads to, and what belongs to names and arguments in addresses.
fn path(bytes: &[u8], at: usize) -> Option<usize> {
    let leads = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/' | b'.');
    let of_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-+@:<>*%?&=~/".contains(byte) || *byte >= 0x80;
    if bytes[at] != b'/' || at > 0 && leads(bytes[at - 1]) {
        return None;
    }
    if !bytes.get(at + 1).is_some_and(|byte| *byte != b'/' && of_path(byte)) {
        return None;
    }
    let length = bytes[at..].iter().take_while(|byte| of_path(byte)).count();
    let told = bytes[at..at + length].iter().rev().take_while(|byte| matches!(byte, b':' | b'.' | b'?')).count();
    Some(length - told)
}

/// Numbers in hexadecimal with colons between: hardware addresses, IPv6, times.
fn colons(rest: &[u8]) -> Option<usize> {
    let run = rest.iter().take(COLONS_MAX).take_while(|byte| byte.is_ascii_hexdigit() || **byte == b':').count();
    let ends = rest.get(run).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let colons = rest[..run].iter().filter(|byte| **byte == b':').count();
    (ends && colons >= 2 && rest[..run].iter().any(u8::is_ascii_digit)).then_some(run)
}

/// `scheme://…`, with its user and password.
fn url(rest: &[u8], scheme: usize) -> Option<usize> {
    if scheme == 0 || !rest[scheme..].starts_with(b"://") {
        return None;
    }
    let ends = |byte: &u8| byte.is_ascii_whitespace() || byte.is_ascii_control() || b"\"'<>)]},|".contains(byte);
    Some(rest.iter().position(ends).unwrap_or(rest.len()))
}

/// An option of a program that a secret follows.
fn is_option(text: &str) -> bool {
    text.starts_with('-') && (USER_OPTIONS.contains(&text) || After::key(text).is_some())
}

/// Controls beyond ASCII, which terminals heed as well: U+0080 to U+009F.
fn is_control(bytes: &[u8], at: usize) -> bool {
    bytes[at] == 0xc2 && bytes.get(at + 1).is_some_and(|byte| (0x80..0xa0).contains(byte))
}

/// Where the quote is that closes what begins at `at`; a quote behind a backslash does not.
fn closing(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at;
    while end < bytes.len() && bytes[end] != quote {
        end += 1 + usize::from(bytes[end] == b'\\');
    }
    end.min(bytes.len())
}

/// Where a secret ends whose quotes are escaped, or are backquotes.
fn escaped(line: &str, at: usize) -> usize {
    let bytes = line.as_bytes();
    let quote = match (bytes[at], bytes.get(at + 1)) {
        (b'`', _) => "`",
        (_, Some(b'"')) => "\\\"",
        (_, Some(b'\'')) => "\\'",
        _ => return run(bytes, at),
    };
    let from = at + quote.len();
    line[from..].find(quote).map_or(line.len(), |length| from + length + quote.len())
}

/// Where what is in brackets ends, which are opened at `at`.
fn group(bytes: &[u8], at: usize) -> usize {
    bytes.len().min(within(bytes, at + 1) + 1)
}

/// Where the bracket is closed that was opened before `at`.
fn within(bytes: &[u8], at: usize) -> usize {
    let mut depth = 1_usize;
    for (end, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return end;
        }
    }
    bytes.len()
}

/// Where the word ends that begins at `at`, whatever is in it but spaces, and what closes may close something else.
fn run(bytes: &[u8], at: usize) -> usize {
    let length = bytes[at..].iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
    let closes = bytes[at..at + length].iter().rev().take_while(|byte| b")]},;\"'".contains(byte)).count();
    at + length - closes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &str) -> String {
        let mut masked = Masked::default();
        masked.read(line);
        shown(&masked.text(line))
    }

    #[test]
    fn what_varies_is_masked() {
        for (line, pattern) in [
            ("session opened for user root by (uid=0)", "session opened for user root by (uid=<*>)"),
            ("connection from 10.0.0.1:5672 at Fri Jul  1 07:57:30 2005", "connection from <*> at <*>"),
            ("connection from 10.0.0.1 () at noon", "connection from <*> (<*>) at noon"),
            ("link 00:1b:44:11:3a:b7 up, fe80::1ff:fe23:4567:890a", "link <*> up, <*>"),
            ("cannot open /var/lib/mail/queue: no space", "cannot open <*>: no space"),
            ("GET redis://user:hunter@example.org/a?b=c failed", "GET <*> failed"),
            ("took 12 ms, read 3.5 MiB of 20 %", "took <*>, read <*> of <*>"),
            ("ids 1, 2, 3 and 0xdeadbeef", "ids <*> and <*>"),
            ("user 'alice' isn't known", "user '<*>' isn't known"),
            ("said \"two words\" to \"bob\"", "said \"two words\" to \"<*>\""),
            ("mail to alice@example.org bounced", "mail to <*> bounced"),
            ("rhost=mail.example.org user=root", "rhost=<*> user=root"),
            ("opened C:\\Users\\x", "opened C:<*>"),
            ("and/or read/write", "and/or read/write"),
            ("\x1b[31merror\x1b[0m: broken", "error: broken"),
            ("{\"level\":\"error\", \"n\":3}", "{\"level\":\"<*>\", \"n\":<*>}"),
            ("", ""),
        ] {
            assert_eq!(masked(line), pattern, "{line}");
        }
    }

    #[test]
    fn secrets_do_not_pass() {
        for line in [
            "password=hunter",
            "db_password = hunter",
            "token: hunter",
            "\"api_key\": \"hunter\"",
            "'secret': 'hunter'",
            "Authorization: Bearer hunter",
            "sent Bearer hunter",
            "X-Auth-Token: hunter",
            "amqp://guest:hunter@broker.example/ refused",
            "--passphrase=hunter",
            "PASSWD=hunter",
            "password=\"hunter wins hunter\"",
            "password='it\\'s hunter' for all",
            "{\"secret\":\"no, hunter\"}",
            "{\\\"secret\\\":\\\"the hunter\\\"}",
            "password=so,hunter;or=hunter|hunter",
            "password=(hunter hunter)",
            "credentials: {user: hunter, key: [hunter]}",
            "password => hunter",
            "password := hunter",
            "password==hunter",
            "password=`the hunter`",
            "connect(user='me', password='the hunter')",
            "set_password(\"the hunter\")",
            "set_token(the hunter)",
            "<password>hunter</password>",
            "DB_PASS=hunter",
            "MYSQL_PWD=hunter",
            "db.pass=hunter",
            "AWS_SECRET_ACCESS_KEY=hunter",
            "accessKey: hunter",
            "API key: hunter",
            "private key = hunter",
            "AccountName=x;AccountKey=hunter;EndpointSuffix=y",
            "Server=db;User Id=me;Password=hunter;Pwd=hunter",
            "curl --token hunter --user me:hunter",
            "--api-key hunter",
            "bearer hunter",
            "Authorization: Token hunter",
            "{\"Authorization\": \"Token the hunter\"}",
            "5\" disk, password=\"the hunter\"",
            "5\" disk, {\"password\":\"the hunter\"}",
            "Cookie: session=hunter; csrf=hunter hunter",
            "sessionid=hunter",
            "me:hunter@db refused",
            "amqp://me:hun,hunter@db/ refused",
            "ghp_hunterhunterhunterhunterhunterhunter",
            "AKIAIOSFODNNHUNTERhunter",
            "eyJhbGciOiJIUzI.hunter.hunter",
            "\x1b[31mpassword\x1b[0m=\x1b[33mhunter\x1b[0m",
            "password=\0hunter",
            "a.very.long.key.of.a.tool.that.names.all.that.leads.to.it.in.its.configuration.password=hunter",
        ] {
            assert!(!masked(line).contains("hunter"), "{line}: {}", masked(line));
        }
    }

    #[test]
    fn what_is_said_around_a_secret_stays() {
        for (line, pattern) in [
            ("login failed, password=hunter at noon", "login failed, password=<*> at noon"),
            ("{\"token\": \"a b\", \"level\": \"high\"}", "{\"token\": \"<*>\", \"level\": \"<*>\"}"),
            ("open(user=root, password=x) failed", "open(user=root, password=<*>) failed"),
            ("(password=) is empty", "(password=) is empty"),
            ("Failed password for root", "Failed password for root"),
            ("Authorization: Bearer x refused", "Authorization: Bearer <*> refused"),
            ("bypass=no reason", "bypass=<*> reason"),
        ] {
            assert_eq!(masked(line), pattern, "{line}");
        }
    }

    #[test]
    fn no_control_gets_into_a_pattern() {
        for c in (0..0x100).filter_map(char::from_u32) {
            let shown = masked(&format!("a{c}b"));
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }

    #[test]
    fn it_is_bounded_and_takes_anything() {
        let mut one = Masked::default();
        one.read(&"word ".repeat(100_000));
        assert_eq!(one.tokens.len(), TOKENS_MAX);
        one.read(&"é".repeat(LINE_MAX));
        assert_eq!(one.tokens.len(), 1);
        for line in
            ["\x1b", "\x1b[", "\0\0", "(", ")", "()", "\"", "''", "://", "/", "//", "=", "a=", ":::", "é/é", "\u{feff}"]
        {
            one.read(line);
            let _ = one.text(line);
        }
        let parts = [
            "pass", "=", "(", ")", "é", "\"", "'", "\\", "`", " ", "[", "}", "\u{85}", "Bearer", "cookie:", "<", ">",
            "@", "-u",
        ];
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let mut line = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                line.push_str(parts[(seed >> 33) as usize % parts.len()]);
            }
            one.read(&line);
            let _ = one.text(&line);
        }
    }
}
