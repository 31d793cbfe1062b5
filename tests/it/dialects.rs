//! Every dialect in its vendor's own protocol: each scene is played with every model, once with whole answers and once
//! token by token, by a server that takes no request that breaks the vendor's rules. What is stored must be the same.

mod anthropic;
mod gemini;
mod official;
mod openai;
mod responses;
mod rules;
mod script;

use crate::model::PIXEL;
use crate::turns::{approve, deny, frames, kinds, user, with};
use crate::world::{World, events};
use official::Official;
use reqwest::Method;
use script::{Answer, End, Reply, Said, Script, Trouble, Usage};
use serde_json::{Value, json};

// ── models

/// A model, and what is stored of its thinking.
struct Case {
    handle: &'static str,
    thinks: Thinks,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Thinks {
    Never,
    /// Nobody sees what, but it is noted with every answer.
    Hidden,
    Shown,
}

/// OpenAI's own of both kinds, an open model and a reasoning one behind a server of one's own, and two generations each
/// of Anthropic's and Google's.
const CASES: [Case; 8] = [
    Case::new("openai/gpt-4o-mini", Thinks::Never),
    Case::new("openai/gpt-5", Thinks::Shown),
    Case::new("vllm/qwen3-8b", Thinks::Shown),
    Case::new("vllm/o4-mini", Thinks::Hidden),
    Case::new("anthropic/claude-sonnet-4-5", Thinks::Shown),
    Case::new("anthropic/claude-opus-4-6", Thinks::Shown),
    Case::new("google_ai/gemini-2.5-flash", Thinks::Shown),
    Case::new("google_ai/gemini-3-pro-preview", Thinks::Shown),
];

impl Case {
    const fn new(handle: &'static str, thinks: Thinks) -> Self {
        Self { handle, thinks }
    }
}

// ── what they say

fn says(said: impl Into<Vec<Said>>) -> Reply {
    Reply::Says(answer(said))
}

fn answer(said: impl Into<Vec<Said>>) -> Answer {
    Answer {
        said: said.into(),
        ..Answer::default()
    }
}

/// Two thoughts, sealed together; those of another seal are others.
fn thought(seal: &'static str) -> Said {
    thinks(&format!("He greets me ({seal}).\n\nI greet him."), seal)
}

fn thinks(text: &str, seal: &'static str) -> Said {
    let text = text.to_owned();
    Said::Thought { text, seal }
}

fn text(text: &'static str) -> Said {
    Said::Text(text)
}

fn call(name: &'static str, arguments: &'static str) -> Said {
    Said::Call { name, arguments }
}

/// A call that works, written as models write: with spaces and escapes.
const INSERT: Said = Said::Call {
    name: "memory_insert",
    arguments: r#"{"label": "human", "new_string": "Caf\u00e9 \"No\u00ebl\" \ud83c\udf84\n\\o/"}"#,
};
const INSERTED: &str = "Name: unknown\nCafé \"Noël\" 🎄\n\\o/";
const APPEND: Said = Said::Call {
    name: "core_memory_append",
    arguments: r#"{ "label": "persona", "content": "I like tea." }"#,
};
const BYE: Said = Said::Text("See you.");

// ── the stage

/// A Greenroom that knows all these models, and the script they follow.
struct Stage {
    world: World,
    script: Script,
    _official: Official,
}

impl Stage {
    async fn new() -> Self {
        let script = Script::start().await;
        let official = Official::open(&script.address).await;
        let base = format!("http://{}", script.address);
        let world = World::with(&[
            ("OPENAI_API_BASE", ""),
            ("OPENAI_API_KEY", "sk-1"),
            ("HTTPS_PROXY", &official.proxy),
            ("SSL_CERT_FILE", official.certificate.to_str().unwrap()),
            ("VLLM_API_BASE", &base),
            ("ANTHROPIC_BASE_URL", &base),
            ("ANTHROPIC_API_KEY", "sk-ant-1"),
            ("GEMINI_BASE_URL", &base),
            ("GEMINI_API_KEY", "AIza1"),
        ])
        .await;
        Self {
            world,
            script,
            _official: official,
        }
    }

    async fn scene<'a>(&'a self, case: &'a Case, streamed: bool, fields: &Value) -> Scene<'a> {
        self.script.begin();
        let tools = ["memory_insert", "core_memory_append", "memory_replace"];
        let own = json!({
            "model": case.handle, "include_base_tools": false, "include_base_tool_rules": false, "tools": tools,
        });
        let agent = self.world.agent_with(with(&own, fields)).await;
        Scene {
            stage: self,
            case,
            streamed,
            agent,
        }
    }
}

/// Plays a scene with every model in both ways.
async fn everywhere(fields: Value, play: impl AsyncFn(&Scene<'_>)) {
    let stage = Stage::new().await;
    for case in &CASES {
        let mut kept = Vec::new();
        for streamed in [false, true] {
            eprintln!("{}, streamed: {streamed}", case.handle);
            let scene = stage.scene(case, streamed, &fields).await;
            play(&scene).await;
            stage.script.finished();
            stage.world.assert_paired(&scene.agent).await;
            kept.push([scene.stored().await, scene.costs().await].concat());
        }
        let [whole, streamed] = &kept[..] else {
            unreachable!()
        };
        for (whole, streamed) in whole.iter().zip(streamed) {
            assert_eq!(whole, streamed, "{}", case.handle);
        }
        assert_eq!(whole.len(), streamed.len(), "{}", case.handle);
    }
}

/// One agent with one model, asked in one way.
struct Scene<'a> {
    stage: &'a Stage,
    case: &'a Case,
    streamed: bool,
    agent: String,
}

impl Scene<'_> {
    fn world(&self) -> &World {
        &self.stage.world
    }

    fn path(&self) -> String {
        format!("agents/{}/messages", self.agent)
    }

    /// One turn: what the user sends, what the model answers, and why the turn ends.
    async fn turn(&self, items: &[Value], replies: Vec<Reply>, stop: &str) {
        self.turn_with(&json!({"messages": items}), replies, stop)
            .await;
    }

    async fn turn_with(&self, body: &Value, replies: Vec<Reply>, stop: &str) {
        self.turn_at(&self.path(), body, replies, stop).await;
    }

    async fn turn_at(&self, path: &str, body: &Value, replies: Vec<Reply>, stop: &str) {
        self.stage.script.will(replies);
        let (status, text) = self.attempt(path, body).await;
        assert_eq!(status, 200, "{text}\n{}", self.world().log());
        let ended = if self.streamed {
            let frames = frames(&text);
            self.tell_what_is_stored(&frames).await;
            frames[frames.len() - 2]["stop_reason"].clone()
        } else {
            let answer: Value = serde_json::from_str(&text).unwrap();
            answer["stop_reason"]["stop_reason"].clone()
        };
        assert_eq!(ended, stop, "{text}");
        self.stage.script.finished();
    }

    /// The pieces that were streamed of each step make up what is stored of it.
    async fn tell_what_is_stored(&self, frames: &[Value]) {
        let stored = self.world().history(&self.agent).await;
        let told = |messages: &[Value], like: &Value, field: &str| -> String {
            let same = |message: &&Value| {
                ["step_id", "message_type"]
                    .iter()
                    .all(|field| message[field] == like[field])
            };
            let pieces = messages.iter().filter(same);
            pieces
                .filter_map(|message| message[field].as_str())
                .collect()
        };
        for frame in frames {
            let field = match frame["message_type"].as_str() {
                Some("assistant_message") => "content",
                Some("reasoning_message") => "reasoning",
                _ => continue,
            };
            let (streamed, stored) = (told(frames, frame, field), told(&stored, frame, field));
            // What a client says for the model is of the same step.
            assert!(stored.ends_with(&streamed), "{streamed}\n{stored}");
        }
    }

    /// Sends a body in the scene's way.
    async fn attempt(&self, path: &str, body: &Value) -> (u16, String) {
        let way = json!({"streaming": self.streamed, "stream_tokens": self.streamed});
        let url = format!("{}/v1/{path}", self.world().base);
        let request = self.world().http.post(url).json(&with(body, &way));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A turn that fails: its status and the error's type; a stream has begun and tells the type alone.
    async fn failure(&self, replies: Vec<Reply>) -> (u16, String) {
        self.stage.script.will(replies);
        let body = json!({"messages": [user("Well?")]});
        let (status, text) = self.attempt(&self.path(), &body).await;
        self.stage.script.finished();
        let kind = |error: &Value| {
            error["error_type"]
                .as_str()
                .or(error["error"]["type"].as_str())
                .map(str::to_owned)
        };
        let read = |text: &String| serde_json::from_str::<Value>(text).unwrap_or_default();
        let kind = if self.streamed {
            events(&text).iter().find_map(|event| kind(&read(event)))
        } else {
            kind(&read(&text))
        };
        (status, kind.unwrap_or_default())
    }

    /// All is well: the next message is answered.
    async fn goes_on(&self) {
        self.turn(
            &[user("And now?")],
            vec![says([thought("after"), text("Now, yes.")])],
            "end_turn",
        )
        .await;
        self.world().assert_paired(&self.agent).await;
    }

    /// The kinds of what is stored, in one word each.
    async fn expect(&self, words: &[&str]) {
        let stored = self.stored().await;
        let word = |kind: &str| {
            let known = [
                ("user_message", "user"),
                ("assistant_message", "reply"),
                ("reasoning_message", "thought"),
                ("hidden_reasoning_message", "thought"),
                ("tool_call_message", "call"),
                ("tool_return_message", "return"),
                ("approval_request_message", "request"),
                ("approval_response_message", "response"),
            ];
            let known = known.into_iter().find(|(long, _)| *long == kind);
            known.map_or(kind.to_owned(), |(_, word)| word.to_owned())
        };
        let mut found: Vec<String> = kinds(&stored).into_iter().skip(1).map(word).collect();
        let mut expected = words.to_vec();
        if self.case.thinks != Thinks::Shown {
            expected.retain(|word| *word != "thought");
        }
        if self.case.thinks == Thinks::Hidden {
            found.retain(|word| word != "thought");
        }
        assert_eq!(found, expected, "{stored:#?}");
    }

    /// What is stored but for what is new each time: ids, and when it was.
    async fn stored(&self) -> Vec<Value> {
        let mut history = self.world().history(&self.agent).await;
        let mut calls = Vec::new();
        for message in &mut history {
            forget(message, &mut calls);
        }
        history
    }

    /// What each step cost, oldest first.
    async fn costs(&self) -> Vec<Value> {
        let steps = self
            .world()
            .get(&format!("/v1/steps/?agent_id={}&order=asc", self.agent))
            .await;
        let cost = |step: &Value| {
            let fields = [
                "model_handle",
                "prompt_tokens",
                "completion_tokens",
                "total_tokens",
                "cached_input_tokens",
                "cache_write_tokens",
                "reasoning_tokens",
                "stop_reason",
                "status",
            ];
            fields.map(|field| step[field].clone()).into()
        };
        steps.as_array().unwrap().iter().map(cost).collect()
    }

    /// Changes the agent.
    async fn change(&self, fields: &Value) {
        let path = format!("/v1/agents/{}", self.agent);
        let (status, said) = self
            .world()
            .call(Method::PATCH, &path, Some(fields.clone()))
            .await;
        assert!(status.is_success(), "{said}");
    }

    /// Settings of the model that change nothing yet, where its provider has any.
    fn settings(&self) -> Option<Value> {
        let provider = self
            .case
            .handle
            .split('/')
            .next()
            .filter(|provider| *provider != "vllm")?;
        Some(json!({"provider_type": provider}))
    }

    /// The ids of the calls that wait.
    async fn waiting(&self) -> Vec<String> {
        crate::turns::calls(&self.world().pending(&self.agent).await)
    }
}

/// Takes out what is new each time; calls are known by their number.
fn forget(value: &mut Value, calls: &mut Vec<Value>) {
    match value {
        Value::Object(fields) => {
            let new = [
                "id",
                "date",
                "otid",
                "run_id",
                "step_id",
                "file_id",
                "approval_request_id",
                "time",
                // The prompt with its times and ids is counted in.
                "context_tokens_before",
                "context_tokens_after",
            ];
            fields.retain(|field, _| !new.contains(&field.as_str()));
            if fields
                .get("message_type")
                .is_some_and(|kind| kind == "system_message")
            {
                fields.remove("content");
            }
            for (field, value) in fields {
                if field == "tool_call_id" {
                    let place = calls.iter().position(|call| call == value);
                    let number = place.unwrap_or(calls.len());
                    calls.extend(place.is_none().then(|| value.clone()));
                    *value = json!(number);
                } else {
                    // Summaries are packed.
                    let packed = value
                        .as_str()
                        .and_then(|text| serde_json::from_str(text).ok());
                    *value = packed.filter(Value::is_object).unwrap_or(value.take());
                    forget(value, calls);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| forget(value, calls)),
        _ => (),
    }
}

// ── scenes

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_reply() {
    everywhere(json!({}), async |scene| {
        scene
            .turn(
                &[user("Hello")],
                vec![says([text("Good day, “sir”.\n– E.")])],
                "end_turn",
            )
            .await;
        scene.expect(&["user", "reply"]).await;
        assert_eq!(
            scene.stored().await.last().unwrap()["content"],
            "Good day, “sir”.\n– E."
        );
        let cost = scene.costs().await.remove(0);
        assert_eq!(
            (&cost[1], &cost[2], &cost[3], &cost[4]),
            (&json!(100), &json!(30), &json!(130), &json!(60))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_after_thinking_and_the_next_one() {
    everywhere(json!({}), async |scene| {
        let first = [thought("a"), Said::Redacted("ZGFyaw=="), text("Good day.")];
        scene
            .turn(&[user("Hello")], vec![says(first)], "end_turn")
            .await;
        scene
            .turn(&[user("Bye")], vec![says([thought("b"), BYE])], "end_turn")
            .await;
        let redacted = scene.case.handle.starts_with("anthropic/");
        let dark = if redacted { &["thought"][..] } else { &[] };
        scene
            .expect(
                &[
                    &["user", "thought"],
                    dark,
                    &["reply", "user", "thought", "reply"],
                ]
                .concat(),
            )
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_then_a_reply() {
    everywhere(json!({}), async |scene| {
        let step = [thought("a"), text("I write that down."), INSERT];
        scene
            .turn(
                &[user("Hello")],
                vec![says(step), says([thought("b"), text("Done.")])],
                "end_turn",
            )
            .await;
        scene.goes_on().await;
        let first = [
            "user", "thought", "reply", "call", "return", "thought", "reply",
        ];
        scene
            .expect(&[&first[..], &["user", "thought", "reply"]].concat())
            .await;
        assert_eq!(scene.world().block(&scene.agent, "human").await, INSERTED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_thought_goes_back_to_it() {
    everywhere(json!({}), async |scene| {
        let shows = scene.case.thinks == Thinks::Shown;
        let replies = vec![
            says([thought("within"), INSERT]),
            says([thought("after"), text("Done.")]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        assert_eq!(is_replayed(scene, "within"), shows);
        scene
            .turn(&[user("And?")], vec![says([BYE])], "end_turn")
            .await;
        // An open model is not shown what it thought in turns that are over.
        let later = shows && scene.case.handle != "vllm/qwen3-8b";
        assert_eq!(
            (is_replayed(scene, "within"), is_replayed(scene, "after")),
            (later, later)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thoughts_in_the_middle_of_an_answer_and_thoughts_that_are_not_shown() {
    everywhere(json!({}), async |scene| {
        let again = thinks("There is more to do.", "b");
        let unseen = |seal| thinks("", seal);
        let replies = vec![
            says([
                thought("a"),
                text("Let me see."),
                again,
                text("Yes."),
                INSERT,
                APPEND,
            ]),
            says([unseen("c"), APPEND]),
            says([unseen("d"), text("Done.")]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_and_calls_after_each_other() {
    everywhere(json!({}), async |scene| {
        let replies = vec![
            says([thought("a"), INSERT, APPEND]),
            // This time it calls without a thought.
            says([APPEND]),
            says([thought("c"), text("All done.")]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
        let first = [
            "user", "thought", "call", "return", "call", "return", "thought", "reply",
        ];
        scene
            .expect(&[&first[..], &["user", "thought", "reply"]].concat())
            .await;
        assert_eq!(scene.world().block(&scene.agent, "human").await, INSERTED);
    })
    .await;
}

/// A rule by which `memory_insert` waits for a word.
fn gate() -> Value {
    json!({"tool_rules": [{"type": "requires_approval", "tool_name": "memory_insert"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_approved() {
    everywhere(gate(), async |scene| {
        let step = says([thought("a"), text("May I?"), APPEND, INSERT]);
        scene
            .turn(&[user("Hello")], vec![step], "requires_approval")
            .await;
        let ids = scene.waiting().await;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        scene
            .turn(
                &[approve(&ids)],
                vec![says([thought("b"), text("Done.")])],
                "end_turn",
            )
            .await;
        scene.goes_on().await;
        let first = [
            "user", "thought", "reply", "call", "request", "response", "return", "thought", "reply",
        ];
        scene
            .expect(&[&first[..], &["user", "thought", "reply"]].concat())
            .await;
        assert_eq!(scene.world().block(&scene.agent, "human").await, INSERTED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_denied_or_cancelled() {
    everywhere(gate(), async |scene| {
        for (seal, ends) in [("a", "denied"), ("b", "cancelled")] {
            let step = says([thought(seal), INSERT]);
            scene
                .turn(&[user("Hello")], vec![step], "requires_approval")
                .await;
            if ends == "denied" {
                let id = scene.waiting().await.remove(0);
                let sorry = vec![says([thought("c"), text("I leave it.")])];
                let item = json!({"type": "approval", "approvals": [deny(&id, "Not that.")]});
                scene.turn(&[item], sorry, "end_turn").await;
            } else {
                scene
                    .world()
                    .post(&format!("/v1/{}/cancel", scene.path()), json!({}))
                    .await;
            }
            scene.goes_on().await;
        }
        assert_eq!(
            scene.world().block(&scene.agent, "human").await,
            "Name: unknown"
        );
    })
    .await;
}

/// A part that shows one pixel.
fn image() -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}})
}

/// Whether the newest request holds the pixel.
fn is_seen(scene: &Scene<'_>) -> bool {
    scene
        .stage
        .script
        .bodies()
        .pop()
        .unwrap()
        .to_string()
        .contains(PIXEL)
}

/// What a request says of the conversation, and what stands before it.
fn said(body: &Value) -> (Vec<Value>, [Value; 2]) {
    let fields = ["messages", "input", "contents"];
    let said = fields.iter().find_map(|field| body[field].as_array());
    let fixed = ["tools", "system"].map(|field| body[field].clone());
    (said.cloned().unwrap(), fixed)
}

/// Takes out the marks for the cache, which move on.
fn unmark(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("cache_control");
            fields.values_mut().for_each(unmark);
        }
        Value::Array(values) => values.iter_mut().for_each(unmark),
        _ => (),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_turn_begins_with_the_one_before() {
    everywhere(json!({}), async |scene| {
        let replies = vec![
            says([thought("a"), text("First."), INSERT, APPEND]),
            says([thought("b"), APPEND]),
            says([thought("c"), BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        let mut bodies = scene.stage.script.bodies();
        bodies.iter_mut().for_each(unmark);
        for pair in bodies.windows(2) {
            let ((before, fixed), (after, same)) = (said(&pair[0]), said(&pair[1]));
            assert!(after.starts_with(&before), "{after:#?}\n{before:#?}");
            assert_eq!(fixed, same);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_refused_in_words() {
    everywhere(json!({}), async |scene| {
        let sorry = Said::Refusal("I will not say “that”.");
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("a"), sorry])],
                "end_turn",
            )
            .await;
        scene.expect(&["user", "thought", "reply"]).await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_are_no_json() {
    everywhere(json!({}), async |scene| {
        // The others have no text for arguments in a whole answer.
        if !["openai", "vllm"]
            .iter()
            .any(|provider| scene.case.handle.starts_with(provider))
        {
            return;
        }
        let broken = call("memory_insert", r#"{"label": "human", "new_str"#);
        let listed = call("memory_insert", r#"["human", "x"]"#);
        let replies = vec![
            says([thought("a"), broken, listed]),
            says([thought("b"), BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
        assert_eq!(
            scene.world().block(&scene.agent, "human").await,
            "Name: unknown"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_calls_more_than_it_may_at_once() {
    everywhere(json!({}), async |scene| {
        let Some(mut settings) = scene.settings() else {
            return;
        };
        settings["parallel_tool_calls"] = json!(false);
        scene.change(&json!({"model_settings": settings})).await;
        let replies = vec![
            says([thought("a"), INSERT, APPEND]),
            says([thought("b"), BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_limit_of_the_output() {
    everywhere(json!({}), async |scene| {
        let Some(mut settings) = scene.settings() else {
            return;
        };
        settings["max_output_tokens"] = json!(8);
        scene.change(&json!({"model_settings": settings})).await;
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("a"), BYE])],
                "end_turn",
            )
            .await;
    })
    .await;
}

/// What the newest request holds of a thought: its seal where there is one, else its words.
fn is_replayed(scene: &Scene<'_>, seal: &str) -> bool {
    let newest = scene.stage.script.bodies().pop().unwrap().to_string();
    newest.contains(&script::spelled(seal)) || newest.contains("reasoning_content")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_from_the_user() {
    everywhere(json!({}), async |scene| {
        let item = json!({"role": "user", "content": [{"type": "text", "text": "What is this?"}, image()]});
        scene.turn(&[item], vec![says([thought("a"), text("A pixel.")])], "end_turn").await;
        assert!(is_seen(scene));
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_of_the_client_returns_text_and_an_image() {
    everywhere(json!({}), async |scene| {
        let parameters = json!({"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]});
        let tools = json!({"client_tools": [{"name": "look", "description": "Looks.", "parameters": parameters}]});
        let step = says([thought("a"), call("look", r#"{"at": "door"}"#), call("look", r#"{"at": "wall"}"#)]);
        let body = json!({"messages": [user("Look.")]});
        scene.turn_with(&with(&body, &tools), vec![step], "requires_approval").await;
        let ids = scene.waiting().await;
        let seen = json!([{"type": "text", "text": "See:"}, image()]);
        let returns = json!([
            {"type": "tool", "tool_call_id": ids[0], "tool_return": seen, "status": "success"},
            {"type": "tool", "tool_call_id": ids[1], "tool_return": seen, "status": "error"},
        ]);
        let body = json!({"messages": [{"type": "approval", "approvals": returns}]});
        scene.turn_with(&with(&body, &tools), vec![says([thought("b"), text("A door.")])], "end_turn").await;
        // Chat completions take no image in a return.
        let takes = !["openai/gpt-4o-mini", "vllm/qwen3-8b", "vllm/o4-mini"].contains(&scene.case.handle);
        assert_eq!(is_seen(scene), takes, "{}", scene.case.handle);
        scene.goes_on().await;
    })
    .await;
}

/// Schemas as they come from clients and MCP servers: valid, and not what any vendor would write.
fn odd_schemas() -> [Value; 6] {
    [
        json!({}),
        json!({"type": "object"}),
        json!({"properties": {"at": {"type": ["string", "null"], "default": null}}}),
        json!({"type": "object", "anyOf": [
            {"properties": {"at": {"type": "string"}}, "required": ["at"]},
            {"properties": {"near": {"enum": [1, 2]}}, "required": ["near"]},
        ]}),
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": false,
            "$defs": {"place": {"type": "object", "properties": {"name": {"const": "door"}, "in": {"$ref": "#/$defs/place"}}}},
            "properties": {
                "place": {"$ref": "#/$defs/place"},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                "sizes": {"type": "array", "items": {"oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^x"}]}},
            },
            "required": ["place"],
        }),
        json!({"type": "object", "properties": {
            "path": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}], "default": null},
            "list": {"type": "array", "items": {}},
            "inner": {"allOf": [{"type": "object", "properties": {"a": {"type": "number", "exclusiveMinimum": 0}}}]},
        }}),
    ]
}

async fn offers_odd_tools(strict: bool) {
    everywhere(json!({}), async |scene| {
        if strict {
            let Some(mut settings) = scene.settings() else { return };
            settings["strict"] = json!(true);
            scene.change(&json!({"model_settings": settings})).await;
        }
        for (at, parameters) in odd_schemas().iter().enumerate() {
            let tools = json!([{"name": format!("look_{at}"), "description": "Looks.", "parameters": parameters}]);
            let body = json!({"messages": [user("Hello")], "client_tools": tools});
            scene.turn_with(&body, vec![says([BYE])], "end_turn").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_with_odd_schemas() {
    offers_odd_tools(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_with_odd_schemas_that_are_strict() {
    offers_odd_tools(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_every_kind() {
    everywhere(json!({}), async |scene| {
        for (kind, data) in [
            ("image/gif", "R0lGODlhAQABAAAAACwAAAAAAQABAAAC"),
            ("image/webp", "UklGRgAAAABXRUJQ"),
            ("image/bmp", "Qk0AAAAA"),
            ("image/svg+xml", "PHN2Zy8+"),
            ("image/heic", "AAAAGGZ0eXBoZWlj"),
            // What it is shows in its bytes.
            ("application/octet-stream", PIXEL),
        ] {
            let source = json!({"type": "base64", "media_type": kind, "data": data});
            let content =
                json!([{"type": "text", "text": "See:"}, {"type": "image", "source": source}]);
            let item = json!({"role": "user", "content": content});
            scene.turn(&[item], vec![says([BYE])], "end_turn").await;
        }
        assert!(is_seen(scene));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_the_form_of_a_schema() {
    everywhere(json!({}), async |scene| {
        let Some(mut settings) = scene.settings() else { return };
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
        let format = json!({"type": "json_schema", "json_schema": {"name": "form", "schema": schema, "strict": true}});
        let field = if scene.case.handle.starts_with("google_ai/") { "response_schema" } else { "response_format" };
        settings[field] = format;
        scene.change(&json!({"model_settings": settings})).await;
        scene.turn(&[user("Hello")], vec![says([thought("a"), APPEND]), says([text(r#"{"a": "b"}"#)])], "end_turn").await;
        scene.change(&json!({"tool_ids": []})).await;
        scene.turn(&[user("Hello")], vec![says([text(r#"{"a": "b"}"#)])], "end_turn").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail() {
    everywhere(json!({}), async |scene| {
        let missing = r#"{"label": "human", "old_string": "not there", "new_string": "x"}"#;
        let replies = vec![
            says([
                thought("a"),
                call("memory_replace", missing),
                call("memory_replace", "{}"),
            ]),
            says([thought("b"), call("no_such_tool", r#"{"x": [1.50, null]}"#)]),
            says([thought("c"), text("I cannot.")]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
        let step = ["thought", "call", "return"];
        scene
            .expect(
                &[
                    &["user"],
                    &step[..],
                    &step[..],
                    &["thought", "reply", "user", "thought", "reply"],
                ]
                .concat(),
            )
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_at_its_limit() {
    everywhere(json!({}), async |scene| {
        let cut = Answer {
            end: End::Length,
            ..answer([thought("a"), text("And then")])
        };
        scene
            .turn(
                &[user("Tell me.")],
                vec![Reply::Says(cut)],
                "max_tokens_exceeded",
            )
            .await;
        scene.goes_on().await;
        let still_thinking = Answer {
            end: End::Length,
            ..answer([thought("b")])
        };
        scene
            .turn(
                &[user("Tell me.")],
                vec![Reply::Says(still_thinking)],
                "max_tokens_exceeded",
            )
            .await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_filter_withholds() {
    everywhere(json!({}), async |scene| {
        let withheld = Answer {
            end: End::Filtered,
            ..answer([text("Well,")])
        };
        scene
            .turn(
                &[user("Tell me.")],
                vec![Reply::Says(withheld)],
                "llm_api_error",
            )
            .await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_the_middle_of_an_answer() {
    everywhere(json!({}), async |scene| {
        let first = vec![
            says([thought("a"), INSERT]),
            Reply::Stalls(answer([thought("b"), text("Now I"), APPEND])),
        ];
        scene.stage.script.will(first);
        let asked = scene.stage.script.bodies().len() + 2;
        let body = json!({"messages": [user("Hello")]});
        let path = scene.path();
        let cancel = async {
            scene.stage.script.asked(asked).await;
            let path = format!("/v1/{path}/cancel");
            scene.world().post(&path, json!({})).await
        };
        let ((status, text), _) = tokio::join!(scene.attempt(&path, &body), cancel);
        assert!(text.contains("\"cancelled\""), "{status} {text}");
        scene.goes_on().await;
    })
    .await;
}

/// A few turns to sum up.
async fn talk(scene: &Scene<'_>) {
    let long = "and so on ".repeat(150);
    for seal in ["a", "b", "c"] {
        let replies = vec![says([thought(seal), APPEND]), says([text("So it goes.")])];
        scene.turn(&[user(&long)], replies, "end_turn").await;
    }
}

const SUMMARY: Said = Said::Text("They spoke of old things.");

async fn compacts(mode: &str) {
    let fields = json!({"context_window_limit": 20_000, "compaction_settings": {"mode": mode}});
    everywhere(fields, async |scene| {
        talk(scene).await;
        let full = Usage {
            prompt: 19_000,
            ..Usage::default()
        };
        let last = Answer {
            usage: full,
            ..answer([thought("d"), text("That is all.")])
        };
        let replies = vec![Reply::Says(last), says([thought("e"), SUMMARY])];
        scene.turn(&[user("And?")], replies, "end_turn").await;
        scene.goes_on().await;
        let newest = scene.stage.script.bodies().pop().unwrap().to_string();
        assert!(newest.contains("They spoke of old things."), "{newest}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_is_compacted() {
    compacts("sliding_window").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_its_own_model_compacts_in_place() {
    compacts("self_compact_all").await;
    compacts("self_compact_sliding_window").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_the_vendor_refuses_as_too_long() {
    everywhere(json!({}), async |scene| {
        talk(scene).await;
        let replies = vec![
            Reply::Refuses(Trouble::Overflow),
            says([SUMMARY]),
            says([thought("d"), BYE]),
        ];
        scene.turn(&[user("And?")], replies, "end_turn").await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_with_another_model_and_back() {
    everywhere(json!({}), async |scene| {
        let at = CASES
            .iter()
            .position(|case| case.handle == scene.case.handle)
            .unwrap();
        let others = [1, 2, 4, 7].map(|next| CASES[(at + next) % CASES.len()].handle);
        for (other, seals) in others.into_iter().zip([
            ["a", "b", "c"],
            ["d", "e", "f"],
            ["g", "h", "i"],
            ["j", "k", "l"],
        ]) {
            let [first, second, third] = seals.map(thought);
            let replies = vec![says([first, APPEND]), says([second, text("Mine.")])];
            scene.turn(&[user("Yours?")], replies, "end_turn").await;
            let body = json!({"messages": [user("And yours?")], "override_model": other});
            scene
                .turn_with(
                    &body,
                    vec![says([third, INSERT, APPEND]), says([text("Ours.")])],
                    "end_turn",
                )
                .await;
        }
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_carried_on_by_another_model() {
    everywhere(gate(), async |scene| {
        let at = CASES
            .iter()
            .position(|case| case.handle == scene.case.handle)
            .unwrap();
        for (next, seals) in [(4, ["a", "b"]), (3, ["c", "d"])] {
            let [first, second] = seals.map(thought);
            scene
                .turn(
                    &[user("Hello")],
                    vec![says([first, INSERT])],
                    "requires_approval",
                )
                .await;
            let id = scene.waiting().await.remove(0);
            let other = CASES[(at + next) % CASES.len()].handle;
            let body = json!({"messages": [approve(&[&id])], "override_model": other});
            scene
                .turn_with(
                    &body,
                    vec![says([second, APPEND]), says([text("Done.")])],
                    "end_turn",
                )
                .await;
        }
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation() {
    everywhere(json!({}), async |scene| {
        let path = format!("/v1/conversations/?agent_id={}", scene.agent);
        let made = scene.world().post(&path, json!({})).await;
        let path = format!("conversations/{}/messages", made["id"].as_str().unwrap());
        for seals in [["a", "b"], ["c", "d"]] {
            let [first, second] = seals.map(thought);
            let body = json!({"messages": [user("Hello")]});
            scene
                .turn_at(
                    &path,
                    &body,
                    vec![says([first, APPEND]), says([second, BYE])],
                    "end_turn",
                )
                .await;
        }
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_no_user_said_and_no_model() {
    everywhere(json!({}), async |scene| {
        let said = |role: &str, text: &str| json!({"role": role, "content": text});
        let strange = [
            said("system", "A day has passed."),
            said("assistant", "Good morning."),
            said("user", " "),
        ];
        scene
            .turn(
                &strange,
                vec![says([thought("a"), APPEND]), says([BYE])],
                "end_turn",
            )
            .await;
        scene
            .turn(
                &[said("assistant", "Good night.")],
                vec![says([thought("b"), BYE])],
                "end_turn",
            )
            .await;
        scene
            .turn(
                &[said("system", "It is late.")],
                vec![says([thought("c"), BYE])],
                "end_turn",
            )
            .await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_ends_after_its_calls() {
    everywhere(json!({}), async |scene| {
        let body = json!({"messages": [user("Hello")], "max_steps": 1});
        scene
            .turn_with(&body, vec![says([thought("a"), INSERT])], "max_steps")
            .await;
        scene.goes_on().await;
        let rule =
            json!({"tool_rules": [{"type": "exit_loop", "tool_name": "core_memory_append"}]});
        scene.change(&rule).await;
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("b"), APPEND])],
                "tool_rule",
            )
            .await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_must_be_called() {
    let rules = json!({"tool_rules": [
        {"type": "run_first", "tool_name": "memory_insert"},
        {"type": "constrain_child_tools", "tool_name": "memory_insert", "children": ["core_memory_append", "memory_replace"]},
    ]});
    everywhere(rules, async |scene| {
        for seals in [["a", "b"], ["c", "d"]] {
            let [first, second] = seals.map(thought);
            let replies = vec![says([first, INSERT]), says([APPEND]), says([second, BYE])];
            scene.turn(&[user("Hello")], replies, "end_turn").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_speaks_with_a_tool() {
    let old = json!({"agent_type": "memgpt_v2_agent", "include_base_tools": true, "include_base_tool_rules": true});
    everywhere(old, async |scene| {
        let insert = call(
            "memory_insert",
            r#"{"label": "human", "new_string": "Noel", "request_heartbeat": true}"#,
        );
        let speak = call("send_message", r#"{"message": "Good \u201cday\u201d"}"#);
        for seals in [["a", "b"], ["c", "d"]] {
            let [first, second] = seals.map(thought);
            let replies = vec![says([first, insert.clone()]), says([second, speak.clone()])];
            scene.turn(&[user("Hello")], replies, "end_turn").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_whose_schemas_are_strict() {
    everywhere(json!({}), async |scene| {
        let Some(mut settings) = scene.settings() else {
            return;
        };
        settings["strict"] = json!(true);
        scene.change(&json!({"model_settings": settings})).await;
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("a"), INSERT]), says([BYE])],
                "end_turn",
            )
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thinking_that_is_switched_off_and_on_again() {
    everywhere(gate(), async |scene| {
        let Some(settings) = scene.settings() else {
            return;
        };
        let mut off = settings.clone();
        off["thinking"] = json!({"type": "disabled"});
        off["thinking_config"] = json!({"include_thoughts": false});
        let mut on = settings;
        on["thinking"] = json!({"type": "enabled", "budget_tokens": 2_000});
        on["thinking_config"] = json!({"include_thoughts": true, "thinking_budget": 2_000});
        for (seals, first, then) in [(["a", "b"], &on, &off), (["c", "d"], &off, &on)] {
            let [before, after] = seals.map(thought);
            let mind = |thought: Said, settings: &Value| (settings == &on).then_some(thought);
            scene.change(&json!({"model_settings": first})).await;
            let step: Vec<Said> = mind(before, first)
                .into_iter()
                .chain([APPEND, INSERT])
                .collect();
            scene
                .turn(&[user("Hello")], vec![says(step)], "requires_approval")
                .await;
            scene.change(&json!({"model_settings": then})).await;
            let id = scene.waiting().await.remove(0);
            let step: Vec<Said> = mind(after, then).into_iter().chain([APPEND]).collect();
            scene
                .turn(
                    &[approve(&[&id])],
                    vec![says(step), says([BYE])],
                    "end_turn",
                )
                .await;
            scene
                .turn(&[user("And?")], vec![says([BYE])], "end_turn")
                .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_answer() {
    everywhere(json!({}), async |scene| {
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("a"), text("Good day.")])],
                "end_turn",
            )
            .await;
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("b"), text("I note."), APPEND]), says([BYE])],
                "end_turn",
            )
            .await;
        for message in scene.world().history(&scene.agent).await {
            let kind = &message["message_type"];
            let edit = match kind.as_str() {
                Some("assistant_message") => {
                    json!({"message_type": kind, "content": "Something else."})
                }
                // Summaries stand for what only OpenAI can read: they are not the model's words.
                Some("reasoning_message") if scene.case.handle != "openai/gpt-5" => {
                    json!({"message_type": kind, "reasoning": "Quite another thought."})
                }
                _ => continue,
            };
            let path = format!("/v1/{}/{}", scene.path(), message["id"].as_str().unwrap());
            let (status, said) = scene.world().call(Method::PATCH, &path, Some(edit)).await;
            assert!(status.is_success(), "{said}");
        }
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_without_the_agent() {
    everywhere(json!({}), async |scene| {
        let path = format!("/v1/agents/{}/generate", scene.agent);
        scene.stage.script.will(vec![says([thought("a"), text("Blue.")])]);
        let answer = scene.world().post(&path, json!({"prompt": "Which colour?"})).await;
        assert_eq!(answer["content"], "Blue.");
        // In the form of a schema: the arguments of the one tool there is.
        let schema = json!({"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]});
        let body = json!({"prompt": "Which colour?", "response_schema": schema});
        scene.stage.script.will(vec![says([call("answer", r#"{"colour": "blue"}"#)])]);
        let answer = scene.world().post(&path, body).await;
        let content: Value = serde_json::from_str(answer["content"].as_str().unwrap()).unwrap();
        assert_eq!(content, json!({"colour": "blue"}));
    })
    .await;
}

// ── what goes wrong

/// Tries of a call that may go better the next time.
fn tries(scene: &Scene<'_>) -> usize {
    if scene.case.handle.starts_with("google_ai/") {
        6
    } else {
        4
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_means_the_same_whoever_refuses() {
    everywhere(json!({}), async |scene| {
        for (trouble, passes, status, whole, streamed) in [
            (Trouble::Overloaded, true, 503, "", "llm_error"),
            (
                Trouble::RateLimit,
                true,
                429,
                "llm_rate_limit",
                "llm_rate_limit",
            ),
            (
                Trouble::Key,
                false,
                401,
                "llm_authentication",
                "llm_authentication",
            ),
            (
                Trouble::Quota,
                false,
                402,
                "llm_insufficient_credits",
                "llm_error",
            ),
        ] {
            let count = if passes { tries(scene) } else { 1 };
            let refusals = vec![Reply::Refuses(trouble.clone()); count];
            let expected = if scene.streamed {
                (200, streamed)
            } else {
                (status, whole)
            };
            let (status, kind) = scene.failure(refusals).await;
            assert_eq!((status, kind.as_str()), expected, "{trouble:?}");
            scene.goes_on().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_passes_is_waited_out() {
    everywhere(json!({}), async |scene| {
        for trouble in [Trouble::Overloaded, Trouble::RateLimit] {
            let replies = vec![Reply::Refuses(trouble), says([BYE])];
            scene.turn(&[user("Hello")], replies, "end_turn").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_before_it_shows_anything_is_asked_for_again() {
    everywhere(json!({}), async |scene| {
        let failed = scene.streamed.then_some(Reply::Fails(Trouble::Overloaded));
        let replies = failed.into_iter().chain([says([thought("a"), BYE])]);
        scene
            .turn(&[user("Hello")], replies.collect(), "end_turn")
            .await;
        scene.goes_on().await;
    })
    .await;
}

/// An answer of which half is enough to be seen.
fn long() -> Answer {
    answer([
        thought("long"),
        text("One thing after the other, and then another one."),
        APPEND,
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_after_it_showed_something_is_not_repeated() {
    let stage = Stage::new().await;
    for case in &CASES {
        for (trouble, kind) in [
            (Trouble::Overloaded, "llm_error"),
            (Trouble::RateLimit, "llm_rate_limit"),
        ] {
            let scene = stage.scene(case, true, &json!({})).await;
            let replies = vec![says([thought("a"), INSERT]), Reply::Breaks(long(), trouble)];
            assert_eq!(
                scene.failure(replies).await,
                (200, kind.to_owned()),
                "{}",
                case.handle
            );
            scene.goes_on().await;
            scene
                .expect(&[
                    "user", "thought", "call", "return", "user", "thought", "reply",
                ])
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_repeated_unless_it_was_seen() {
    let stage = Stage::new().await;
    for case in &CASES {
        let scene = stage.scene(case, true, &json!({})).await;
        let replies = vec![says([thought("a"), INSERT]), Reply::Cut(long())];
        assert_eq!(
            scene.failure(replies).await,
            (200, "llm_error".to_owned()),
            "{}",
            case.handle
        );
        scene.goes_on().await;
        let scene = stage.scene(case, false, &json!({})).await;
        let replies = vec![
            says([thought("a"), INSERT]),
            Reply::Cut(long()),
            says([thought("b"), BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_says_nothing_is_a_failure() {
    everywhere(json!({}), async |scene| {
        let expected = if scene.streamed {
            (200, "llm_empty_response")
        } else {
            (500, "llm_error")
        };
        let (status, kind) = scene.failure(vec![says([])]).await;
        assert_eq!((status, kind.as_str()), expected);
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_gemini_gets_wrong_is_asked_for_again() {
    let stage = Stage::new().await;
    for streamed in [false, true] {
        let case = &CASES[6];
        let scene = stage.scene(case, streamed, &json!({})).await;
        let wrong = Answer {
            end: End::Malformed,
            ..Answer::default()
        };
        let replies = vec![
            Reply::Says(wrong),
            says([thought("a"), INSERT]),
            says([BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene
            .expect(&["user", "thought", "call", "return", "reply"])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_turns_out_to_be_too_long() {
    let stage = Stage::new().await;
    for case in &CASES {
        let scene = stage.scene(case, true, &json!({})).await;
        talk(&scene).await;
        let replies = vec![
            Reply::Fails(Trouble::Overflow),
            says([SUMMARY]),
            says([thought("d"), BYE]),
        ];
        scene.turn(&[user("And?")], replies, "end_turn").await;
    }
}
