//! A run's frames as a response body: what the run rendered, and signs of life in between.

use super::Facade;
use crate::actors::run::FrameReader;
use crate::domain::clock;
use crate::domain::frame::Frame;
use crate::domain::id::{AgentId, PingId, RunId};
use crate::domain::piece::{Reading as Shown, pieces};
use crate::domain::run::{End, RunError, StopReason};
use crate::wire::stream;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// Silence after which a sign of life is sent.
const PING_AFTER: Duration = Duration::from_secs(20);
/// Silence after which a stream is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30 * 60);

/// What a stream shows.
pub(super) struct Stream {
    pub(super) facade: Facade,
    pub(super) agent: AgentId,
    pub(super) run: RunId,
    pub(super) reader: FrameReader,
    pub(super) pings: bool,
    /// Frames carry numbers by which a client may resume.
    pub(super) background: bool,
}

/// Where a stream is.
struct Reading {
    stream: Stream,
    last_frame: Instant,
    ended: bool,
}

impl Stream {
    pub(super) fn into_response(self) -> Response {
        let reading = Reading {
            stream: self,
            last_frame: Instant::now(),
            ended: false,
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

impl Reading {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            let waited = tokio::time::timeout(PING_AFTER, self.stream.reader.next()).await;
            match waited {
                Err(_) if self.last_frame.elapsed() >= GIVE_UP_AFTER => self.ended = true,
                Err(_) if self.stream.pings => return Some(self.ping()),
                Err(_) => (),
                // A run whose first send was not streamed has no frames.
                Ok(Ok(frames)) if frames.is_empty() && self.stream.reader.position() == 0 => {
                    return Some(self.recorded(true).await);
                }
                Ok(Ok(frames)) if frames.is_empty() => {
                    self.ended = true;
                    self.delivered().await;
                }
                Ok(Ok(frames)) => {
                    self.last_frame = Instant::now();
                    // The first frame of every run is its ping.
                    let shown = frames
                        .into_iter()
                        .filter(|frame| self.stream.pings || frame.number != 1);
                    let bytes: Vec<u8> = shown.flat_map(|frame| frame.bytes).collect();
                    if !bytes.is_empty() {
                        return Some(bytes.into());
                    }
                }
                Ok(Err(_)) => match self
                    .stream
                    .facade
                    .handles
                    .directory
                    .resumed(self.stream.run, self.stream.reader.position())
                    .await
                {
                    Some(reader) => self.stream.reader = reader,
                    None => return Some(self.recorded(false).await),
                },
            }
        }
        None
    }

    fn ping(&self) -> Bytes {
        let seq = self
            .stream
            .background
            .then(|| self.stream.reader.position());
        stream::ping(
            &PingId::new().to_string(),
            self.stream.run,
            clock::now(),
            seq,
        )
        .into()
    }

    /// The recorded end of a run whose frames are gone: still one stop reason and one `[DONE]` (decisions 31). `whole`:
    /// with what it wrote, as whole messages.
    async fn recorded(&mut self, whole: bool) -> Bytes {
        self.ended = true;
        let outcome = self
            .stream
            .facade
            .handles
            .directory
            .outcome(self.stream.run)
            .await
            .ok();
        let run = outcome.as_ref().map(|outcome| &outcome.run);
        let reason = run
            .and_then(|run| run.stop_reason)
            .unwrap_or(StopReason::Error);
        let error = match run {
            Some(run) => run.error.clone(),
            None => End::internal("the run was interrupted").error,
        };
        let written = outcome.iter().filter(|_| whole).flat_map(|outcome| {
            let reading = Shown::native(&outcome.run.view);
            let pieces = outcome
                .output()
                .flat_map(move |message| pieces(message, &reading));
            pieces.map(|piece| stream::event(&Frame::Piece(piece), None))
        });
        let mut text: String = written.collect();
        text.push_str(&stream::event(&Frame::Stop(reason), None));
        let error = error.map(|error: RunError| Frame::Error {
            run_id: self.stream.run,
            error,
        });
        text.extend(error.map(|frame| stream::event(&frame, None)));
        text.push_str(&stream::event(&Frame::Done, None));
        text.into()
    }

    /// A client that read to the end does not send the request again.
    async fn delivered(&self) {
        if let Ok(agent) = self
            .stream
            .facade
            .handles
            .directory
            .agent(self.stream.agent)
            .await
        {
            agent.delivered(self.stream.run);
        }
    }
}
