//! A run's frames as a response body: what the run rendered, signs of life in between, and an end whatever happens.

use super::Facade;
use super::delivery::delivered;
use crate::actors::refused::Refused;
use crate::actors::run::{FrameReader, Lost, Outcome, Rendered};
use crate::domain::clock;
use crate::domain::frame::Frame;
use crate::domain::id::{AgentId, PingId, RunId};
use crate::domain::run::{ErrorClass, Run, RunError, StopReason};
use crate::wire::chat::Chunks;
use crate::wire::stream::{self, DONE};
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Silence after which a sign of life is sent.
const PING_AFTER: Duration = Duration::from_secs(20);
/// Silence after which a stream is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30 * 60);
/// The first frame of every run.
const PING: u64 = 1;

/// What a client is to be shown.
pub(super) struct Stream {
    pub(super) facade: Facade,
    pub(super) agent: AgentId,
    pub(super) run: RunId,
    pub(super) reader: FrameReader,
    pub(super) pings: bool,
    /// Frames carry numbers by which a client may resume.
    pub(super) background: bool,
    /// Frames are told in OpenAI's form.
    pub(super) chat: Option<Chunks>,
}

impl Stream {
    /// The stream as a response. A client that goes away drops it, which changes nothing for the run (decisions 21).
    pub(super) fn into_response(self) -> Response {
        let reading = Reading {
            spoke: self.reader.position() > PING,
            stream: self,
            last_frame: Instant::now(),
            ended: false,
            answered: false,
        };
        let body = Body::from_stream(unfold(reading, |mut reading| async move {
            let bytes = reading.next().await?;
            Some((Ok::<Bytes, Infallible>(bytes), reading))
        }));
        (
            [
                (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
                (header::CACHE_CONTROL, "no-cache"),
            ],
            body,
        )
            .into_response()
    }
}

/// How far a client has been shown.
struct Reading {
    stream: Stream,
    last_frame: Instant,
    /// More than the ping was shown.
    spoke: bool,
    /// `[DONE]` was shown.
    ended: bool,
    /// What was shown before it is how the run really ended.
    answered: bool,
}

/// What comes of waiting for frames.
enum News {
    Frames(Vec<Rendered>),
    Silence,
    /// The list is read to its end.
    Closed,
    /// Run or agent died.
    Interrupted,
    /// This client is slower than what the run keeps.
    Behind,
}

impl Reading {
    /// The next bytes for the client; `None` ends the body.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            match self.wait().await {
                News::Frames(frames) => {
                    if let Some(bytes) = self.show(&frames) {
                        return Some(bytes);
                    }
                }
                News::Silence if self.last_frame.elapsed() >= GIVE_UP_AFTER => {
                    return Some(self.given_up("nothing came of its run for 30 minutes"));
                }
                News::Silence if self.stream.pings => return Some(self.ping()),
                News::Silence => (),
                News::Closed if self.was_at_the_end().await => return None,
                News::Closed => return Some(self.recorded_end().await),
                News::Interrupted if self.reattach().await => (),
                News::Interrupted => return Some(self.recorded_end().await),
                News::Behind if self.spoke => {
                    return Some(self.given_up("its frames were not read in time"));
                }
                // It comes late to a run that said much: it gets the whole messages when that has ended.
                News::Behind => {
                    let directory = &self.stream.facade.handles.directory;
                    let ended = timeout(GIVE_UP_AFTER, directory.outcome(self.stream.run));
                    drop(ended.await);
                    return Some(self.recorded_end().await);
                }
            }
        }
        if self.answered {
            delivered(&self.stream.facade, self.stream.agent, self.stream.run);
        }
        None
    }

    async fn wait(&mut self) -> News {
        match timeout(PING_AFTER, self.stream.reader.next()).await {
            Err(_) => News::Silence,
            Ok(Ok(frames)) if frames.is_empty() => News::Closed,
            Ok(Ok(frames)) => News::Frames(frames),
            Ok(Err(Lost::Interrupted)) => News::Interrupted,
            Ok(Err(Lost::Behind)) => News::Behind,
        }
    }

    fn show(&mut self, frames: &[Rendered]) -> Option<Bytes> {
        self.last_frame = Instant::now();
        let shown: Vec<&Bytes> = frames
            .iter()
            .filter(|frame| self.stream.pings || frame.number != PING)
            .map(|frame| &frame.bytes)
            .collect();
        self.ended = shown.last().is_some_and(|last| *last == DONE);
        self.answered = self.ended;
        if let Some(chat) = &mut self.stream.chat {
            let chunks: String = shown.iter().filter_map(|bytes| chat.of(bytes)).collect();
            self.spoke |= !chunks.is_empty();
            return (!chunks.is_empty()).then(|| chunks.into());
        }
        self.spoke |= frames.iter().any(|frame| frame.number != PING);
        match shown.as_slice() {
            [] => None,
            // One token, one frame: nothing to copy.
            [one] => Some(Bytes::clone(one)),
            several => {
                let parts: Vec<&[u8]> = several.iter().map(|bytes| bytes.as_ref()).collect();
                Some(parts.concat().into())
            }
        }
    }

    fn ping(&self) -> Bytes {
        let seq = self
            .stream
            .background
            .then(|| self.stream.reader.position());
        stream::ping(PingId::new(), self.stream.run, clock::now(), seq).into()
    }

    /// Goes on where the run goes on after a crash; false when that does not come in time.
    async fn reattach(&mut self) -> bool {
        let directory = &self.stream.facade.handles.directory;
        let reader = directory
            .resumed(self.stream.run, self.stream.reader.position())
            .await;
        reader.map(|reader| self.stream.reader = reader).is_some()
    }

    /// Whether a client resumed after the very last frame: there is nothing to add to what it has.
    async fn was_at_the_end(&self) -> bool {
        let position = self.stream.reader.position();
        if position == 0 || !self.stream.background {
            return false;
        }
        let directory = &self.stream.facade.handles.directory;
        let Ok(mut reader) = directory.frames(self.stream.run, position - 1).await else {
            return false;
        };
        let frames = reader.next().await;
        frames.is_ok_and(|frames| frames.last().is_some_and(|last| last.bytes == DONE))
    }

    /// The recorded end of a run whose frames do not hold it: one stop reason and one `[DONE]` (decisions 31), and before
    /// them the whole messages, if the client has seen nothing yet.
    async fn recorded_end(&mut self) -> Bytes {
        match self.recorded().await {
            Ok(outcome) => {
                self.answered = true;
                let frames = self.frames_of(&outcome);
                self.last(&frames)
            }
            Err(refused) => {
                tracing::warn!(run = %self.stream.run, %refused, "a stream is closed without the recorded end of its run");
                self.given_up("its run was interrupted")
            }
        }
    }

    /// An end of the stream that is none of its run.
    fn given_up(&mut self, why: &str) -> Bytes {
        let error = RunError {
            class: ErrorClass::StreamIncomplete,
            detail: why.to_owned(),
        };
        self.last(&failure(self.stream.run, StopReason::Error, error))
    }

    /// These frames, and nothing after them.
    fn last(&mut self, frames: &[Frame]) -> Bytes {
        self.ended = true;
        let events = frames.iter().map(|frame| stream::event(frame, None));
        match &mut self.stream.chat {
            Some(chat) => events
                .filter_map(|event| chat.of(event.as_bytes()))
                .collect::<String>()
                .into(),
            None => events.collect::<String>().into(),
        }
    }

    async fn recorded(&self) -> Result<Outcome, Refused> {
        let reads = &self.stream.facade.handles.reads;
        let run = reads.run(self.stream.run).await?;
        if !run.status.is_final() {
            return Err(Refused::Timeout);
        }
        let messages = if self.spoke {
            Vec::new()
        } else {
            reads.run_messages(run.id).await?
        };
        Ok(Outcome {
            turn_loop: reads.turn_loop(run.agent_id).await?,
            run: run.into(),
            messages: messages.into_iter().map(Into::into).collect(),
            tokens: Vec::new(),
            shows_summaries: false,
        })
    }

    fn frames_of(&self, outcome: &Outcome) -> Vec<Frame> {
        let run = &outcome.run;
        let ping = Frame::Ping {
            id: PingId::new(),
            run_id: run.id,
            date: clock::now(),
        };
        let pieces = outcome.pieces().into_iter().map(Frame::Piece);
        let unseen = self.stream.reader.position() < PING;
        let first = (self.stream.pings && unseen).then_some(ping);
        first
            .into_iter()
            .chain(pieces)
            .chain(last_frames(run))
            .collect()
    }
}

fn last_frames(run: &Run) -> Vec<Frame> {
    let stop_reason = run.stop_reason.unwrap_or(StopReason::Error);
    match &run.error {
        Some(error) => failure(run.id, stop_reason, error.clone()),
        None => {
            let usage = Frame::Usage {
                usage: run.usage,
                steps: run.steps,
                context_tokens: run.context_tokens,
            };
            vec![Frame::Stop(stop_reason), usage, Frame::Done]
        }
    }
}

fn failure(run_id: RunId, stop_reason: StopReason, error: RunError) -> Vec<Frame> {
    vec![
        Frame::Stop(stop_reason),
        Frame::Error { run_id, error },
        Frame::Done,
    ]
}
