//! Unit names as systemd writes them into object paths, and back. Pure.

use super::bus::{JOB_PREFIX, UNIT_PREFIX};

/// Object path of a unit, loaded or not.
pub fn unit_path(unit: &str) -> String {
    let mut path = String::with_capacity(UNIT_PREFIX.len() + unit.len() + 16);
    path.push_str(UNIT_PREFIX);
    escape_into(&mut path, unit);
    path
}

/// Object path of a job.
pub fn job_path(job: u32) -> String {
    format!("{JOB_PREFIX}{job}")
}

/// Name of the unit at an object path; `None` where it is not a unit's path.
pub fn unit_of_path(path: &str) -> Option<String> {
    unescape(path.strip_prefix(UNIT_PREFIX)?)
}

/// ASCII letters and digits stand for themselves (a digit not in the first place), everything else is `_` and two
/// hexadecimal digits.
fn escape_into(path: &mut String, label: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (place, byte) in label.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (place > 0 && byte.is_ascii_digit()) {
            path.push(byte as char);
        } else {
            path.push('_');
            path.push(HEX[usize::from(byte >> 4)] as char);
            path.push(HEX[usize::from(byte & 15)] as char);
        }
    }
}

fn unescape(label: &str) -> Option<String> {
    let mut name = Vec::with_capacity(label.len());
    let mut bytes = label.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'_' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                name.push((high * 16 + low) as u8);
            }
            b if b.is_ascii_alphanumeric() => name.push(b),
            _ => return None,
        }
    }
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (unit, label) in [
            ("mail.service", "mail_2eservice"),
            ("mail@1.service", "mail_401_2eservice"),
            ("1st.service", "_31st_2eservice"),
            ("dev-disk\\x2d1.service", "dev_2ddisk_5cx2d1_2eservice"),
            ("a_b:c.service", "a_5fb_3ac_2eservice"),
        ] {
            assert_eq!(unit_path(unit), format!("{UNIT_PREFIX}{label}"));
            assert_eq!(unit_of_path(&unit_path(unit)).as_deref(), Some(unit));
        }
    }

    #[test]
    fn what_is_no_unit_path() {
        for path in [
            "/org/freedesktop/systemd1",
            "/org/freedesktop/systemd1/job/7",
            "/org/freedesktop/systemd1/unit/",
            "/org/freedesktop/systemd1/unit/a_2",
            "/org/freedesktop/systemd1/unit/a_zz",
            "/org/freedesktop/systemd1/unit/a/b",
            "/org/freedesktop/systemd1/unit/_ff",
        ] {
            assert_eq!(unit_of_path(path), None, "{path}");
        }
    }
}
