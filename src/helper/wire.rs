//! What daemon and helper say to each other: one line of JSON each way for each order.
//!
//! Numbers tie answers to orders, so that orders under way at once share a connection.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::model::action::{Answer, Order};

/// Where the helper listens.
pub const SOCKET: &str = "/run/unitmedic-helper.sock";
/// Longest line, bytes. An order has a unit name and a few numbers; an answer a sentence or two.
pub const LINE_MAX: usize = 16 << 10;

/// An order, and the number that its answer will have.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub number: u64,
    /// `None`: look at the configuration now. What the daemon has read without errors must be known here, too, should
    /// the files have errors by the next order.
    pub order: Option<Order>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub number: u64,
    pub answer: Answer,
}

/// As one line with its end.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    // Numbers and texts always serialise.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The next line without its end; `None` at the end of the stream. A line that is too long or cut is an error.
pub async fn next_line(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(LINE_MAX as u64 + 1).read_until(b'\n', &mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(std::io::Error::other(format!("a line is cut, or longer than {LINE_MAX} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnitName;
    use crate::model::action::Verb;
    use crate::model::incident::{AttemptId, IncidentId};

    #[tokio::test]
    async fn lines_have_an_end_and_a_limit() {
        let attempt = AttemptId { incident: IncidentId(7), number: 1 };
        let order = Order { attempt, unit: UnitName::new("mail@1.service").unwrap(), verb: Verb::TryRestart };
        let request = Request { number: 3, order: Some(order) };
        let written = line(&request);
        assert_eq!(
            String::from_utf8_lossy(&written),
            "{\"number\":3,\"order\":{\"attempt\":{\"incident\":7,\"number\":1},\"unit\":\"mail@1.service\",\
             \"verb\":{\"verb\":\"try_restart\"}}}\n"
        );
        let mut stream = &[written.clone(), written.clone()].concat()[..];
        for _ in 0..2 {
            let read = next_line(&mut stream).await.unwrap().unwrap();
            assert_eq!(serde_json::from_slice::<Request>(&read).unwrap(), request);
        }
        assert_eq!(next_line(&mut stream).await.unwrap(), None);
        assert!(next_line(&mut &b"cut"[..]).await.is_err());
        assert!(next_line(&mut &vec![b'x'; LINE_MAX + 5][..]).await.is_err());
        let longest = [vec![b'x'; LINE_MAX], vec![b'\n']].concat();
        assert_eq!(next_line(&mut &longest[..]).await.unwrap().map(|line| line.len()), Some(LINE_MAX));
    }

    #[test]
    fn a_name_that_is_no_unit_does_not_parse() {
        for unit in ["../x.service", "a b.service", "x.timer", "*.service", "mail@.service", ""] {
            let text = format!(
                r#"{{"number":1,"order":{{"attempt":{{"incident":1,"number":1}},"unit":"{unit}","verb":{{"verb":"stop"}}}}}}"#
            );
            assert!(serde_json::from_str::<Request>(&text).is_err(), "{unit}");
        }
    }
}
