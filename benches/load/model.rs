//! A model server that costs next to nothing: it answers at once, whatever it is asked. Directives in the request:
//! `[[tokens:N]]` so many tokens at once, `[[slow:N,MS]]` so many with a pause before each, `[[counted:1]]` one, and the
//! request is said to have cost a token for each four of its bytes.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;

/// Tells this program to be the model server.
pub(crate) const ARGUMENT: &str = "be-the-model";

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// Serves for ever; the address is the first line on standard output.
pub(crate) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connection.set_nodelay(true).unwrap();
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(connection), service_fn(answer));
        // A client that closes its connection (a cancel does) is no failure of this server.
        tokio::spawn(async move { drop(serving.await) });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let asked = request.into_body().collect().await?.to_bytes();
    let asked = String::from_utf8_lossy(&asked);
    let (count, pause_ms) = directive(&asked);
    if asked.contains("[[counted:") {
        let usage = format!(
            r#"{{"prompt_tokens":{0},"completion_tokens":1,"total_tokens":{0}}}"#,
            asked.len() / 4
        );
        return Ok(response("application/json", whole(1, &usage)));
    }
    let (kind, body) = if asked.contains("\"stream\":true") {
        ("text/event-stream", tokens(count, pause_ms))
    } else {
        ("application/json", whole(count, USAGE))
    };
    Ok(response(kind, body))
}

fn response(
    kind: &str,
    body: BoxStream<'static, Result<Frame<Bytes>, Infallible>>,
) -> Response<Body> {
    let response = Response::builder().header(CONTENT_TYPE, kind);
    response.body(StreamBody::new(body)).unwrap()
}

/// Tokens and the pause before each, as the last directive says.
fn directive(asked: &str) -> (usize, u64) {
    let last = asked
        .rsplit("[[")
        .next()
        .and_then(|rest| rest.split("]]").next());
    let (name, numbers) = last
        .and_then(|text| text.split_once(':'))
        .unwrap_or_default();
    let mut numbers = numbers.split(',').map(|number| number.parse().unwrap_or(0));
    let (count, pause_ms) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match name {
        "tokens" | "slow" => (usize::try_from(count).unwrap(), pause_ms),
        _ => (1, 0),
    }
}

const USAGE: &str = r#"{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11}"#;

fn whole(count: usize, usage: &str) -> BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
    let text = "yes ".repeat(count);
    let json = format!(
        r#"{{"id":"c","object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
    );
    stream::once(async { Ok(Frame::data(Bytes::from(json))) }).boxed()
}

fn tokens(count: usize, pause_ms: u64) -> BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
    let event = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let token = Bytes::from(event("{\"content\":\"yes \"}", "null"));
    let end = event("{}", "\"stop\"")
        + &format!("data: {{\"choices\":[],\"usage\":{USAGE}}}\n\ndata: [DONE]\n\n");
    let tokens = stream::iter(0..count).then(move |_| {
        let token = token.clone();
        async move {
            if pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            Ok(Frame::data(token))
        }
    });
    tokens
        .chain(stream::once(async { Ok(Frame::data(Bytes::from(end))) }))
        .boxed()
}
