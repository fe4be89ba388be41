//! `status --watch`: on a terminal a view that is redrawn in place, elsewhere one line per event.

use std::io::{self, IsTerminal, Read, Write};
use std::time::Duration;

use rustix::fd::AsFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::super::exit;
use super::super::session::{self, Session};
use super::super::terminal::{SingleKeys, size};
use super::{StatusArgs, is_named, render, select};
use crate::adapters::http::client::{ClientError, Events};
use crate::model::Fact;
use crate::model::status::Status;
use crate::views::look::{Look, Tone};
use crate::views::story::Story;

/// Redrawn at least this often, since ages and usage change without an event.
const REDRAW_EVERY: Duration = Duration::from_secs(1);
/// And at most this often, however many events come.
const REDRAW_PAUSE: Duration = Duration::from_millis(100);
/// Between two tries to reach a daemon that has gone.
const RETRY_EVERY: Duration = Duration::from_secs(2);

pub fn run(args: &StatusArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let on_terminal = io::stdout().is_terminal();
    session.wait(async {
        // A daemon that is not there at the start is an error; one that goes away later is waited for.
        let events = session.client.events().await?;
        let status = select(session.client.status().await?, &args.names)?;
        if on_terminal {
            Screen::open(args, session, out, events)?.live(status).await
        } else {
            append(args, session, out, events, status).await
        }
    })
}

/// The status once, then every event as a line.
async fn append(
    args: &StatusArgs,
    session: &Session,
    out: &mut dyn Write,
    mut events: Events,
    status: Status,
) -> anyhow::Result<u8> {
    session::lines(&render(&status, &args.names, &session.look), out)?;
    let story = Story::new(session.look.clone());
    while let Some(fact) = events.next().await? {
        if let Some(line) = story.tell(&fact).filter(|_| concerns(&fact, &args.names)) {
            writeln!(out, "{line}")?;
            out.flush()?;
        }
    }
    anyhow::bail!("the daemon has ended the stream of events")
}

/// Facts of the host or the daemon concern everybody.
fn concerns(fact: &Fact, names: &[String]) -> bool {
    names.is_empty()
        || fact.worker.as_ref().is_none_or(|worker| is_named(worker.as_str(), names))
        || fact.unit.as_ref().is_some_and(|unit| is_named(unit.as_str(), names))
}

/// The terminal's other screen, left as it was found however we end.
struct Screen<'a> {
    args: &'a StatusArgs,
    session: &'a Session,
    out: &'a mut dyn Write,
    look: Look,
    /// `None`: the daemon has gone, and we try again.
    events: Option<Events>,
    keys: Option<Keys>,
}

enum Woken {
    Time,
    Event,
    StreamEnded,
    Resized,
    Quit,
}

impl<'a> Screen<'a> {
    fn open(
        args: &'a StatusArgs,
        session: &'a Session,
        out: &'a mut dyn Write,
        events: Events,
    ) -> anyhow::Result<Self> {
        let keys = Keys::new();
        // The other screen, without a cursor.
        write!(out, "\x1b[?1049h\x1b[?25l")?;
        Ok(Self { args, session, out, look: session.look.clone(), events: Some(events), keys })
    }

    async fn live(mut self, status: Status) -> anyhow::Result<u8> {
        let mut resized = signal(SignalKind::window_change())?;
        let mut ends =
            [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
        let mut shown = status;
        let mut trouble = None;
        self.draw(&shown, None)?;
        let mut drawn = Instant::now();
        let mut due = drawn + REDRAW_EVERY;
        loop {
            match self.wait(due, &mut resized, &mut ends).await {
                Woken::Quit => return Ok(exit::OK),
                Woken::Event => due = due.min(drawn + REDRAW_PAUSE),
                Woken::StreamEnded => self.events = None,
                Woken::Resized => self.draw(&shown, trouble.as_ref())?,
                Woken::Time => {
                    trouble = self.refresh(&mut shown).await.err();
                    self.draw(&shown, trouble.as_ref())?;
                    drawn = Instant::now();
                    due = drawn + if trouble.is_some() { RETRY_EVERY } else { REDRAW_EVERY };
                }
            }
        }
    }

    async fn refresh(&mut self, shown: &mut Status) -> anyhow::Result<()> {
        if self.events.is_none() {
            self.events = Some(self.session.client.events().await?);
        }
        *shown = select(self.session.client.status().await?, &self.args.names)?;
        Ok(())
    }

    async fn wait(&mut self, due: Instant, resized: &mut Signal, ends: &mut [Signal; 3]) -> Woken {
        let [interrupt, terminate, hangup] = ends;
        tokio::select! {
            _ = interrupt.recv() => Woken::Quit,
            _ = terminate.recv() => Woken::Quit,
            _ = hangup.recv() => Woken::Quit,
            () = quit_key(self.keys.as_mut()) => Woken::Quit,
            _ = resized.recv() => Woken::Resized,
            () = sleep_until(due) => Woken::Time,
            event = next_event(self.events.as_mut()) => match event {
                Ok(Some(_)) => Woken::Event,
                Ok(None) | Err(_) => Woken::StreamEnded,
            },
        }
    }

    fn draw(&mut self, status: &Status, trouble: Option<&anyhow::Error>) -> anyhow::Result<()> {
        let (width, height) = size(io::stdout().as_fd()).unwrap_or((80, 24));
        self.look.width = Some(width);
        let mut lines = render(status, &self.args.names, &self.look);
        if let Some(trouble) = trouble {
            let seen = self.look.clock(status.at.wall);
            lines.insert(0, self.look.paint(Tone::Bad, &format!("as of {seen}; trying again: {trouble:#}")));
        }
        let room = height.saturating_sub(1).max(1);
        let hidden = lines.len().saturating_sub(room);
        lines.truncate(room);
        let foot = match (hidden, self.keys.is_some()) {
            (0, true) => "q quits".to_string(),
            (0, false) => "Ctrl-C quits".to_string(),
            (hidden, _) => format!("{hidden} more lines do not fit; name workers to see less; q quits"),
        };
        // Lines are cut by the terminal, not wrapped, while we draw; each is cleared to its end, and what is
        // below as well, so that nothing flickers and nothing is left over.
        let mut frame = String::from("\x1b[?7l\x1b[H");
        for line in &lines {
            frame.push_str(line);
            frame.push_str("\x1b[K\r\n");
        }
        frame.push_str("\x1b[J");
        frame.push_str(&format!("\x1b[{height};1H{}\x1b[K\x1b[?7h", self.look.dim(&foot)));
        self.out.write_all(frame.as_bytes())?;
        Ok(self.out.flush()?)
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // The terminal may be gone: nothing to restore then.
        let _ = write!(self.out, "\x1b[?7h\x1b[?25h\x1b[?1049l");
        let _ = self.out.flush();
    }
}

async fn next_event(events: Option<&mut Events>) -> Result<Option<Fact>, ClientError> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// Single keys from the terminal.
struct Keys {
    _mode: SingleKeys,
    pressed: mpsc::Receiver<u8>,
}

impl Keys {
    /// `None`: standard input is not a terminal.
    fn new() -> Option<Self> {
        let mode = SingleKeys::new()?;
        let (sender, pressed) = mpsc::channel(16);
        // A read from a terminal cannot be waited for safely beside others; the thread ends with the process.
        std::thread::spawn(move || {
            for key in io::stdin().lock().bytes().map_while(Result::ok) {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        });
        Some(Self { _mode: mode, pressed })
    }
}

/// Returns when a key that ends the view is pressed (q, or Ctrl-D); other keys are eaten.
async fn quit_key(keys: Option<&mut Keys>) {
    if let Some(keys) = keys {
        while let Some(key) = keys.pressed.recv().await {
            if matches!(key, b'q' | b'Q' | 4) {
                return;
            }
        }
    }
    std::future::pending().await
}
