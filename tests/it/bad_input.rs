//! Bad input gets the contract's error, changes nothing and leaves the agent usable; never a 500 for what the caller did.

use crate::world::{World, events};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_request_gets_its_error_and_changes_nothing() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let fields = json!({"agent_type": "memgpt_v2_agent"});
    let heartbeat = world.agent_with(fields).await;
    let messages = format!("/v1/agents/{agent}/messages");
    let unknown = "agent-00000000-0000-4000-8000-000000000001";
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(Method, String, Option<String>, u16)> = vec![
        (Method::GET, "/v1/agents/bad".to_owned(), None, 422),
        (Method::GET, format!("/v1/agents/{unknown}"), None, 404),
        (Method::GET, "/v1/nothing/here".to_owned(), None, 404),
        (
            Method::PUT,
            "/v1/agents/".to_owned(),
            Some("{}".to_owned()),
            405,
        ),
        (Method::GET, "/v1/agents/?limit=many".to_owned(), None, 422),
        (
            Method::GET,
            "/v1/agents/?order=sideways".to_owned(),
            None,
            422,
        ),
        (
            Method::GET,
            format!("/v1/agents/{agent}?include=agent.nothing"),
            None,
            422,
        ),
        (Method::GET, "/v1/runs/?limit=0".to_owned(), None, 422),
        (Method::GET, "/v1/runs/bad".to_owned(), None, 400),
        (
            Method::GET,
            "/v1/runs/run-00000000-0000-4000-8000-000000000001".to_owned(),
            None,
            404,
        ),
        (
            Method::GET,
            format!("{messages}?after=message-00000000-0000-4000-8000-000000000001"),
            None,
            404,
        ),
        (
            Method::POST,
            "/v1/agents/".to_owned(),
            Some(r#"{"model": "openai/scripted", "name": "a/b"}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            "/v1/agents/".to_owned(),
            Some(r#"{"agent_type": "robot"}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            "/v1/agents/".to_owned(),
            Some(r#"{"model": "nothing"}"#.to_owned()),
            400,
        ),
        (
            Method::POST,
            "/v1/agents/".to_owned(),
            Some(r#"{"model": "nobody/nothing"}"#.to_owned()),
            404,
        ),
        (
            Method::POST,
            "/v1/agents/".to_owned(),
            Some(r#"{"model": "openai/scripted", "tools": ["no_such_tool"]}"#.to_owned()),
            400,
        ),
        (
            Method::PATCH,
            format!("/v1/agents/{agent}"),
            Some(r#"{"max_tokens": 100, "model_settings": {"provider_type": "anthropic", "thinking": {"type": "enabled", "budget_tokens": 101}}}"#.to_owned()),
            400,
        ),
        (
            Method::POST,
            format!("/v1/conversations/?agent_id={agent}"),
            Some(r#"{"model_settings": {"provider_type": "anthropic", "max_output_tokens": 100, "thinking": {"budget_tokens": 101}}}"#.to_owned()),
            400,
        ),
        (
            Method::POST,
            format!("/v1/agents/{heartbeat}/messages"),
            Some(r#"{"input": "x", "client_tools": [{"name": "ping"}]}"#.to_owned()),
            400,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"input": "x", "system": "a", "override_system": "b"}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            "/v1/agents/".to_owned(),
            Some(r#"{"memory_blocks": [{"value": "no label"}]}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            "/v1/blocks/".to_owned(),
            Some(r#"{"label": 7, "value": "x"}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            messages.clone(),
            Some("{not json".to_owned()),
            422,
        ),
        (Method::POST, messages.clone(), Some(String::new()), 422),
        (Method::POST, messages.clone(), Some(deep), 422),
        (Method::POST, messages.clone(), Some("{}".to_owned()), 422),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"messages": []}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"messages": [], "input": "x"}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"messages": "hello"}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"messages": [{"role": "robot", "content": "x"}]}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"messages": [{"role": "user", "content": ""}]}"#.to_owned()),
            400,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"input": "x", "stream_tokens": true}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"input": "x", "background": true}"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"input": "x", "override_model": "nobody/nothing"}"#.to_owned()),
            404,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"messages": [{"type": "approval", "approve": true}]}"#.to_owned()),
            400,
        ),
        (
            Method::POST,
            format!("{messages}/async"),
            Some(r#"{"input": "x", "callback_url": "http://10.0.0.1/x"}"#.to_owned()),
            400,
        ),
        (
            Method::POST,
            format!("{messages}/async"),
            Some(r#"{"input": "x", "callback_url": "ftp://example.com/x"}"#.to_owned()),
            400,
        ),
        (
            Method::POST,
            format!("/v1/agents/{unknown}/messages"),
            Some(r#"{"input": "x"}"#.to_owned()),
            404,
        ),
        (
            Method::PATCH,
            format!("/v1/agents/{agent}"),
            Some(r#"{"message_ids": ["message-00000000-0000-4000-8000-000000000001"]}"#.to_owned()),
            400,
        ),
        (
            Method::POST,
            "/v1/agents/".to_owned(),
            Some(
                r#"{"model": "openai/scripted", "tool_rules": [{"tool_name": "a", "type": "max_count_per_step", "max_count_limit": 0}]}"#
                    .to_owned(),
            ),
            422,
        ),
        (
            Method::POST,
            "/v1/agents/".to_owned(),
            Some(
                r#"{"model": "openai/scripted", "tool_rules": [{"tool_name": "a", "type": "run_first"}, {"tool_name": "b", "type": "run_first"}]}"#
                    .to_owned(),
            ),
            400,
        ),
        (
            Method::PATCH,
            format!("/v1/agents/{agent}"),
            Some(
                r#"{"tool_rules": [{"tool_name": "a", "type": "max_count_per_step", "max_count_limit": 0}]}"#
                    .to_owned(),
            ),
            422,
        ),
        (
            Method::PATCH,
            format!("/v1/agents/{agent}"),
            Some(
                r#"{"tool_rules": [{"tool_name": "a", "type": "run_first"}, {"tool_name": "b", "type": "run_first"}]}"#
                    .to_owned(),
            ),
            400,
        ),
        (
            Method::PATCH,
            format!("/v1/agents/{agent}/core-memory/blocks/nothing"),
            Some(r#"{"value": "x"}"#.to_owned()),
            404,
        ),
        (
            Method::PATCH,
            format!("/v1/agents/{agent}/reset-messages"),
            None,
            422,
        ),
        (
            Method::POST,
            "/v1/archives/".to_owned(),
            Some("{}".to_owned()),
            501,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"[[["message","user","hi"]]]"#.to_owned()),
            422,
        ),
        (
            Method::POST,
            messages.clone(),
            Some(r#"{"messages": [["message","user","hi"]]}"#.to_owned()),
            422,
        ),
        (
            Method::GET,
            format!("{messages}?include_return_message_types=gossip"),
            None,
            422,
        ),
        (
            Method::POST,
            "/v1/blocks/".to_owned(),
            Some(r#"{"label": "x"}"#.to_owned()),
            422,
        ),
    ];
    let before = world.history(&agent).await.len();
    for (method, path, body, expected) in cases {
        let mut request = world
            .http
            .request(method.clone(), format!("{}{path}", world.base));
        if let Some(body) = &body {
            request = request.body(body.clone());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let shown: String = body.unwrap_or_default().chars().take(80).collect();
        assert_eq!(status, expected, "{method} {path} {shown}: {text}");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert!(error["detail"].is_string(), "{method} {path}: {text}");
    }
    assert_eq!(world.history(&agent).await.len(), before);
    assert_eq!(
        world.send(&agent, "fine").await["messages"][0]["content"],
        "echo: fine"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_field_is_told_by_type_place_and_value() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let messages = format!("/v1/agents/{agent}/messages");
    let long = "x".repeat(201);
    let chat = json!({"model": &agent, "messages": [{"role": "user", "content": "x"}], "n": 0});
    let chat = chat.to_string();
    let bodies = [
        (
            "/v1/agents/",
            r#"{"name": 7}"#,
            "string_type",
            "('body', 'name')",
            "'input': 7",
        ),
        (
            "/v1/agents/",
            r#"{"tags": "x"}"#,
            "list_type",
            "('body', 'tags')",
            "'input': 'x'",
        ),
        (
            "/v1/agents/",
            r#"{"hidden": "perhaps"}"#,
            "bool_parsing",
            "('body', 'hidden')",
            "'input': 'perhaps'",
        ),
        (
            "/v1/agents/",
            r#"{"metadata": []}"#,
            "dict_type",
            "('body', 'metadata')",
            "'input': []",
        ),
        (
            "/v1/agents/",
            r#"{"context_window_limit": "big"}"#,
            "int_parsing",
            "('body', 'context_window_limit')",
            "'input': 'big'",
        ),
        (
            "/v1/agents/",
            r#"{"agent_type": "robot"}"#,
            "enum",
            "('body', 'agent_type')",
            "'input': 'robot'",
        ),
        (
            "/v1/agents/",
            r#"{"memory_blocks": [{"value": "x"}]}"#,
            "missing",
            "('body', 'memory_blocks', 0, 'label')",
            "'input': {'value': 'x'}",
        ),
        (
            "/v1/agents/",
            r#"{"memory_blocks": [7]}"#,
            "model_attributes_type",
            "('body', 'memory_blocks', 0)",
            "'input': 7",
        ),
        (
            "/v1/agents/",
            r#"{"tool_rules": [{"type": "run_last", "tool_name": "a"}]}"#,
            "union_tag_invalid",
            "('body', 'tool_rules', 0)",
            "'input': {'type': 'run_last'",
        ),
        (
            "/v1/agents/",
            r#"{"tool_rules": [{"type": "max_count_per_step", "tool_name": "a", "max_count_limit": "b"}]}"#,
            "int_parsing",
            "('body', 'tool_rules', 0, 'max_count_limit')",
            "'input': 'b'",
        ),
        (
            &messages,
            r#"{"messages": "hello"}"#,
            "list_type",
            "('body', 'messages')",
            "'input': 'hello'",
        ),
        (
            &messages,
            r#"{"messages": [{"role": "robot", "content": "x"}]}"#,
            "literal_error",
            "('body', 'messages', 0, 'role')",
            "'input': 'robot'",
        ),
        (
            &messages,
            r#"{"messages": [{"role": "user"}]}"#,
            "missing",
            "('body', 'messages', 0, 'content')",
            "'msg': 'Field required'",
        ),
        (
            &messages,
            r#"{"input": "x", "streaming": 7}"#,
            "bool_type",
            "('body', 'streaming')",
            "'input': 7",
        ),
        (
            &messages,
            r#"{"input": "x", "include_return_message_types": ["gossip"]}"#,
            "enum",
            "('body', 'include_return_message_types', 0)",
            "'input': 'gossip'",
        ),
        (
            &messages,
            "{not json",
            "json_invalid",
            "('body', 1)",
            "'input': {}",
        ),
        (&messages, "", "missing", "('body',)", "'input': None"),
        (
            &messages,
            "[]",
            "model_attributes_type",
            "('body',)",
            "'input': []",
        ),
        (
            "/v1/greenroom/faults",
            r#"{"panics": "x"}"#,
            "extra_forbidden",
            "('body', 'panics')",
            "'input': 'x'",
        ),
    ];
    let bodies = bodies.into_iter().chain([(
        "/v1/chat/completions",
        chat.as_str(),
        "greater_than",
        "('body', 'n')",
        "'input': 0",
    )]);
    let queries = [
        (
            "/v1/runs/?order_by=name".to_owned(),
            "literal_error",
            "('query', 'order_by')",
            "'input': 'name'",
        ),
        (
            "/v1/steps/?order_by=name".to_owned(),
            "literal_error",
            "('query', 'order_by')",
            "'input': 'name'",
        ),
        (
            "/v1/tags/?order_by=created_at".to_owned(),
            "literal_error",
            "('query', 'order_by')",
            "Input should be 'name'",
        ),
        (
            "/v1/agents/?order_by=name".to_owned(),
            "literal_error",
            "('query', 'order_by')",
            "'updated_at'",
        ),
        (
            format!("{messages}?order_by=name"),
            "literal_error",
            "('query', 'order_by')",
            "'input': 'name'",
        ),
        (
            "/v1/runs/?order=up".to_owned(),
            "literal_error",
            "('query', 'order')",
            "Input should be 'asc' or 'desc'",
        ),
        (
            "/v1/runs/?limit=1001".to_owned(),
            "less_than_equal",
            "('query', 'limit')",
            "'ctx': {'le': 1000}",
        ),
        (
            "/v1/runs/?limit=0".to_owned(),
            "greater_than_equal",
            "('query', 'limit')",
            "'ctx': {'ge': 1}",
        ),
        (
            "/v1/runs/?limit=many".to_owned(),
            "int_parsing",
            "('query', 'limit')",
            "'input': 'many'",
        ),
        (
            "/v1/runs/?background=perhaps".to_owned(),
            "bool_parsing",
            "('query', 'background')",
            "'input': 'perhaps'",
        ),
        (
            "/v1/runs/?statuses=created&statuses=lost".to_owned(),
            "enum",
            "('query', 'statuses', 1)",
            "'input': 'lost'",
        ),
        (
            "/v1/runs/?stop_reason=boredom".to_owned(),
            "enum",
            "('query', 'stop_reason')",
            "'input': 'boredom'",
        ),
        (
            "/v1/runs/?agent_ids=agent-1".to_owned(),
            "string_pattern_mismatch",
            "('query', 'agent_ids', 0)",
            "'input': 'agent-1'",
        ),
        (
            "/v1/runs/%FF".to_owned(),
            "string_unicode",
            "('path', 'run_id')",
            "'input': None",
        ),
        (
            "/v1/conversations/%FF".to_owned(),
            "string_unicode",
            "('path', 'conversation_id')",
            "'input': None",
        ),
        (
            format!("/v1/agents/{agent}/core-memory/blocks/%FF"),
            "string_unicode",
            "('path', 'block_label')",
            "'input': None",
        ),
        (
            "/v1/agents/?include=agent.nothing".to_owned(),
            "literal_error",
            "('query', 'include')",
            "'agent.tools'",
        ),
        (
            format!("{messages}?include_return_message_types=gossip"),
            "enum",
            "('query', 'include_return_message_types', 0)",
            "'input': 'gossip'",
        ),
        (
            format!("/v1/blocks/?description_search={long}"),
            "string_too_long",
            "('query', 'description_search')",
            "'ctx': {'max_length': 200}",
        ),
        (
            "/v1/blocks/?value_search=".to_owned(),
            "string_too_short",
            "('query', 'value_search')",
            "'ctx': {'min_length': 1}",
        ),
        (
            "/v1/blocks/?label=a%20b".to_owned(),
            "string_pattern_mismatch",
            "('query', 'label')",
            "'input': 'a b'",
        ),
    ];
    let bodies = bodies.map(|(path, body, kind, place, part)| {
        (Method::POST, path.to_owned(), body, kind, place, part)
    });
    let queries =
        queries.map(|(path, kind, place, part)| (Method::GET, path, "", kind, place, part));
    for (method, path, body, kind, place, part) in bodies.into_iter().chain(queries) {
        let request = world
            .http
            .request(method, format!("{}{path}", world.base))
            .body(body.to_owned());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 422, "{path} {body}");
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error["trace_id"], "", "{path} {body}: {error}");
        let detail = error["detail"].as_str().unwrap();
        let start = format!("[{{'type': '{kind}', 'loc': {place}, 'msg': ");
        assert!(
            detail.starts_with(&start) && detail.contains(part) && detail.ends_with("}]"),
            "{path} {body}: {detail}"
        );
    }
    for fits in ["/v1/runs/?order_by=created_at", "/v1/tags/?order_by=name"] {
        world.get(fits).await;
    }
    world
        .get(&format!("/v1/blocks/?description_search={}", &long[1..]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_or_no_text_is_refused() {
    let world = World::with(&[("GREENROOM__SERVER__MAX_BODY_MIB", "1")]).await;
    let agent = world.agent(&[]).await;
    let url = format!("{}/v1/agents/{agent}/messages", world.base);
    let large = world
        .http
        .post(&url)
        .json(&json!({"input": "x".repeat(2 << 20)}))
        .send()
        .await
        .unwrap();
    assert_eq!(large.status(), 413);
    let binary = world
        .http
        .post(&url)
        .body(b"{\"input\": \"\xff\xfe\"}".to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(binary.status(), 422);
    assert_eq!(
        world.send(&agent, "fine").await["messages"][0]["content"],
        "echo: fine"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_misbehaves_costs_one_run() {
    let world = World::with(&[
        ("GREENROOM__PROVIDERS__TIMEOUTS__IDLE_MS", "2000"),
        ("GREENROOM__PROVIDERS__TIMEOUTS__FIRST_BYTE_MS", "2000"),
    ])
    .await;
    let agent = world.agent(&[]).await;
    let cases = [
        ("[[error:401]]", 401, "llm_authentication", "llm_api_error"),
        ("[[error:402]]", 402, "llm_error", "llm_api_error"),
        ("[[error:400]]", 400, "llm_error", "llm_api_error"),
        ("[[rubbish]]", 500, "llm_error", "llm_api_error"),
        (
            "[[empty]]",
            500,
            "llm_empty_response",
            "invalid_llm_response",
        ),
    ];
    for (said, status, error_type, stop_reason) in cases {
        let (got, body) = world
            .call(
                Method::POST,
                &format!("/v1/agents/{agent}/messages"),
                Some(json!({"input": said})),
            )
            .await;
        assert_eq!(got, status, "{said}: {body}");
        assert!(body["error"]["type"].is_string(), "{said}: {body}");
        let stream = world
            .http
            .post(format!("{}/v1/agents/{agent}/messages", world.base))
            .json(&json!({"input": said, "streaming": true, "stream_tokens": true}));
        let text = stream.send().await.unwrap().text().await.unwrap();
        let events: Vec<Value> = events(&text)
            .iter()
            .map(|event| serde_json::from_str(event).unwrap_or_else(|_| json!(event)))
            .collect();
        assert_eq!(events.last(), Some(&json!("[DONE]")), "{said}: {text}");
        let stops: Vec<&Value> = events
            .iter()
            .filter(|event| event["message_type"] == "stop_reason")
            .collect();
        assert_eq!(
            (stops.len(), &stops[0]["stop_reason"]),
            (1, &json!(stop_reason)),
            "{said}: {text}"
        );
        let error = events
            .iter()
            .find(|event| event["message_type"] == "error_message")
            .unwrap();
        assert_eq!(error["error_type"], error_type, "{said}: {text}");
    }
    for said in [
        "[[close]] cut off",
        "[[huge:5000000]]",
        "[[badjson:memory_insert]] hm",
        "[[parallel:memory_insert {\"label\":\"human\",\"new_string\":\"1\"} | memory_insert {\"label\":\"human\",\"new_string\":\"2\"}]][[dupids]] ok",
        "[[tool:no_such_tool {}]] ok",
    ] {
        let stream = world
            .http
            .post(format!("{}/v1/agents/{agent}/messages", world.base))
            .json(&json!({"input": said, "streaming": true, "stream_tokens": true}));
        let text = stream.send().await.unwrap().text().await.unwrap();
        assert!(
            text.ends_with("data: [DONE]\n\n"),
            "{said}: {}",
            &text[text.len().saturating_sub(300)..]
        );
        world.assert_paired(&agent).await;
    }
    assert_eq!(
        world.send(&agent, "fine").await["messages"][0]["content"],
        "echo: fine"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_in_one_answer_end_the_turn_and_not_the_agent() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    for ids in ["", "[[dupids]]"] {
        for streaming in [false, true] {
            let said = format!("[[many:memory_insert,10000]]{ids} x");
            let body = json!({"input": said, "streaming": streaming, "stream_tokens": streaming.then_some(true)});
            let stream = world
                .http
                .post(format!("{}/v1/agents/{agent}/messages", world.base))
                .json(&body);
            let answer = tokio::time::timeout(crate::world::PATIENCE, stream.send());
            let text = answer.await.unwrap().unwrap().text().await.unwrap();
            assert!(
                text.contains("llm_error"),
                "{}",
                &text[..text.len().min(500)]
            );
            let runs = world.get(&format!("/v1/runs/?agent_id={agent}")).await;
            assert_eq!(runs[0]["stop_reason"], "invalid_llm_response");
            world.assert_paired(&agent).await;
            assert_eq!(
                world.send(&agent, "next").await["messages"][0]["content"],
                "echo: next"
            );
        }
    }
    // As many as are taken, all with one id.
    let said = "[[many:memory_insert,1000]][[dupids]] x";
    let stream = world
        .http
        .post(format!("{}/v1/agents/{agent}/messages", world.base))
        .json(&json!({"input": said, "streaming": true, "stream_tokens": true}));
    let text = stream.send().await.unwrap().text().await.unwrap();
    let shown: std::collections::HashSet<String> = events(&text)
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|event| Some(event["tool_call"]["tool_call_id"].as_str()?.to_owned()))
        .collect();
    let history = world.history(&agent).await;
    let called = history
        .iter()
        .rev()
        .find(|message| message["tool_calls"].is_array());
    let stored = called.unwrap()["tool_calls"].as_array().unwrap();
    let stored: std::collections::HashSet<String> = stored
        .iter()
        .map(|call| call["tool_call_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((stored.len(), &shown), (1_000, &stored));
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_cannot_drive_the_daemon() {
    let settings = [(
        "GREENROOM__SERVER__CORS_ORIGINS",
        "[\"https://app.example\"]",
    )];
    let world = World::with(&settings).await;
    let host = world.base.strip_prefix("http://").unwrap().to_owned();
    let port = host.rsplit(':').next().unwrap();
    let (own, here) = (world.base.as_str(), format!("localhost:{port}"));
    let named = format!("attacker.example:{port}");
    let attempts = [
        // Origin, Host, what a browser says besides, and what a write and a read come to.
        (None, host.as_str(), None, 200, 200),
        (None, named.as_str(), None, 200, 200),
        (Some(own), &host, Some("same-origin"), 200, 200),
        (
            Some("https://app.example"),
            &host,
            Some("cross-site"),
            200,
            200,
        ),
        (
            Some("https://attacker.example"),
            &host,
            Some("cross-site"),
            403,
            200,
        ),
        (Some("http://127.0.0.1:1"), &host, None, 403, 200),
        (Some("null"), &host, Some("cross-site"), 403, 200),
        (None, &here, Some("none"), 200, 200),
        // A name that was made to lead here.
        (None, &named, Some("same-origin"), 403, 403),
        (
            Some(&format!("http://{named}")),
            &named,
            Some("same-origin"),
            403,
            403,
        ),
    ];
    for (origin, host, site, write, read) in attempts {
        for (method, expected) in [(Method::POST, write), (Method::GET, read)] {
            let mut request = world
                .http
                .request(method.clone(), format!("{}/v1/blocks/", world.base))
                .header("host", host);
            if method == Method::POST {
                request = request.json(&json!({"label": "x", "value": ""}));
            }
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            if let Some(site) = site {
                request = request.header("sec-fetch-site", site);
            }
            let status = request.send().await.unwrap().status().as_u16();
            assert_eq!(status, expected, "{method} {origin:?} {host} {site:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_any_site_may_call_where_the_operator_says_so() {
    let world = World::with(&[("GREENROOM__SERVER__CORS_ORIGINS", "[\"*\"]")]).await;
    let request = world
        .http
        .post(format!("{}/v1/blocks/", world.base))
        .header("origin", "https://any.example")
        .json(&json!({"label": "x", "value": ""}));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://any.example"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_not_told_back_with_what_is_wrong() {
    let world = World::new().await;
    for (path, body) in [
        (
            "/v1/agents/",
            json!({"model": "openai/scripted", "secrets": {"TOKEN": 1, "KEY": "s3cret"}}),
        ),
        (
            "/v1/agents/",
            json!({"name": 1, "secrets": {"KEY": "s3cret"}, "tool_exec_environment_variables": {"A": "s3cret"}}),
        ),
        (
            "/v1/providers/",
            json!({"name": 1, "provider_type": "openai", "api_key": "s3cret"}),
        ),
        (
            "/v1/providers/",
            json!({"api_key": {"x": "s3cret"}, "access_key": ["s3cret"]}),
        ),
    ] {
        let (status, answer) = world.call(Method::POST, path, Some(body)).await;
        assert_eq!(status.as_u16(), 422, "{answer}");
        assert!(!answer.to_string().contains("s3cret"), "{answer}");
    }
}
