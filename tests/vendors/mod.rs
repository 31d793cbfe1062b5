//! What models' vendors take and answer, each in its own protocol: their documented rules for requests, and their spelling
//! of answers. Used by the server that plays them (`tests/it/dialects/script.rs`) and by the random histories
//! (`src/actors/run/request/tests/`).

pub(crate) mod anthropic;
pub(crate) mod gemini;
pub(crate) mod openai;
pub(crate) mod responses;
pub(crate) mod rules;

use self::rules::Verdict;
use self::{anthropic::Anthropic, gemini::Gemini, openai::OpenAi, responses::Responses};
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// One vendor's protocol: its rules for requests, and its spelling of answers.
pub(crate) trait Dialect: Sync {
    fn takes(&self, path: &str) -> bool;
    /// The model that is asked.
    fn model(&self, request: &Request) -> String;
    fn streams(&self, request: &Request) -> bool;
    /// The vendor's documented rules; `given` is what its models said so far.
    fn check(&self, request: &Request, given: &[Answer]) -> Verdict;
    fn whole(&self, answer: &Answer) -> Value;
    /// The same as the bytes of each event.
    fn events(&self, answer: &Answer) -> Vec<String>;
    /// The first events that show nothing of the answer.
    fn opening(&self) -> usize;
    /// Status and body.
    fn refusal(&self, trouble: &Trouble) -> (u16, Value);
    /// The event that stands for an answer that fails on its way.
    fn failure(&self, trouble: &Trouble) -> String;
}

pub(crate) const DIALECTS: [&dyn Dialect; 4] = [&OpenAi, &Responses, &Anthropic, &Gemini];

pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

// ── what models say

/// An answer, whatever its dialect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) said: Vec<Said>,
    pub(crate) end: End,
    pub(crate) usage: Usage,
    /// The model that was asked, and a number that no other answer has. Known when it is given.
    pub(crate) model: String,
    pub(crate) number: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// `seal` stands for what the vendor signs, or encrypts: no other thought has it.
    Thought {
        text: String,
        seal: &'static str,
    },
    /// Thinking that nobody may read.
    Redacted(&'static str),
    Text(&'static str),
    /// What is said instead of an answer. Only OpenAI marks it.
    Refusal(&'static str),
    Call {
        name: &'static str,
        /// As the model wrote it: with its own spaces and escapes.
        arguments: &'static str,
    },
}

/// Why an answer ends, if not because it is complete.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum End {
    #[default]
    Complete,
    Length,
    Filtered,
    /// Gemini's word for a call that it got wrong.
    Malformed,
}

/// What an answer costs; the other counts are parts of `prompt` and of `output`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) written: u64,
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            prompt: 100,
            cached: 60,
            written: 10,
            output: 30,
            reasoning: 12,
        }
    }
}

impl Answer {
    /// The exact model that answers: vendors give a name with a date, whatever name they are asked by.
    pub(crate) fn version(&self) -> String {
        format!("{}-2025-08-07", self.model)
    }

    pub(crate) fn calls(&self) -> Vec<(String, &'static str, &'static str)> {
        let mut calls = Vec::new();
        for said in &self.said {
            if let Said::Call { name, arguments } = said {
                let id = format!("call_{}_{}", self.number, calls.len());
                calls.push((id, *name, *arguments));
            }
        }
        calls
    }

    /// All that is said aloud.
    pub(crate) fn text(&self) -> String {
        let text = |said: &Said| match said {
            Said::Text(text) => Some(*text),
            _ => None,
        };
        self.said.iter().filter_map(text).collect()
    }

    /// Texts and refusals, for vendors that know no difference.
    pub(crate) fn words(&self) -> String {
        let text = |said: &Said| match said {
            Said::Text(text) | Said::Refusal(text) => Some(*text),
            _ => None,
        };
        self.said.iter().filter_map(text).collect()
    }

    pub(crate) fn refusal(&self) -> Option<&'static str> {
        let refusal = |said: &Said| match said {
            Said::Refusal(text) => Some(*text),
            _ => None,
        };
        self.said.iter().find_map(refusal)
    }

    /// What is shown of the thinking.
    pub(crate) fn thought(&self) -> String {
        let text = |said: &Said| match said {
            Said::Thought { text, .. } => Some(text.clone()),
            _ => None,
        };
        self.said.iter().filter_map(text).collect()
    }

    /// The seal of the thinking, spelled.
    pub(crate) fn seal(&self) -> Option<String> {
        let seal = |said: &Said| match said {
            Said::Thought { seal, .. } => Some(spelled(seal)),
            _ => None,
        };
        self.said.iter().find_map(seal)
    }
}

/// A seal as vendors write it: some bytes in base64.
pub(crate) fn spelled(seal: &str) -> String {
    STANDARD.encode(seal)
}

/// The arguments of a call as an object.
pub(crate) fn object(arguments: &str) -> Value {
    serde_json::from_str(arguments).expect("scripts have sound arguments")
}

/// A text in pieces of so few characters that some begin or end within an escape.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let piece = |piece: &[char]| piece.iter().collect();
    characters.chunks(5).map(piece).collect()
}

/// An event of a stream; OpenAI and Google give it no name.
pub(crate) fn event(name: Option<&str>, data: &Value) -> String {
    let name = name.map_or(String::new(), |name| format!("event: {name}\n"));
    format!("{name}data: {data}\n\n")
}

/// What a vendor says instead of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Trouble {
    Overloaded,
    RateLimit,
    Overflow,
    Key,
    Quota,
    /// A rule that the request breaks.
    Rule(String),
}
