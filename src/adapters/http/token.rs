//! Bearer tokens of the web configuration: how one is made, and how it is kept. The file has its hash alone, so that who
//! reads the file cannot use it. One round of SHA-256 is enough: nobody guesses 256 random bits, however fast they hash.

use std::fmt::Write as _;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use rustix::rand::{GetRandomFlags, getrandom};

/// What every token begins with, so that one that has got into a log or a repository is found.
const PREFIX: &str = "umt_";
const BYTES: usize = 32;
const KIND: &str = "sha256:";

/// The SHA-256 of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// As the file has it; the error says how it is written.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let wrong = "is not \"sha256:\" and 64 hexadecimal digits; `unitmedic generate token NAME` makes one";
        let digits = text.strip_prefix(KIND).filter(|digits| digits.len() == 64).ok_or(wrong)?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let digit = |c: u8| (c as char).to_digit(16).ok_or(wrong);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Ok(Self(hash))
    }

    /// Takes as long whatever the first difference is.
    pub fn is(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
    }
}

impl std::fmt::Display for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(KIND)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A new token, from the kernel's random numbers.
pub fn fresh() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    let mut filled = 0;
    while filled < BYTES {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    let mut token = String::from(PREFIX);
    write!(token, "{}", URL_SAFE_NO_PAD.encode(bytes)).map_err(io::Error::other)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_hash_and_by_nothing_else() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert!(one.starts_with("umt_") && one.len() == 4 + 43 && one != other, "{one}");
        let hash = TokenHash::of(&one);
        assert!(TokenHash::read(&hash.to_string()).unwrap().is(&hash));
        assert!(!TokenHash::of(&other).is(&hash));
        // Of FIPS 180-2.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenHash::of("abc").to_string(), abc);
        for last in 0..32 {
            let mut near = hash;
            near.0[last] ^= 1;
            assert!(!near.is(&hash), "byte {last}");
        }
    }

    #[test]
    fn hashes_are_written_in_one_way() {
        let digits = "0".repeat(64);
        assert!(TokenHash::read(&format!("sha256:{}", "aB".repeat(32))).is_ok());
        for wrong in ["", "umt_x", &digits, "sha256:", "sha256:00", &format!("sha256:{}", "0g".repeat(32))] {
            assert!(TokenHash::read(wrong).unwrap_err().contains("generate token"), "{wrong}");
        }
        assert!(TokenHash::read(&format!("sha256:{}é", "0".repeat(62))).is_err());
    }
}
