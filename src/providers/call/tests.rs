use super::*;
use crate::domain::message::Part;
use crate::domain::model::Finish;
use crate::providers::config::Timeouts;
use crate::providers::openai::ChatCompletions;
use crate::providers::testing::{KEY, Reply, Server, endpoint, read_request, request};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

fn model(server: &Server) -> Remote {
    model_with(server, Timeouts::default())
}

fn model_with(server: &Server, timeouts: Timeouts) -> Remote {
    model_at(&server.base_url, timeouts)
}

fn model_at(base_url: &str, timeouts: Timeouts) -> Remote {
    let endpoint = Endpoint {
        timeouts,
        ..endpoint(base_url)
    };
    Remote {
        successor: None,
        endpoint: Arc::new(endpoint),
        protocol: &ChatCompletions,
    }
}

/// Asks for a streamed or a whole answer; gives the result and how many deltas came.
async fn ask(model: &Remote, stream: bool) -> (Result<Answer, ModelError>, usize) {
    let mut request = request("gpt-4o-mini", "hello");
    request.stream = stream;
    let mut deltas = 0;
    let result = model.answer(&request, &mut |_| deltas += 1).await;
    (result, deltas)
}

async fn ask_once(replies: Vec<Reply>, stream: bool) -> (Result<Answer, ModelError>, usize) {
    ask(&model(&Server::scripted(replies).await), stream).await
}

fn event(delta: serde_json::Value) -> String {
    format!(
        "data: {}\n\n",
        json!({"choices": [{"index": 0, "delta": delta}]})
    )
}

fn whole(text: &str) -> Reply {
    Reply::json(
        200,
        &json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).to_string(),
    )
}

const END: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

fn class(result: (Result<Answer, ModelError>, usize)) -> Class {
    result.0.unwrap_err().class
}

#[tokio::test]
async fn a_stream_and_a_whole_answer_are_stored_alike() {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7});
    let call = json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let stream = ": warming up\r\n\r\n".to_owned()
        + &event(json!({"role": "assistant", "content": "Hel"}))
        + &event(json!({"content": "lo", "tool_calls": [call]}))
            .replace("data: ", "data:")
            .replace('\n', "\r\n")
        + "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n"
        + &format!("data: {}\n\n", json!({"choices": [], "usage": usage}))
        + "data: [DONE]\n\n";
    let message = json!({"content": "Hello", "tool_calls": [call]});
    let document =
        json!({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage});
    let (streamed, deltas) = ask_once(vec![Reply::stream(&stream)], true).await;
    let (blocked, _) = ask_once(vec![Reply::json(200, &document.to_string())], false).await;
    let (mut streamed, mut blocked) = (streamed.unwrap(), blocked.unwrap());
    assert_eq!(deltas, 4);
    assert!(
        streamed
            .trace
            .request
            .contains("\"stream_options\":{\"include_usage\":true}")
    );
    assert!(blocked.trace.request.contains("\"stream\":false"));
    (streamed.trace.request, blocked.trace.request) = Default::default();
    assert_eq!(streamed, blocked);
    assert_eq!(
        (streamed.finish, streamed.usage.total_tokens),
        (Finish::ToolCalls, 7)
    );
}

#[tokio::test]
async fn the_request_carries_the_key_and_goes_to_chat_completions() {
    let server = Server::scripted(vec![whole("hi")]).await;
    ask(&model(&server), false).await.0.unwrap();
    let seen = server.seen.lock().unwrap()[0].to_lowercase();
    assert!(seen.starts_with("post /v1/chat/completions "));
    assert!(seen.contains(&format!("authorization: bearer {KEY}")));
}

#[tokio::test]
async fn passing_failures_are_tried_again_up_to_three_times() {
    for status in [408, 409, 429, 500, 503] {
        let refusal = || Reply::with(status, "retry-after: 0\r\n", "text/plain", "busy");
        let server = Server::scripted(vec![refusal(), refusal(), refusal(), whole("hi")]).await;
        ask(&model(&server), false).await.0.unwrap();
        assert_eq!(server.requests(), 4, "{status}");
    }
    let server = Server::scripted(vec![Reply::with(
        500,
        "retry-after-ms: 1\r\n",
        "text/plain",
        "broken",
    )])
    .await;
    assert_eq!(class(ask(&model(&server), true).await), Class::Server);
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn lasting_failures_are_not_tried_again() {
    let quota = r#"{"error": {"message": "pay first", "code": "insufficient_quota"}}"#;
    for (reply, expected) in [
        (
            Reply::json(400, r#"{"error": {"message": "bad"}}"#),
            Class::BadRequest,
        ),
        (
            Reply::json(400, r#"{"error": {"code": "context_length_exceeded"}}"#),
            Class::ContextOverflow,
        ),
        (Reply::json(401, "{}"), Class::Authentication),
        (Reply::json(404, "{}"), Class::NotFound),
        (Reply::json(429, quota), Class::Credits),
        (
            Reply::with(429, "retry-after: 3600\r\n", "text/plain", "later"),
            Class::RateLimit,
        ),
    ] {
        let server = Server::scripted(vec![reply]).await;
        assert_eq!(class(ask(&model(&server), true).await), expected);
        assert_eq!(server.requests(), 1, "{expected:?}");
    }
}

#[tokio::test]
async fn a_failure_names_the_provider_and_what_it_said_but_no_key() {
    let body =
        json!({"error": {"message": format!("Incorrect API key provided: {KEY}")}}).to_string();
    let detail = ask_once(vec![Reply::json(401, &body)], false)
        .await
        .0
        .unwrap_err()
        .detail;
    assert_eq!(
        detail,
        "the provider openai answered 401: Incorrect API key provided: [key]"
    );
}

#[tokio::test]
async fn rubbish_is_an_error_of_its_kind() {
    let html = "<html><title>Proxy error</title></html>";
    let half = event(json!({"content": "a"})) + "data: {\"choices\":[{\"del";
    let in_stream = r#"data: {"error": {"message": "no", "type": "invalid_request_error"}}"#;
    let cases = [
        (Reply::with(200, "", "text/html", html), Class::Unreadable),
        (Reply::stream("data: rubbish\n\n"), Class::Unreadable),
        (
            Reply::stream(&format!("{in_stream}\n\n")),
            Class::BadRequest,
        ),
        (Reply::stream(&half), Class::Connection),
        (
            Reply::stream(&event(json!({"content": "a"}))),
            Class::Connection,
        ),
        (
            Reply::stream(&format!("{END}data: [DONE]\n\n")),
            Class::EmptyAnswer,
        ),
        (whole(""), Class::EmptyAnswer),
        (Reply::json(200, "[1, 2"), Class::Unreadable),
    ];
    for (reply, expected) in cases {
        assert_eq!(
            class(ask_once(vec![reply.clone()], true).await),
            expected,
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn an_early_end_is_an_answer_only_if_the_model_had_finished() {
    let text = event(json!({"content": "hi"}));
    for end in [END, "data: [DONE]", END.trim_end()] {
        let answer = ask_once(vec![Reply::stream(&(text.clone() + end))], true)
            .await
            .0
            .unwrap();
        assert_eq!(answer.parts, [Part::of_text("hi")]);
    }
    let retried = vec![Reply::stream(""), Reply::stream(&(text + END))];
    ask_once(retried, true)
        .await
        .0
        .expect("nothing was shown yet, so it is tried again");
}

#[tokio::test]
async fn nothing_is_tried_again_after_the_first_delta() {
    let server = Server::scripted(vec![Reply::stream(&event(json!({"content": "a"})))]).await;
    let (result, deltas) = ask(&model(&server), true).await;
    assert_eq!(
        (result.unwrap_err().class, deltas, server.requests()),
        (Class::Connection, 1, 1)
    );
}

#[tokio::test]
async fn silence_is_given_up_at_each_stage() {
    let quick = |change: fn(&mut Timeouts)| {
        let mut timeouts = Timeouts::default();
        change(&mut timeouts);
        timeouts
    };
    let started = Reply::stream_head() + &event(json!({"content": "a"}));
    for (reply, timeouts) in [
        (
            Reply::Stall(String::new()),
            quick(|timeouts| timeouts.first_byte_ms = 50),
        ),
        (
            Reply::Stall(started.clone()),
            quick(|timeouts| timeouts.idle_ms = 50),
        ),
        (
            Reply::Stall(started),
            quick(|timeouts| timeouts.call_ms = 200),
        ),
    ] {
        let server = Server::scripted(vec![reply]).await;
        let (result, _) = ask(&model_with(&server, timeouts), true).await;
        assert_eq!(
            (result.unwrap_err().class, server.requests()),
            (Class::Timeout, 1)
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_has_the_whole_call_to_come() {
    let server = Server::scripted(vec![Reply::Stall(String::new())]).await;
    let timeouts = Timeouts {
        first_byte_ms: 10,
        call_ms: 200,
        ..Timeouts::default()
    };
    let begun = Instant::now();
    assert_eq!(
        class(ask(&model_with(&server, timeouts), false).await),
        Class::Timeout
    );
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_finished_stream_leaves_its_connection_to_the_next_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let one_connection = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            read_request(&mut connection).await;
            let body = event(json!({"content": "hi"})) + END + "data: [DONE]\n\n";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let reply = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            connection.write_all(reply.as_bytes()).await.unwrap();
        }
    };
    let model = model_at(&base_url, Timeouts::default());
    let two_calls = async {
        for _ in 0..2 {
            ask(&model, true).await.0.unwrap();
        }
    };
    let both = async { tokio::join!(one_connection, two_calls) };
    timeout(Duration::from_secs(5), both)
        .await
        .expect("the second call needs no second connection");
}

#[tokio::test]
async fn dropping_the_call_closes_the_connection() {
    let mut server = Server::scripted(vec![Reply::Stall(
        Reply::stream_head() + &event(json!({"content": "a"})),
    )])
    .await;
    let model = model(&server);
    let request = request("gpt-4o-mini", "hello");
    let (tell, mut first) = tokio::sync::mpsc::unbounded_channel();
    let mut push = move |delta| drop(tell.send(delta));
    tokio::select! {
        _ = model.answer(&request, &mut push) => panic!("the server never ends"),
        delta = first.recv() => assert!(delta.is_some()),
    }
    timeout(Duration::from_secs(5), server.hung_up.recv())
        .await
        .expect("closed in time");
}

#[tokio::test]
async fn a_token_of_five_megabytes_is_read_and_one_of_nine_is_not() {
    let token = |megabytes: usize| event(json!({"content": "x".repeat(megabytes * 1024 * 1024)}));
    let answer = ask_once(vec![Reply::stream(&(token(5) + END))], true)
        .await
        .0
        .unwrap();
    assert_eq!(answer.parts[0].text().map(str::len), Some(5 * 1024 * 1024));
    assert_eq!(
        class(ask_once(vec![Reply::stream(&(token(9) + END))], true).await),
        Class::Unreadable
    );
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood_all_the_same() {
    assert_eq!(
        ask_once(vec![whole("hi")], true).await.0.unwrap().parts,
        [Part::of_text("hi")]
    );
}

#[tokio::test]
async fn an_unreachable_provider_is_a_connection_failure() {
    let timeouts = Timeouts {
        call_ms: 700,
        ..Timeouts::default()
    };
    let model = model_at("http://127.0.0.1:1/v1", timeouts);
    let error = ask(&model, true).await.0.unwrap_err();
    assert_eq!(error.class, Class::Connection, "{error}");
}

#[test]
fn pauses_grow_to_their_bound_and_servers_may_set_their_own() {
    for (tries, bound) in [(0, 500), (1, 1_000), (2, 2_000), (9, 8_000)] {
        assert!(pause(tries) <= Duration::from_millis(bound));
    }
    let wait = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        retry_after(&headers)
    };
    assert_eq!(
        wait("retry-after", "1.5"),
        Some(Duration::from_millis(1_500))
    );
    assert_eq!(
        wait("retry-after-ms", "20"),
        Some(Duration::from_millis(20))
    );
    assert_eq!(
        wait("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
        Some(Duration::ZERO)
    );
    assert_eq!(wait("retry-after", "soon"), None);
}

#[tokio::test]
async fn the_providers_id_of_a_call_is_kept() {
    let body = json!({"choices": [{"message": {"content": "hi"}}]}).to_string();
    let reply = Reply::with(200, "X-Request-Id: req_1\r\n", "application/json", &body);
    let (answer, _) = ask_once(vec![reply, whole("hi")], false).await;
    assert_eq!(answer.unwrap().request_id.as_deref(), Some("req_1"));
    let (answer, _) = ask_once(vec![whole("hi")], false).await;
    assert_eq!(answer.unwrap().request_id, None);
}
