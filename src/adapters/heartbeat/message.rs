//! The words of a datagram, in the format of sd_notify(3): one assignment on each line. Pure.

/// Longest part of a datagram that is read, bytes. sd_notify's own messages are a line or two; systemd takes 4 KiB, too
/// (NOTIFY_BUFFER_MAX).
pub const MESSAGE_MAX: usize = 4096;

const BEAT: &[u8] = b"WATCHDOG=1";

/// Whether a sign of life is among the lines. Everything else in them, the name of a unit above all, is ignored.
/// The last line of a datagram that was `cut` may be the beginning of another word.
pub fn is_beat(message: &[u8], cut: bool) -> bool {
    let whole = match (cut, message.iter().rposition(|byte| *byte == b'\n')) {
        (false, _) => message,
        (true, Some(end)) => &message[..end],
        (true, None) => return false,
    };
    whole.split(|byte| *byte == b'\n').any(|line| line == BEAT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_a_line_of_its_own() {
        for beat in [
            &b"WATCHDOG=1"[..],
            b"WATCHDOG=1\n",
            b"READY=1\nWATCHDOG=1\nSTATUS=x",
            b"\n\nWATCHDOG=1",
            b"\xff\nWATCHDOG=1",
        ] {
            assert!(is_beat(beat, false), "{}", beat.escape_ascii());
        }
        for other in [
            &b""[..],
            b"WATCHDOG=trigger",
            b"WATCHDOG=12",
            b"WATCHDOG=1\r\n",
            b"WATCHDOG=1\0",
            b" WATCHDOG=1",
            b"XWATCHDOG=1",
            b"STATUS=WATCHDOG=1",
            b"watchdog=1",
            b"WATCHDOG_USEC=1",
            b"UNIT=mail.service",
        ] {
            assert!(!is_beat(other, false), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn the_last_line_of_a_cut_datagram_is_no_word() {
        assert!(is_beat(b"WATCHDOG=1\nSTATUS=lo", true));
        assert!(!is_beat(b"STATUS=lo\nWATCHDOG=1", true), "it may go on");
        assert!(!is_beat(b"WATCHDOG=1", true));
    }
}
