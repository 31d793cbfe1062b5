//! What goes in and comes out of a turn besides words and calls (agent-loop §2, §4, §11): formats, filters, limits, images,
//! the ids that clients give, probabilities.

use crate::model::{PIXEL, texts};
use crate::turns::{approve, asked, insert, kinds, messages, stop, tool, user, with};
use crate::world::{World, events};
use reqwest::Method;
use serde_json::{Value, json};

async fn send(world: &World, agent: &str, body: Value) -> Value {
    world
        .post(&format!("/v1/agents/{agent}/messages"), body)
        .await
}

fn schema() -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "mood", "schema": {
        "type": "object",
        "properties": {"mood": {"type": "string"}},
        "required": ["mood"],
        "additionalProperties": false,
    }}})
}

// ── response_format

#[tokio::test(flavor = "multi_thread")]
async fn a_response_format_reaches_the_provider() {
    let world = World::new().await;
    let plain = world.agent(&[]).await;
    world.send(&plain, "hello").await;
    assert!(world.model.last_body()["response_format"].is_null());

    for format in [json!({"type": "json_object"}), schema()] {
        let settings = json!({"provider_type": "openai", "response_format": format});
        for fields in [
            json!({"response_format": format}),
            json!({"model_settings": settings}),
        ] {
            let agent = world.agent_with(fields.clone()).await;
            let answer = world.send(&agent, "hello").await;
            assert_eq!(messages(&answer)[0]["content"], "echo: hello");
            assert_eq!(
                world.model.last_body()["response_format"],
                format,
                "{fields}"
            );
            let state = world.get(&format!("/v1/agents/{agent}")).await;
            let shown = if fields["response_format"].is_null() {
                &state["model_settings"]["response_format"]
            } else {
                &state["response_format"]
            };
            assert_eq!(*shown, format, "{fields}");
        }
        // By an update, from the next turn on; and taken back.
        let path = format!("/v1/agents/{plain}");
        for (change, sent) in [
            (json!({"response_format": format}), format.clone()),
            (json!({"response_format": {"type": "text"}}), Value::Null),
        ] {
            let (status, answer) = world.call(Method::PATCH, &path, Some(change)).await;
            assert!(status.is_success(), "{answer}");
            world.send(&plain, "hello").await;
            let found = world.model.last_body()["response_format"].clone();
            let text = json!({"type": "text"});
            assert!(
                found == sent || (sent.is_null() && found == text),
                "{found}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_by_tool_is_given_the_format_for_its_words() {
    // agent-loop §4: it rewrites the `message` property of an offered `send_message`.
    let world = World::new().await;
    for format in [json!({"type": "json_object"}), schema()] {
        let fields = json!({"agent_type": "memgpt_v2_agent", "response_format": format});
        let agent = world.agent_with(fields).await;
        let said = tool("send_message {\"message\":{\"mood\":\"calm\"}}");
        let answer = world.send(&agent, &said).await;
        let body = world.model.last_body();
        assert!(body["response_format"].is_null(), "{body}");
        let tools = body["tools"].as_array().unwrap();
        let speaks = tools
            .iter()
            .find(|tool| tool["function"]["name"] == "send_message");
        let property = &speaks.unwrap()["function"]["parameters"]["properties"]["message"];
        assert_eq!(property["type"], "object", "{property}");
        if format["type"] == "json_schema" {
            assert_eq!(
                property["properties"]["mood"]["type"], "string",
                "{property}"
            );
            assert_eq!(property["required"], json!(["mood"]));
        }
        assert_eq!(kinds(messages(&answer)), ["assistant_message"], "{answer}");
        let words = messages(&answer)[0]["content"].as_str().unwrap();
        let words: Value = serde_json::from_str(words).unwrap();
        assert_eq!(words, json!({"mood": "calm"}));
    }
}

// ── include_return_message_types

#[tokio::test(flavor = "multi_thread")]
async fn only_the_message_types_that_were_asked_for_come_back() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let said = format!("{} done", tool(&insert("A")));
    let choices = [
        vec!["assistant_message"],
        vec!["tool_call_message", "tool_return_message"],
        vec!["reasoning_message"],
        vec!["user_message", "assistant_message"],
    ];
    let modes = [
        json!({}),
        json!({"streaming": true}),
        json!({"streaming": true, "stream_tokens": true}),
        json!({"streaming": true, "background": true}),
    ];
    for kept in choices {
        // The user's own words are never echoed.
        let shown: Vec<&str> = kept
            .iter()
            .copied()
            .filter(|kind| !["user_message", "reasoning_message"].contains(kind))
            .collect();
        for mode in &modes {
            let body = with(
                &json!({"input": said, "include_return_message_types": kept}),
                mode,
            );
            if *mode == json!({}) {
                let answer = send(&world, &agent, body).await;
                assert_eq!(kinds(messages(&answer)), shown);
                assert_eq!(
                    (stop(&answer), &answer["usage"]["step_count"]),
                    ("end_turn", &json!(2))
                );
            } else {
                let frames = world.frames(&agent, &body).await;
                let mut found = kinds(&frames);
                found.dedup();
                assert_eq!(
                    found,
                    [shown.as_slice(), &["stop_reason", "usage_statistics"]].concat(),
                    "{mode}"
                );
            }
            // The run remembers it and is listed by it (runs-and-streaming §8): its user messages, too, if they are wanted.
            let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0].clone();
            assert_eq!(
                run["request_config"]["include_return_message_types"],
                json!(kept)
            );
            let list = world
                .get(&format!(
                    "/v1/runs/{}/messages",
                    run["id"].as_str().unwrap()
                ))
                .await;
            let listed: Vec<&str> = kept
                .iter()
                .copied()
                .filter(|kind| *kind != "reasoning_message")
                .collect();
            assert_eq!(kinds(list.as_array().unwrap()), listed, "{mode}");
        }
    }
    // Pings and errors are no messages.
    let body = json!({"input": "[[error:400]] bad", "streaming": true, "include_return_message_types": ["user_message"]});
    let (_, _, text) = world.attempt(&agent, "messages", &body).await;
    for kind in ["ping", "stop_reason", "error_message"] {
        assert!(
            text.contains(&format!("\"message_type\":\"{kind}\"")),
            "{kind}: {text}"
        );
    }
    // Nothing was lost of what is stored.
    let query = "include_return_message_types=tool_call_message&include_return_message_types=tool_return_message&limit=1000";
    let list = world
        .get(&format!("/v1/agents/{agent}/messages?{query}"))
        .await;
    assert_eq!(list.as_array().unwrap().len(), 2 * 4 * 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_run_is_listed_by_the_types_of_its_request() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let body = json!({"input": format!("{} done", tool(&insert("A"))), "include_return_message_types": ["tool_return_message"]});
    let run = world
        .post(&format!("/v1/agents/{agent}/messages/async"), body)
        .await;
    let run = run["id"].as_str().unwrap();
    world.ended(run).await;
    let list = world.get(&format!("/v1/runs/{run}/messages")).await;
    assert_eq!(kinds(list.as_array().unwrap()), ["tool_return_message"]);
}

// ── the output limit

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_at_its_limit_is_kept_and_says_so() {
    let world = World::new().await;
    let agent = world.agent_with(json!({"max_tokens": 77})).await;
    let answer = world.send(&agent, "[[cut]] half").await;
    let body = world.model.last_body();
    let limit = [&body["max_completion_tokens"], &body["max_tokens"]];
    assert!(limit.contains(&&json!(77)), "{body}");
    assert_eq!(kinds(messages(&answer)), ["assistant_message"]);
    assert_eq!(messages(&answer)[0]["content"], "echo: half");
    assert_eq!(stop(&answer), "max_tokens_exceeded");
    let run = world
        .run(messages(&answer)[0]["run_id"].as_str().unwrap())
        .await;
    assert_eq!(
        (&run["status"], &run["stop_reason"]),
        (&json!("failed"), &json!("max_tokens_exceeded"))
    );

    for tokens in [false, true] {
        let body = json!({"input": "[[cut]] half", "streaming": true, "stream_tokens": tokens});
        let (status, _, text) = world.attempt(&agent, "messages", &body).await;
        assert_eq!(status, 200);
        let read: Vec<Value> = events(&text)
            .iter()
            .map(|event| serde_json::from_str(event).unwrap_or_default())
            .collect();
        let said: String = read
            .iter()
            .filter_map(|event| event["content"].as_str())
            .collect();
        assert_eq!(said, "echo: half", "{text}");
        let stops: Vec<&Value> = read
            .iter()
            .filter(|event| event["message_type"] == "stop_reason")
            .map(|event| &event["stop_reason"])
            .collect();
        assert_eq!(stops, ["max_tokens_exceeded"], "{text}");
        assert_eq!(events(&text).last().map(String::as_str), Some("[DONE]"));
    }
    // The half is part of the conversation.
    world.send(&agent, "go on").await;
    assert_eq!(
        texts(&world.model.last_body(), "assistant"),
        ["echo: half"; 3]
    );
}

// ── images (agent-loop §2)

fn picture(source: Value) -> Value {
    json!([{"type": "text", "text": "look"}, {"type": "image", "source": source}])
}

fn data_url() -> String {
    format!("data:image/png;base64,{PIXEL}")
}

/// The images of a request's last user message.
fn sent_images(body: &Value) -> Vec<Value> {
    let said = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .rfind(|message| message["role"] == "user");
    let parts = said.unwrap()["content"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    parts
        .into_iter()
        .filter(|part| part["type"] == "image_url")
        .map(|part| part["image_url"].clone())
        .collect()
}

/// The image of a listed message: stored here, whatever it came from.
fn assert_stored(content: &Value) {
    assert_eq!(content[0]["text"], "look", "{content}");
    let source = &content[1]["source"];
    assert_eq!(source["type"], "letta", "{content}");
    assert_eq!(
        (&source["media_type"], &source["data"]),
        (&json!("image/png"), &json!(PIXEL))
    );
    assert!(source["file_id"].is_string(), "{source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_reaches_the_provider_as_data_wherever_it_came_from() {
    let world = World::new().await;
    let sources = [
        json!({"type": "base64", "media_type": "image/png", "data": PIXEL}),
        json!({"type": "url", "url": data_url()}),
        json!({"type": "url", "url": world.model.file("picture.png")}),
        json!({"type": "url", "url": world.model.file("moved.png")}),
    ];
    for source in sources {
        for (field, content) in [
            (
                "messages",
                json!([{"role": "user", "content": picture(source.clone())}]),
            ),
            ("input", picture(source.clone())),
        ] {
            let agent = world.agent(&[]).await;
            let answer = send(&world, &agent, json!({field: content})).await;
            assert_eq!(messages(&answer)[0]["content"], "echo: look", "{source}");
            let images = sent_images(&world.model.last_body());
            assert_eq!(images.len(), 1, "{source}");
            assert_eq!(images[0]["url"], json!(data_url()), "{source}");
            let history = world.history(&agent).await;
            assert_stored(&history[1]["content"]);
            // It is sent again with what follows, although a tool return has moved the list.
            world
                .send(&agent, &format!("{} next", tool(&insert("A"))))
                .await;
            let body = world.model.last_body();
            assert!(body["messages"][1].to_string().contains(PIXEL), "{source}");
            assert_eq!(body.to_string().matches(PIXEL).count(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_an_images_detail_is_passed_on() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let source =
        json!({"type": "base64", "media_type": "image/png", "data": PIXEL, "detail": "low"});
    send(&world, &agent, json!({"input": picture(source)})).await;
    let images = sent_images(&world.model.last_body());
    assert_eq!(images[0]["detail"], "low", "{images:?}");
    assert_eq!(
        world.history(&agent).await[1]["content"][1]["source"]["detail"],
        "low"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_may_not_be_fetched_is_refused_before_anything_is_stored() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let bad = [
        // Decisions 8: private, loopback and link-local addresses that the configuration does not name.
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://10.0.0.1/picture.png".to_owned(),
        "http://192.168.1.1/picture.png".to_owned(),
        "https://[::1]/picture.png".to_owned(),
        "http://[::ffff:10.0.0.1]/picture.png".to_owned(),
        "http://127.0.0.2/picture.png".to_owned(),
        // Only http, https and data.
        "file:///etc/passwd".to_owned(),
        "ftp://example.com/picture.png".to_owned(),
        "gopher://example.com/".to_owned(),
        "picture.png".to_owned(),
        String::new(),
        "data:image/png;base64,not base64!".to_owned(),
    ];
    for url in bad {
        let content = picture(json!({"type": "url", "url": url}));
        let detail = world
            .refused(&agent, &[json!({"role": "user", "content": content})])
            .await;
        assert!(!detail.is_empty(), "{url}");
    }
    // What an allowed host answers can be as bad: nothing there, or a way to where nobody may go.
    for name in ["nothing.png", "inside.png"] {
        let content = picture(json!({"type": "url", "url": world.model.file(name)}));
        let (status, _, text) = world
            .attempt(&agent, "messages", &json!({"input": content}))
            .await;
        assert_eq!(status, 400, "{name}: {text}");
    }
    assert_eq!(world.model.requests(), 0);
    assert_eq!(kinds(&world.history(&agent).await), ["system_message"]);
    let runs = world
        .get(&format!("/v1/runs/?agent_id={agent}&active=true"))
        .await;
    assert_eq!(runs, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_tool_may_return_an_image_by_its_address() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let tools = json!({"client_tools": [{"name": "camera"}]});
    let path = format!("/v1/agents/{agent}/messages");
    let first = world
        .post(
            &path,
            with(&json!({"input": "[[tool:camera {}]] seen"}), &tools),
        )
        .await;
    let ids = asked(&first);
    let back = |url: String| {
        let output = picture(json!({"type": "url", "url": url}));
        let entry = json!({"type": "tool", "tool_call_id": ids[0], "tool_return": output, "status": "success"});
        with(
            &json!({"messages": [{"type": "tool_return", "tool_returns": [entry]}]}),
            &tools,
        )
    };
    for url in ["http://169.254.169.254/x.png", "file:///etc/passwd"] {
        let (status, _, text) = world
            .attempt(&agent, "messages", &back(url.to_owned()))
            .await;
        assert_eq!(status, 400, "{url}: {text}");
        assert!(!world.pending(&agent).await.is_null(), "it still waits");
    }
    let second = world
        .post(&path, back(world.model.file("picture.png")))
        .await;
    assert_eq!(
        kinds(messages(&second)),
        ["tool_return_message", "assistant_message"],
        "{second}"
    );
    let parts = &messages(&second)[0]["tool_returns"][0]["tool_return"];
    assert_stored(parts);
    // The deprecated field is text, with a placeholder for the image (messages-and-search §4).
    let text = messages(&second)[0]["tool_return"].as_str().unwrap();
    assert!(text.contains("look") && !text.contains(PIXEL), "{text}");
    // Chat completions know no images in returns (providers-and-context §5).
    let seen = texts(&world.model.last_body(), "tool").pop().unwrap();
    assert!(seen.contains("look") && !seen.contains(PIXEL), "{seen}");
    assert_eq!(world.model.requests(), 2);
}

// ── ids and forms of what is sent

#[tokio::test(flavor = "multi_thread")]
async fn a_message_keeps_the_otid_and_the_name_it_was_sent_with() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let otid = "11111111-2222-4333-8444-555555555555";
    let sent = json!({"role": "user", "content": "hello", "otid": otid, "name": "bob", "sender_id": "identity-1"});
    let odd = with(&user("again"), &json!({"otid": "my own id"}));
    let first = world.items(&agent, &[sent]).await;
    world.items(&agent, &[odd, user("none")]).await;
    let history = world.history(&agent).await;
    let users: Vec<&Value> = history
        .iter()
        .filter(|message| message["message_type"] == "user_message")
        .collect();
    assert_eq!(
        (&users[0]["otid"], &users[0]["name"]),
        (&json!(otid), &json!("bob"))
    );
    assert_eq!(users[0]["sender_id"], "identity-1");
    assert_eq!(users[1]["otid"], "my own id");
    let given = users[2]["otid"].as_str().unwrap();
    assert!(
        uuid::Uuid::parse_str(given).is_ok(),
        "the server gives one: {given}"
    );
    assert!(
        users
            .iter()
            .all(|message| message["run_id"].is_string() && message["step_id"].is_string())
    );
    let run = messages(&first)[0]["run_id"].as_str().unwrap();
    let list = world.get(&format!("/v1/runs/{run}/messages")).await;
    assert_eq!(
        (&list[0]["otid"], &list[0]["content"]),
        (&json!(otid), &json!("hello"))
    );
    // The same one may be used again on the agent's route: it is another send (runs-and-streaming §4).
    let again = world
        .items(
            &agent,
            &[json!({"role": "user", "content": "hello", "otid": otid})],
        )
        .await;
    assert_ne!(messages(&again)[0]["run_id"], messages(&first)[0]["run_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pieces_of_a_message_are_numbered_in_their_order_everywhere() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let said = format!("[[beside:I note it.]]{} noted", tool(&insert("A")));
    let shape = [
        ("assistant_message", 0),
        ("tool_call_message", 1),
        ("tool_return_message", 0),
        ("assistant_message", 0),
    ];
    for mode in [
        json!({}),
        json!({"streaming": true}),
        json!({"streaming": true, "stream_tokens": true}),
    ] {
        let body = with(&json!({"input": said}), &mode);
        let shown = if mode == json!({}) {
            messages(&send(&world, &agent, body).await).to_vec()
        } else {
            let mut frames = world.frames(&agent, &body).await;
            frames.truncate(frames.len() - 2);
            frames
        };
        let history = world.history(&agent).await;
        let listed = &history[history.len() - 4..];
        let mut found: Vec<(&str, &Value, &Value)> = Vec::new();
        for message in &shown {
            let piece = (
                message["message_type"].as_str().unwrap(),
                &message["id"],
                &message["otid"],
            );
            if found.last() != Some(&piece) {
                found.push(piece);
            }
        }
        assert_eq!(found.len(), 4, "{mode}: {found:?}");
        for (((kind, index), piece), stored) in shape.iter().zip(&found).zip(listed) {
            assert_eq!(
                (piece.0, piece.1, piece.2),
                (*kind, &stored["id"], &stored["otid"]),
                "{mode}"
            );
            let id = piece.1.as_str().unwrap().strip_prefix("message-").unwrap();
            let number = uuid::Uuid::parse_str(id).unwrap().as_u128() & !0x7f | index;
            assert_eq!(
                piece.2,
                &json!(uuid::Uuid::from_u128(number).to_string()),
                "{mode}: {kind}"
            );
        }
        assert_eq!(
            found[0].1, found[1].1,
            "text and call are one stored message"
        );
    }
    // An approval request carries its own id (wire-rules §10), its text a derived one.
    let gated = world
        .agent_with(
            json!({"tool_rules": [{"type": "requires_approval", "tool_name": "memory_insert"}]}),
        )
        .await;
    let answer = world.send(&gated, &said).await;
    assert_eq!(
        kinds(messages(&answer)),
        ["assistant_message", "approval_request_message"]
    );
    assert_eq!(messages(&answer)[1]["otid"], messages(&answer)[1]["id"]);
    let ids = asked(&answer);
    let answer = world.items(&gated, &[approve(&[&ids[0]])]).await;
    let [end, reply] = messages(&answer) else {
        panic!("{answer}")
    };
    for piece in [end, reply] {
        assert!(piece["otid"].as_str().unwrap().ends_with('0'), "{piece}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn input_is_one_users_message_as_text_or_as_parts() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    for (route, mode) in crate::turns::routes() {
        let before = world.history(&agent).await.len();
        let body = with(&json!({"input": "plain words"}), &mode);
        let (status, _, text) = world.attempt(&agent, route, &body).await;
        assert_eq!(status, 200, "{route} {mode}: {text}");
        world
            .until("the turn's end", || async {
                world.history(&agent).await.len() == before + 2
            })
            .await;
        let history = world.history(&agent).await;
        assert_eq!(
            (
                &history[before]["message_type"],
                &history[before]["content"]
            ),
            (&json!("user_message"), &json!("plain words"))
        );
    }
    let parts = json!([{"type": "text", "text": "part one"}, {"type": "text", "text": "part two"}]);
    send(&world, &agent, json!({"input": parts})).await;
    let history = world.history(&agent).await;
    let stored = &history[history.len() - 2]["content"];
    assert_eq!(
        (&stored[0]["text"], &stored[1]["text"]),
        (&json!("part one"), &json!("part two")),
        "{stored}"
    );
    let seen = texts(&world.model.last_body(), "user").pop().unwrap();
    assert!(
        seen.contains("part one") && seen.contains("part two"),
        "{seen}"
    );
    // wire-rules §10: a single text part is shown as a text.
    send(
        &world,
        &agent,
        json!({"input": [{"type": "text", "text": "alone"}]}),
    )
    .await;
    let history = world.history(&agent).await;
    assert_eq!(history[history.len() - 2]["content"], "alone");

    let count = history.len();
    for (body, expected) in [
        (json!({}), 422),
        (json!({"input": "a", "messages": [user("b")]}), 422),
        (json!({"messages": []}), 422),
        (json!({"input": ""}), 400),
        (json!({"input": []}), 400),
        (json!({"messages": [user("")]}), 400),
        (json!({"messages": [{"role": "user", "content": []}]}), 400),
    ] {
        let (status, _, text) = world.attempt(&agent, "messages", &body).await;
        assert_eq!(status, expected, "{body}: {text}");
    }
    assert_eq!(world.history(&agent).await.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_stored_as_they_were_said() {
    // agent-loop §2: no envelope, no timestamp; an envelope that a client sends stays what it is.
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let packed = json!({"type": "user_message", "message": "inside", "time": "now"}).to_string();
    for (said, shown) in [
        ("  spaces \n", "  spaces \n"),
        ("{\"a\":1}", "{\"a\":1}"),
        (packed.as_str(), "inside"),
    ] {
        world.send(&agent, said).await;
        let seen = texts(&world.model.last_body(), "user").pop().unwrap();
        assert_eq!(seen, said);
        let history = world.history(&agent).await;
        assert_eq!(
            history[history.len() - 2]["content"],
            shown,
            "messages-and-search §3"
        );
    }
}

// ── probabilities

#[tokio::test(flavor = "multi_thread")]
async fn probabilities_of_the_last_answer_come_with_the_whole_turn() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let said = format!("{} all done", tool(&insert("Likes tea.")));
    let body = json!({"messages": [user(&said)], "return_logprobs": true, "top_logprobs": 3});
    let answer = send(&world, &agent, body).await;
    let asked = world.model.last_body();
    assert_eq!(
        (&asked["logprobs"], &asked["top_logprobs"]),
        (&json!(true), &json!(3))
    );
    let tokens = answer["logprobs"]["content"].as_array().unwrap();
    let words: String = tokens
        .iter()
        .map(|token| token["token"].as_str().unwrap())
        .collect();
    assert_eq!(words, "echo: all done");
    assert_eq!(tokens[0]["top_logprobs"][0]["logprob"], -0.5);
    assert!(answer["turns"].is_null());

    let answer = world.send(&agent, "hello").await;
    assert!(answer["logprobs"].is_null() && world.model.last_body()["logprobs"].is_null());
    let path = format!("/v1/agents/{agent}/messages");
    let body = json!({"messages": [user("hi")], "top_logprobs": 21});
    let (status, refused) = world.call(Method::POST, &path, Some(body)).await;
    assert_eq!(status, 422, "{refused}");
}

// ── skills of the client

#[tokio::test(flavor = "multi_thread")]
async fn skills_of_the_client_are_shown_to_the_model_and_stored_nowhere() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let before = world.history(&agent).await;
    let skill = json!({"name": "tea", "description": "Makes tea.", "location": "/skills/tea.md"});
    let body = |more: Value| {
        let mut body = json!({"messages": [user("hello")], "client_skills": [skill]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    send(&world, &agent, body(json!({}))).await;
    let system = texts(&world.model.last_body(), "system").remove(0);
    assert!(system.ends_with("</available_skills>"), "{system}");
    assert!(system.contains("tea.md (tea): Makes tea."), "{system}");
    assert_eq!(world.history(&agent).await[0], before[0]);

    send(
        &world,
        &agent,
        body(json!({"override_system": "Be brief."})),
    )
    .await;
    assert_eq!(texts(&world.model.last_body(), "system"), ["Be brief."]);
    world.send(&agent, "hello").await;
    let system = texts(&world.model.last_body(), "system").remove(0);
    assert!(!system.contains("available_skills"), "{system}");
    let path = format!("/v1/agents/{agent}/messages");
    let bad = json!({"messages": [user("hi")], "client_skills": [{"name": "tea"}]});
    let (status, refused) = world.call(Method::POST, &path, Some(bad)).await;
    assert_eq!(status, 422, "{refused}");
}
