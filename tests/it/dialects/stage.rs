//! What the scenes share: the models, what they say, and a Greenroom that knows them all.

use super::official::Official;
use super::script::{Answer, Reply, Said, Script};
use crate::model::PIXEL;
use crate::turns::{frames, kinds, user, with};
use crate::world::{World, events};
use reqwest::Method;
use serde_json::{Value, json};

/// A model, and what is stored of its thinking.
pub(crate) struct Case {
    pub(crate) handle: &'static str,
    pub(crate) thinks: Thinks,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Thinks {
    Never,
    /// Nobody sees what, but it is noted with every answer.
    Hidden,
    Shown,
}

/// OpenAI's own of both kinds, an open model and a reasoning one behind a server of one's own, and two generations each
/// of Anthropic's and Google's.
pub(crate) const CASES: [Case; 8] = [
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
    pub(crate) const fn new(handle: &'static str, thinks: Thinks) -> Self {
        Self { handle, thinks }
    }
}

pub(crate) fn says(said: impl Into<Vec<Said>>) -> Reply {
    Reply::Says(answer(said))
}

pub(crate) fn answer(said: impl Into<Vec<Said>>) -> Answer {
    Answer {
        said: said.into(),
        ..Answer::default()
    }
}

/// Two thoughts, sealed together; those of another seal are others.
pub(crate) fn thought(seal: &'static str) -> Said {
    thinks(&format!("He greets me ({seal}).\n\nI greet him."), seal)
}

pub(crate) fn thinks(text: &str, seal: &'static str) -> Said {
    let text = text.to_owned();
    Said::Thought { text, seal }
}

pub(crate) fn text(text: &'static str) -> Said {
    Said::Text(text)
}

pub(crate) fn call(name: &'static str, arguments: &'static str) -> Said {
    Said::Call { name, arguments }
}

/// A call that works, written as models write: with spaces and escapes.
pub(crate) const INSERT: Said = Said::Call {
    name: "memory_insert",
    arguments: r#"{"label": "human", "new_string": "Caf\u00e9 \"No\u00ebl\" \ud83c\udf84\n\\o/"}"#,
};
pub(crate) const INSERTED: &str = "Name: unknown\nCafé \"Noël\" 🎄\n\\o/";
pub(crate) const APPEND: Said = Said::Call {
    name: "core_memory_append",
    arguments: r#"{ "label": "persona", "content": "I like tea." }"#,
};
pub(crate) const BYE: Said = Said::Text("See you.");

/// A Greenroom that knows all these models, and the script they follow.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) script: Script,
    _official: Official,
}

impl Stage {
    pub(crate) async fn new() -> Self {
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

    pub(crate) async fn scene<'a>(
        &'a self,
        case: &'a Case,
        streamed: bool,
        fields: &Value,
    ) -> Scene<'a> {
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
pub(crate) async fn everywhere(fields: Value, play: impl AsyncFn(&Scene<'_>)) {
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
pub(crate) struct Scene<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) case: &'a Case,
    pub(crate) streamed: bool,
    pub(crate) agent: String,
}

impl Scene<'_> {
    pub(crate) fn world(&self) -> &World {
        &self.stage.world
    }

    pub(crate) fn path(&self) -> String {
        format!("agents/{}/messages", self.agent)
    }

    /// One turn: what the user sends, what the model answers, and why the turn ends.
    pub(crate) async fn turn(&self, items: &[Value], replies: Vec<Reply>, stop: &str) {
        self.turn_with(&json!({"messages": items}), replies, stop)
            .await;
    }

    pub(crate) async fn turn_with(&self, body: &Value, replies: Vec<Reply>, stop: &str) {
        self.turn_at(&self.path(), body, replies, stop).await;
    }

    pub(crate) async fn turn_at(&self, path: &str, body: &Value, replies: Vec<Reply>, stop: &str) {
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
    pub(crate) async fn tell_what_is_stored(&self, frames: &[Value]) {
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
    pub(crate) async fn attempt(&self, path: &str, body: &Value) -> (u16, String) {
        let way = json!({"streaming": self.streamed, "stream_tokens": self.streamed});
        let url = format!("{}/v1/{path}", self.world().base);
        let request = self.world().http.post(url).json(&with(body, &way));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A turn that fails: its status and the error's type; a stream has begun and tells the type alone.
    pub(crate) async fn failure(&self, replies: Vec<Reply>) -> (u16, String) {
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
    pub(crate) async fn goes_on(&self) {
        self.turn(
            &[user("And now?")],
            vec![says([thought("after"), text("Now, yes.")])],
            "end_turn",
        )
        .await;
        self.world().assert_paired(&self.agent).await;
    }

    /// The kinds of what is stored, in one word each.
    pub(crate) async fn expect(&self, words: &[&str]) {
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
    pub(crate) async fn stored(&self) -> Vec<Value> {
        let mut history = self.world().history(&self.agent).await;
        let mut calls = Vec::new();
        for message in &mut history {
            forget(message, &mut calls);
        }
        history
    }

    /// What each step cost, oldest first.
    pub(crate) async fn costs(&self) -> Vec<Value> {
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

    /// What would be sent for this.
    pub(crate) async fn preview(&self, body: &Value) -> Value {
        let path = format!("{}/preview-raw-payload", self.path());
        let (status, text) = self.attempt(&path, body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Changes the agent.
    pub(crate) async fn change(&self, fields: &Value) {
        let path = format!("/v1/agents/{}", self.agent);
        let (status, said) = self
            .world()
            .call(Method::PATCH, &path, Some(fields.clone()))
            .await;
        assert!(status.is_success(), "{said}");
    }

    /// Settings of the model that change nothing yet, where its provider has any.
    pub(crate) fn settings(&self) -> Option<Value> {
        let provider = self
            .case
            .handle
            .split('/')
            .next()
            .filter(|provider| *provider != "vllm")?;
        Some(json!({"provider_type": provider}))
    }

    /// The ids of the calls that wait.
    pub(crate) async fn waiting(&self) -> Vec<String> {
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

/// A rule by which `memory_insert` waits for a word.
pub(crate) fn gate() -> Value {
    json!({"tool_rules": [{"type": "requires_approval", "tool_name": "memory_insert"}]})
}

/// A part that shows one pixel.
pub(crate) fn image() -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}})
}

/// Whether the newest request holds the pixel.
pub(crate) fn is_seen(scene: &Scene<'_>) -> bool {
    scene
        .stage
        .script
        .bodies()
        .pop()
        .unwrap()
        .to_string()
        .contains(PIXEL)
}
