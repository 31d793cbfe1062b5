//! Agents as models of OpenAI's chat completions: the same runs, told in that form.

use crate::world::{World, events};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/chat/completions";

fn talk(agent: &str, text: &str) -> Value {
    json!({"model": agent, "messages": [{"role": "user", "content": text}]})
}

fn streamed(agent: &str, text: &str) -> Value {
    let mut body = talk(agent, text);
    body["stream"] = json!(true);
    body
}

/// The whole text of a stream.
async fn stream(world: &World, body: &Value) -> String {
    let request = world.http.post(format!("{}{PATH}", world.base)).json(body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    answer.text().await.unwrap()
}

/// The chunks of a stream that ends well.
fn chunks(text: &str) -> Vec<Value> {
    let mut events = events(text);
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{text}");
    let chunks: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk", "{chunk}");
        assert_eq!(chunk["choices"].as_array().unwrap().len(), 1, "{chunk}");
    }
    chunks
}

fn said(chunks: &[Value]) -> String {
    chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect()
}

/// The newest run of an agent.
async fn newest(world: &World, agent: &str) -> Value {
    world.get(&format!("/v1/runs/?agent_id={agent}")).await[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_has_openais_keys() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let answer = world.post(PATH, talk(&agent, "hi openai")).await;
    let run = newest(&world, &agent).await;
    let id = run["id"].as_str().unwrap();
    assert_eq!(answer["id"], format!("chatcmpl-{id}"));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], agent.as_str());
    assert!(answer["created"].is_i64(), "{answer}");
    let message = json!({"role": "assistant", "content": "echo: hi openai", "refusal": null});
    assert_eq!(
        answer["choices"],
        json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}])
    );
    let usage = &answer["usage"];
    let tokens = ["prompt_tokens", "completion_tokens", "total_tokens"].map(|key| &usage[key]);
    assert_eq!(tokens, [11, 7, 18]);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 3);
    assert_eq!(run["metadata"]["run_type"], "openai_chat_completions");
    assert_eq!(
        (&run["status"], &run["background"]),
        (&json!("completed"), &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_chunks_of_text_an_empty_one_and_the_end() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let call = "[[tool:memory_insert {\"label\":\"human\",\"new_string\":\"x\"}]] one two three";
    let text = stream(&world, &streamed(&agent, call)).await;
    let run = newest(&world, &agent).await;
    let chunks = chunks(&text);
    assert!(chunks.len() > 3, "token by token: {text}");
    assert_eq!(said(&chunks), "echo: one two three");
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let id = format!("chatcmpl-{}", run["id"].as_str().unwrap());
    for chunk in &chunks {
        assert_eq!((&chunk["id"], &chunk["model"]), (&json!(id), &json!(agent)));
        assert_eq!(chunk["created"], chunks[0]["created"]);
        assert!(chunk.get("usage").is_none(), "{chunk}");
    }
    let (last, before) = chunks.split_last().unwrap();
    let empty = json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"}]);
    assert_eq!(last["choices"], empty);
    assert!(
        before
            .iter()
            .all(|chunk| chunk["choices"][0]["finish_reason"].is_null())
    );
    world.assert_paired(&agent).await;
    let mut asked = streamed(&agent, "again");
    asked["stream_options"] = json!({"include_usage": true});
    let text = stream(&world, &asked).await;
    assert_eq!(
        self::chunks(&text).last().unwrap()["usage"]["total_tokens"],
        18
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_the_last_user_message_and_remembers_the_others() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    world.post(PATH, talk(&agent, "one")).await;
    let body = json!({"model": agent, "temperature": 0.5, "messages": [
        {"role": "system", "content": "ignored"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "echo: one"},
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
    ]});
    let answer = world.post(PATH, body).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "echo: two");
    let history = world.history(&agent).await;
    let told: Vec<&Value> = history[1..]
        .iter()
        .map(|message| &message["content"])
        .collect();
    assert_eq!(told, ["one", "echo: one", "two", "echo: two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused_before_there_is_a_run() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let user = json!([{"role": "user", "content": "x"}]);
    let audio = json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]);
    let cases = [
        (
            json!({"model": "agent-00000000-0000-4000-8000-000000000001", "messages": user}),
            404,
            "not found",
        ),
        (
            json!({"model": "gpt-4o", "messages": user}),
            404,
            "not found",
        ),
        (
            json!({"model": agent, "messages": []}),
            400,
            "INVALID_ARGUMENT: ",
        ),
        (
            json!({"model": agent, "messages": [{"role": "system", "content": "x"}]}),
            400,
            "INVALID_ARGUMENT: ",
        ),
        (
            json!({"model": agent, "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": ""}]}),
            400,
            "messages.1: ",
        ),
        (
            json!({"model": agent, "messages": audio}),
            400,
            "input_audio",
        ),
        (
            json!({"model": agent, "messages": user, "n": 2}),
            400,
            "n: ",
        ),
        (
            json!({"messages": user}),
            422,
            "'missing', 'loc': ('body', 'model')",
        ),
        (
            json!({"model": agent}),
            422,
            "'missing', 'loc': ('body', 'messages')",
        ),
        (
            json!({"model": agent, "messages": [{"role": "user"}]}),
            422,
            "'missing', 'loc': ('body', 'messages', 0, 'content')",
        ),
        (
            json!({"model": agent, "messages": [{"role": "robot"}]}),
            422,
            "'literal_error', 'loc': ('body', 'messages', 0, 'role')",
        ),
        (
            json!({"model": agent, "messages": user, "stream": 7}),
            422,
            "'bool_type', 'loc': ('body', 'stream')",
        ),
    ];
    for (mut body, status, part) in cases {
        for stream in [false, true] {
            if body.get("stream").is_none_or(Value::is_boolean) {
                body["stream"] = json!(stream);
            }
            let (got, answer) = world.call(Method::POST, PATH, Some(body.clone())).await;
            assert_eq!(got, status, "{body}: {answer}");
            let detail = answer["detail"].as_str().unwrap();
            assert!(detail.contains(part), "{body}: {detail}");
        }
    }
    let runs = world.get(&format!("/v1/runs/?agent_id={agent}")).await;
    assert_eq!(runs, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_is_an_error_in_both_forms() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let said = "[[error:401]]";
    let (status, answer) = world
        .call(Method::POST, PATH, Some(talk(&agent, said)))
        .await;
    assert_eq!(
        (status.as_u16(), &answer["error"]["type"]),
        (401, &json!("llm_authentication"))
    );
    assert_eq!(newest(&world, &agent).await["status"], "failed");
    let text = stream(&world, &streamed(&agent, said)).await;
    let (failure, end) = text.split_once("\n\n").unwrap();
    assert_eq!(end, "data: [DONE]\n\n");
    let data = failure.strip_prefix("event: error\ndata: ").unwrap();
    let error = &serde_json::from_str::<Value>(data).unwrap()["error"];
    assert_eq!(error["type"], "llm_authentication");
    assert!(
        error["message"].is_string() && error["detail"].is_string(),
        "{text}"
    );
    assert_eq!(newest(&world, &agent).await["status"], "failed");
    let answer = world.post(PATH, talk(&agent, "fine")).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "echo: fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_21_a_chat_client_that_leaves_changes_no_outcome() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let body = streamed(&agent, "[[slow:20,20]] whole");
    let request = world.http.post(format!("{}{PATH}", world.base)).json(&body);
    let answer = request.send().await.unwrap();
    drop(answer.bytes_stream().next().await);
    let run = newest(&world, &agent).await;
    let ended = world.ended(run["id"].as_str().unwrap()).await;
    assert_eq!(ended["status"], "completed");
    let history = world.history(&agent).await;
    let last = history.last().unwrap()["content"].as_str().unwrap();
    assert!(last.ends_with("echo: whole"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_25_a_chat_with_a_key_runs_once_and_is_told_again() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let send = async |body: Value| {
        let request = world
            .http
            .post(format!("{}{PATH}", world.base))
            .header("idempotency-key", "k1")
            .json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let body = streamed(&agent, "once");
    let (_, first) = send(body.clone()).await;
    let (_, again) = send(body).await;
    let (first, again) = (chunks(&first), chunks(&again));
    assert_eq!(
        (said(&first), said(&again)),
        ("echo: once".to_owned(), "echo: once".to_owned())
    );
    assert_eq!(first[0]["id"], again[0]["id"]);
    assert_eq!(first[0]["created"], again[0]["created"]);
    assert_eq!(send(streamed(&agent, "twice")).await.0, 422);
    let runs = world.get(&format!("/v1/runs/?agent_id={agent}")).await;
    assert_eq!(runs.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_31_an_agent_that_dies_under_a_chat_still_ends_it_once() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let request = world
        .http
        .post(format!("{}{PATH}", world.base))
        .json(&streamed(&agent, "[[silent:400]] survives"));
    let answer = tokio::spawn(async { request.send().await.unwrap().text().await.unwrap() });
    world
        .until("the model call", || async { world.model.requests() == 1 })
        .await;
    world.panic_at("agent:1").await;
    let change = json!({"description": "x"});
    let path = format!("/v1/agents/{agent}");
    let _ = world.call(Method::PATCH, &path, Some(change)).await;
    let text = answer.await.unwrap();
    let node = world.node(&format!("agent:{agent}")).await.unwrap();
    assert_eq!(node["restarts"], 1, "{node}");
    let chunks = chunks(&text);
    assert_eq!(said(&chunks), "echo: survives", "{text}");
    let finished = text.matches("\"finish_reason\":\"stop\"").count();
    assert_eq!(finished, 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_voice_endpoint_is_gone_whatever_it_is_sent() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    for (agent, body) in [
        (agent.as_str(), json!({"model": "x", "messages": []})),
        ("agent-unknown", json!(null)),
    ] {
        let path = format!("/v1/voice-beta/{agent}/chat/completions");
        let (status, answer) = world.call(Method::POST, &path, Some(body)).await;
        assert_eq!(status, 410);
        assert!(answer["detail"].is_string(), "{answer}");
    }
}
