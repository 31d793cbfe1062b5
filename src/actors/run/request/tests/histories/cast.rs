//! The models that take part, each held to its vendor's documented rules.

use crate::domain::model::{Answer, LlmConfig, ModelRequest};
use crate::egress::Gate;
use crate::providers::Providers;
use crate::providers::testing::vendors::{self, DIALECTS, Dialect, End, Said, Usage};
use crate::providers::testing::{configured, heard, sent};
use proptest::sample::Index;
use serde_json::json;
use std::sync::LazyLock;

/// OpenAI's own of both kinds, an open model and one that hides its thoughts behind a server of one's own, and two
/// generations each of Anthropic's and Google's.
const HANDLES: [&str; 8] = [
    "openai/gpt-4o-mini",
    "openai/gpt-5",
    "vllm/qwen3-8b",
    "vllm/o4-mini",
    "anthropic/claude-sonnet-4-5",
    "anthropic/claude-opus-4-6",
    "google_ai/gemini-2.5-flash",
    "google_ai/gemini-3-pro-preview",
];

/// What stands for vendors' signatures: no two thoughts have the same.
static SEALS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let seal = |number: usize| -> &'static str { format!("seal {number}").leak() };
    (0..512).map(seal).collect()
});

/// Something that a model says, before it is known which model.
#[derive(Debug, Clone)]
pub(super) enum Utterance {
    Thought {
        shown: bool,
    },
    Redacted,
    Text(&'static str),
    Refusal,
    /// The tool among those that are offered and some that are not, and how well the arguments are written.
    Call {
        tool: Index,
        arguments: Index,
    },
}

/// What models call besides what they are offered.
const INVENTED: [&str; 2] = ["no_such_tool", "memory insert!"];

/// What they write as arguments.
const ARGUMENTS: [&str; 11] = [
    "{}",
    r#"{"label": "human", "new_string": "Caf\u00e9"}"#,
    r#"{"request_heartbeat": true, "thinking": "Hm."}"#,
    r#"{"thinking": "", "request_heartbeat": "yes", "message": {"deep": [1, null]}}"#,
    r#"{"request_heartbeat": false}"#,
    r#"{"label": 7}"#,
    "",
    r#"{"label": "a"}{"label": "b"}"#,
    r#"{"label": "hu"#,
    "[1]",
    r#""{\"label\": \"human\"}""#,
];
/// So many of them are objects; only a vendor that sends arguments as text can send the others.
const SOUND: usize = 6;

/// Words that a model says.
pub(super) const TEXTS: [&str; 5] = ["", " \n", "Well.", "On the one hand,", "I see 🎄."];

pub(super) struct Cast {
    providers: Providers,
    configs: Vec<LlmConfig>,
}

impl Cast {
    pub(super) fn new() -> Self {
        let config = serde_json::from_value(json!({})).unwrap();
        let find = |name: &str| {
            let value = match name {
                "OPENAI_API_KEY" => "sk-1",
                "VLLM_API_BASE" => "http://127.0.0.1:1",
                "ANTHROPIC_API_KEY" => "sk-ant-1",
                "GEMINI_API_KEY" => "AIza1",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let providers = Providers::new(config, Gate::new(Vec::new()), find).unwrap();
        let config = |handle: &&str| configured(&providers, handle);
        let configs = HANDLES.iter().map(config).collect();
        Self { providers, configs }
    }

    pub(super) fn configs(&self) -> &[LlmConfig] {
        &self.configs
    }

    /// Holds a request against the rules of its model's vendor. `given`: what models said so far.
    ///
    /// # Errors
    /// The rule that is broken, with the request.
    pub(super) fn check(
        &self,
        request: &ModelRequest,
        given: &[vendors::Answer],
    ) -> Result<(), String> {
        let sent = sent(&self.providers, request);
        let broken = |rule| format!("{}: {rule}\n{}", request.config.model, sent.body);
        vendor(&sent).check(&sent, given).map_err(broken)
    }

    /// What the model of a request answers, as the vendor spells it and as we read that.
    pub(super) fn answer(
        &self,
        request: &ModelRequest,
        said: &[Utterance],
        end: End,
        number: usize,
    ) -> (vendors::Answer, Result<Answer, String>) {
        let sent = sent(&self.providers, request);
        let vendor = vendor(&sent);
        let ability = Ability::of(&sent);
        let mut offered: Vec<&'static str> = request.offered().iter().map(known).collect();
        offered.extend(&INVENTED[..if ability.writes_text { 2 } else { 1 }]);
        let mut seals = SEALS[number * 4..].iter().take(4);
        let mut written = Vec::new();
        for utterance in said {
            written.extend(match utterance {
                Utterance::Thought { shown } if ability.thinks => seals.next().map(|seal| {
                    let text = if *shown {
                        format!("Hm ({seal}).")
                    } else {
                        String::new()
                    };
                    Said::Thought { text, seal }
                }),
                Utterance::Redacted if ability.redacts => Some(Said::Redacted("c2VjcmV0")),
                Utterance::Thought { .. } | Utterance::Redacted => None,
                Utterance::Text(text) => Some(Said::Text(text)),
                Utterance::Refusal => Some(Said::Refusal("I would rather not.")),
                Utterance::Call { tool, arguments } => Some(Said::Call {
                    name: tool.get::<&'static str>(&offered),
                    arguments: arguments.get::<&'static str>(if ability.writes_text {
                        &ARGUMENTS
                    } else {
                        &ARGUMENTS[..SOUND]
                    }),
                }),
            });
        }
        let answer = vendors::Answer {
            said: written,
            end,
            usage: Usage::default(),
            model: vendor.model(&sent),
            number,
        };
        let heard = heard(&self.providers, request, vendor, &answer);
        (answer, heard)
    }
}

fn vendor(sent: &vendors::Request) -> &'static dyn Dialect {
    let takes = |vendor: &&&dyn Dialect| vendor.takes(&sent.path);
    *DIALECTS.iter().find(takes).unwrap()
}

/// The names of tools live as long as the test.
fn known(tool: &crate::domain::model::ToolSchema) -> &'static str {
    let known = super::life::TOOLS.iter().chain([&super::life::CLIENT_TOOL]);
    known.copied().find(|known| *known == tool.name).unwrap()
}

/// What the model that is asked can say.
struct Ability {
    thinks: bool,
    redacts: bool,
    /// Its arguments are text, sound or not.
    writes_text: bool,
}

impl Ability {
    fn of(sent: &vendors::Request) -> Self {
        let body = &sent.body;
        let claude = sent.path == "/v1/messages";
        let gemini = sent.path.starts_with("/v1beta");
        let asked = if claude {
            !body["thinking"].is_null() && body["thinking"]["type"] != "disabled"
        } else {
            !gemini || body["generationConfig"]["thinkingConfig"]["includeThoughts"] == json!(true)
        };
        Self {
            thinks: asked && body["model"] != "gpt-4o-mini",
            redacts: asked && claude,
            writes_text: !claude && !gemini,
        }
    }
}
