//! Whether an answer reached its client in full: a repeat of that request is then a new one (decisions 34).

use super::Facade;
use crate::domain::id::{AgentId, RunId};
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Tells the agent, if it is awake. One that went to sleep or died since would have to be started for a note whose absence
/// only means that a repeat is answered with this same run.
pub(super) fn delivered(facade: &Facade, agent: AgentId, run: RunId) {
    if let Some(agent) = facade.handles.directory.live(agent) {
        agent.delivered(run);
    }
}

/// The response, which calls `then` when the last byte of its body was taken by the connection.
pub(super) fn when_delivered(
    response: Response,
    then: impl FnOnce() + Send + Unpin + 'static,
) -> Response {
    response.map(|body| {
        Body::new(Watched {
            body,
            then: Some(then),
        })
    })
}

struct Watched<F> {
    body: Body,
    then: Option<F>,
}

impl<F: FnOnce() + Unpin> HttpBody for Watched<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let failed = matches!(frame, Some(Err(_)));
        let complete = self.body.is_end_stream() && !failed;
        if let Some(then) = self.then.take_if(|_| complete) {
            then();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Json;
    use axum::response::IntoResponse;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn it_is_told_once_and_only_when_the_body_was_taken() {
        let told = Arc::new(AtomicU32::new(0));
        let watch = || {
            let told = told.clone();
            let tell = move || {
                told.fetch_add(1, Ordering::Relaxed);
            };
            when_delivered(Json("hello").into_response(), tell)
        };
        drop(watch());
        assert_eq!(told.load(Ordering::Relaxed), 0);
        let response = watch();
        assert_eq!(
            response.body().size_hint().exact(),
            Some(7),
            "the length is still known"
        );
        let bytes = axum::body::to_bytes(response.into_body(), 100)
            .await
            .unwrap();
        assert_eq!(
            (bytes.as_ref(), told.load(Ordering::Relaxed)),
            (b"\"hello\"".as_slice(), 1)
        );
    }
}
