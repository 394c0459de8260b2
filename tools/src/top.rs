//! `uringmq top`: a node, live, in a terminal.
//!
//! Reads top-down: [`run`] -> `top` (look, draw, wait for the next look or a key) -> `sample` (what is
//! asked of the node) -> `screen` (what is drawn of it; pure).
//! Invariants: the terminal is given back as it was, however this ends; a node that is away is said
//! to be so, and asked again at the next look.

mod sample;
mod screen;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use clap::Args;
use config::value::Time;
use net::client::Client;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::connect::{Server, block_on};
use crate::exit::after_help;
use crate::failure::Failure;
use sample::Sample;
use screen::{Scroll, View};

/// Looks whose rates are kept for the graph.
const HISTORY: usize = 240;
/// Rows that a page key moves.
const PAGE: usize = 5;

/// Options of `top`.
///
/// q, Esc or Ctrl-C end it; the arrow keys, PageUp, PageDown, Home and End move in one of the two
/// tables, Tab goes to the other.
#[derive(Debug, Args)]
#[command(after_help = after_help(
    "  uringmq top\n  uringmq top --every 500ms --server 127.0.0.1:9441"
))]
pub(crate) struct Options {
    /// Look this often.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    every: Time,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub(crate) fn run(options: Options) -> ExitCode {
    block_on(async move {
        if !stdout().is_terminal() {
            let instead = "top draws on a terminal; for a file or a pipe: uringmq stats --watch";
            return Err(Failure::Usage(instead.to_owned()));
        }
        let client = options.server.connect().await?;
        let mut terminal = ratatui::try_init().map_err(Failure::io("setting up the terminal"))?;
        let ended = top(&client, &options, &mut terminal).await;
        let restored = ratatui::try_restore().map_err(Failure::io("restoring the terminal"));
        ended.and(restored)
    })
}

async fn top(
    client: &Client,
    options: &Options,
    terminal: &mut DefaultTerminal,
) -> Result<(), Failure> {
    let mut keys = keys();
    let title = format!("{} at {}", client.node().name, options.server.server);
    let mut view = View::new(title);
    let mut before: Option<Sample> = None;
    let mut next = Instant::now();
    loop {
        match Sample::take(client).await {
            Ok(now) => {
                if let Some(before) = &before {
                    view.show(now.since(before), HISTORY);
                }
                view.lags.clone_from(&now.lags);
                view.trouble = None;
                before = Some(now);
            }
            Err(error) => view.trouble = Some(error.to_string()),
        }
        next = (next + options.every.0).max(Instant::now());
        loop {
            let drawn = terminal.draw(|frame| screen::draw(frame, &mut view));
            drawn.map_err(Failure::io("drawing"))?;
            tokio::select! {
                () = sleep_until(next) => break,
                key = keys.recv() => match key {
                    Some(Key::Redraw) => {}
                    Some(Key::Turn) => view.turn(),
                    Some(Key::Scroll(scroll)) => view.scroll(scroll),
                    Some(Key::Quit) | None => return Ok(()),
                }
            }
        }
    }
}

/// What a key, or the terminal, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Redraw,
    /// To the other table.
    Turn,
    Scroll(Scroll),
}

/// Keys, read by a thread of its own that ends with the process.
fn keys() -> UnboundedReceiver<Key> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let sent = meaning(&event).map(|key| sender.send(key));
            if sent.is_some_and(|sent| sent.is_err()) {
                return;
            }
        }
    });
    receiver
}

fn meaning(event: &Event) -> Option<Key> {
    match event {
        Event::Resize(..) => Some(Key::Redraw),
        Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
            KeyCode::Tab | KeyCode::BackTab => Some(Key::Turn),
            KeyCode::Up | KeyCode::Char('k') => Some(Key::Scroll(Scroll::Up(1))),
            KeyCode::Down | KeyCode::Char('j') => Some(Key::Scroll(Scroll::Down(1))),
            KeyCode::PageUp => Some(Key::Scroll(Scroll::Up(PAGE))),
            KeyCode::PageDown => Some(Key::Scroll(Scroll::Down(PAGE))),
            KeyCode::Home => Some(Key::Scroll(Scroll::Up(usize::MAX))),
            KeyCode::End => Some(Key::Scroll(Scroll::Down(usize::MAX))),
            _ => None,
        },
        _ => None,
    }
}
