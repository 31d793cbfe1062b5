//! `greenroom chat`: one person, one agent, a terminal or a pipe.
//!
//! The agent's words go to standard output, everything else (thoughts, tool calls, notices) quietly to standard error, so
//! `echo question | greenroom chat` gives the answer and nothing more.

mod agent;
mod event;
mod transcript;

use super::client::Client;
use super::connect::{self, Session};
use super::screen::{aside, note, print};
use super::{ChatArguments, CliError, Server, cannot, complain};
use crate::config::Sources;
use agent::Agent;
use event::Event;
use futures_util::{Stream, StreamExt};
use serde_json::json;
use std::io::{self, IsTerminal};
use std::pin::pin;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use transcript::{Piece, Transcript};

pub(super) async fn run(
    arguments: ChatArguments,
    server: Server,
    sources: &Sources,
) -> Result<(), CliError> {
    let session = connect::or_start(server, sources).await?;
    let talked = talk(&session, &arguments).await;
    session.close().await;
    talked
}

async fn talk(session: &Session, arguments: &ChatArguments) -> Result<(), CliError> {
    let client = &session.client;
    let agent = agent::find_or_make(client, &arguments.agent, arguments.model.as_deref()).await?;
    let interactive = io::stdin().is_terminal();
    if interactive {
        note(&format!(
            "Talking to {} ({}, {}).",
            agent.name, agent.id, agent.model
        ));
        note("Ctrl-C cancels an answer, twice leaves; Ctrl-D leaves.");
    }
    let interrupts = signal(SignalKind::interrupt()).map_err(cannot("listen for Ctrl-C"))?;
    Chat {
        client,
        agent,
        interactive,
        lines: stdin_lines(),
        interrupts,
    }
    .go_on()
    .await
}

struct Chat<'a> {
    client: &'a Client,
    agent: Agent,
    /// A person types. Without one, the first failure ends the chat.
    interactive: bool,
    lines: mpsc::Receiver<io::Result<String>>,
    interrupts: Signal,
}

/// What came of a message.
#[derive(PartialEq)]
enum Turn {
    Ended,
    /// The person has left and does not wait for it.
    Left,
}

impl Chat<'_> {
    async fn go_on(mut self) -> Result<(), CliError> {
        while let Some(line) = self.next_line().await {
            let turn = match line {
                Ok(text) if text.trim().is_empty() => continue,
                Ok(text) => self.say(&text).await,
                Err(error) => Err(cannot("read the message")(error)),
            };
            match turn {
                Ok(Turn::Ended) => (),
                Ok(Turn::Left) => break,
                Err(error) if self.interactive => complain(&error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next message; `None` when the person leaves: at the end of the input, or with Ctrl-C twice.
    async fn next_line(&mut self) -> Option<io::Result<String>> {
        let mut interrupted = false;
        loop {
            if self.interactive {
                aside("> ");
            }
            tokio::select! {
                line = self.lines.recv() => return line,
                _ = self.interrupts.recv() => {
                    if interrupted || !self.interactive {
                        return None;
                    }
                    interrupted = true;
                    note("\n(Ctrl-C again leaves)");
                }
            }
        }
    }

    /// Sends one message and shows what comes of it.
    async fn say(&mut self, text: &str) -> Result<Turn, CliError> {
        let path = format!("/v1/agents/{}/messages/stream", self.agent.id);
        let body = json!({"messages": [{"role": "user", "content": text}], "stream_tokens": true, "include_pings": true});
        tokio::select! {
            opened = self.client.stream(&path, &body) => {
                let frames = opened?;
                self.follow(frames).await
            }
            _ = self.interrupts.recv() => {
                note("\n(not waiting; the message may still be answered)");
                Ok(Turn::Ended)
            }
        }
    }

    async fn follow(
        &mut self,
        frames: impl Stream<Item = Result<String, CliError>>,
    ) -> Result<Turn, CliError> {
        let mut frames = pin!(frames);
        let mut transcript = Transcript::default();
        let mut cancel = Cancel::default();
        let mut failure = None;
        loop {
            tokio::select! {
                frame = frames.next() => match frame.transpose() {
                    Ok(Some(data)) => {
                        let event = Event::parse(&data);
                        cancel.learn(&event);
                        failure = failure.or(event.failure());
                        show(transcript.add(event))?;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        show(transcript.end())?;
                        return Err(error);
                    }
                },
                _ = self.interrupts.recv() => {
                    if cancel.wanted {
                        return Ok(Turn::Left);
                    }
                    cancel.wanted = true;
                }
            }
            cancel.send_once(self.client, &self.agent).await?;
        }
        show(transcript.end())?;
        match failure {
            Some(detail) => Err(CliError::RunFailed(detail)),
            None => Ok(Turn::Ended),
        }
    }
}

/// A cancel names its run, so that it never stops somebody else's; the first ping tells which run this is.
#[derive(Default)]
struct Cancel {
    wanted: bool,
    sent: bool,
    run: Option<String>,
}

impl Cancel {
    fn learn(&mut self, event: &Event) {
        if let Event::Ping { run: Some(run) } = event {
            self.run = Some(run.clone());
        }
    }

    async fn send_once(&mut self, client: &Client, agent: &Agent) -> Result<(), CliError> {
        let Some(run) = self.run.as_ref().filter(|_| self.wanted && !self.sent) else {
            return Ok(());
        };
        self.sent = true;
        match client
            .post(
                &format!("/v1/agents/{}/messages/cancel", agent.id),
                &json!({"run_ids": [run]}),
            )
            .await
        {
            // It ended before the cancel came: the stream says how.
            Err(CliError::Refused { status: 409, .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }
}

fn show(pieces: Vec<Piece>) -> Result<(), CliError> {
    pieces.into_iter().try_for_each(|piece| match piece {
        Piece::Said(text) => print(&text),
        Piece::Aside(text) => {
            aside(&text);
            Ok(())
        }
    })
}

/// Lines from standard input, read by a thread that nobody waits for: a read from a terminal cannot be taken back.
fn stdin_lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
