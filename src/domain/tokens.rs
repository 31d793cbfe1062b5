//! How many tokens a text, a message or a tool costs: by the model's own vocabulary where it is known, else by bytes.

use super::message::{Message, Part, Role, ToolCall, ToolOutput, ToolReturn};
use super::model::{LlmConfig, ToolSchema};

/// What an image costs, whatever its size: about what the vendors ask for one that fills a screen.
pub const IMAGE_TOKENS: u64 = 1_500;

/// Role and frame of a message.
const MESSAGE_TOKENS: u64 = 4;

/// Id and frame of a call, of its return or of a tool's schema.
const CALL_TOKENS: u64 = 8;

/// Longer texts are not read by a vocabulary: one word of a megabyte would hold a thread for a good part of a second.
const MAX_READ_BYTES: usize = 256 * 1024;

/// Tokens of a text whose vocabulary is not known: four bytes each.
pub fn approximate(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}

/// An approximation that is rather too high: what compaction decides by.
fn with_margin(tokens: u64) -> u64 {
    tokens.saturating_mul(13).div_ceil(10)
}

/// The vocabularies that are built in. Each is loaded when it first reads a text (about 50 MB in memory for the newer
/// one), so a process that counts nothing pays nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vocabulary {
    Cl100k,
    O200k,
}

impl Vocabulary {
    /// The vocabulary of a model with this name, whoever serves it; `None` when it is not known.
    pub fn of_model(model: &str) -> Option<Self> {
        const O200K: [&str; 9] = [
            "gpt-4o",
            "gpt-4.1",
            "gpt-4.5",
            "gpt-5",
            "gpt-oss",
            "chatgpt-4o",
            "o1",
            "o3",
            "o4",
        ];
        const CL100K: [&str; 3] = ["gpt-4", "gpt-3.5", "gpt-35"];
        let name = model.rsplit('/').next().unwrap_or(model);
        let name = name.strip_prefix("ft:").unwrap_or(name);
        let one_of = |families: &[&str]| families.iter().any(|family| is_of(name, family));
        if one_of(&O200K) {
            Some(Self::O200k)
        } else if one_of(&CL100K) {
            Some(Self::Cl100k)
        } else {
            None
        }
    }

    fn count(self, text: &str) -> u64 {
        let encoder = match self {
            Self::Cl100k => tiktoken_rs::cl100k_base_singleton(),
            Self::O200k => tiktoken_rs::o200k_base_singleton(),
        };
        encoder.count_ordinary(text) as u64
    }
}

/// Whether a model belongs to a family: `gpt-4-0613` to `gpt-4`, `gpt-4o` not.
fn is_of(model: &str, family: &str) -> bool {
    let rest = model.strip_prefix(family);
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// Counts what a model is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Counter {
    vocabulary: Option<Vocabulary>,
    /// Characters of a tool return that the model is shown.
    return_chars: usize,
    cautious: bool,
}

impl Counter {
    /// The counter of a configured model.
    pub fn of(config: &LlmConfig) -> Self {
        Self {
            vocabulary: Vocabulary::of_model(&config.model),
            return_chars: return_chars(config.context_window),
            cautious: false,
        }
    }

    /// The same counter with a margin of 30 % on everything that it can only approximate: for compaction, not for
    /// what clients are shown.
    pub fn cautious(self) -> Self {
        Self {
            cautious: true,
            ..self
        }
    }

    /// Whether the model's own vocabulary is used.
    pub fn is_exact(&self) -> bool {
        self.vocabulary.is_some()
    }

    pub fn text(&self, text: &str) -> u64 {
        match self.vocabulary {
            _ if text.is_empty() => 0,
            Some(vocabulary) if text.len() <= MAX_READ_BYTES => vocabulary.count(text),
            _ => self.estimate(approximate(text)),
        }
    }

    fn estimate(&self, tokens: u64) -> u64 {
        if self.cautious {
            with_margin(tokens)
        } else {
            tokens
        }
    }

    /// What the model is sent of a message; 0 for one that it never sees. Its own thoughts count as if they were always
    /// sent back, as some protocols want it.
    pub fn message(&self, message: &Message) -> u64 {
        let parts = || message.content.iter().map(|part| self.part(part));
        let calls = || message.tool_calls.iter().map(|call| self.call(call));
        let returns = || message.tool_returns.iter().map(|end| self.call_end(end));
        let tokens: u64 = match message.role {
            Role::System | Role::User | Role::Summary => parts().sum(),
            Role::Assistant | Role::Approval => parts().chain(calls()).sum(),
            Role::Tool => returns().sum(),
        };
        if tokens == 0 {
            0
        } else {
            tokens + MESSAGE_TOKENS
        }
    }

    /// The compiled system message.
    pub fn system(&self, text: &str) -> u64 {
        self.text(text) + MESSAGE_TOKENS
    }

    pub fn tools(&self, tools: &[ToolSchema]) -> u64 {
        let schema = |tool: &ToolSchema| {
            let texts = [
                tool.name.as_str(),
                tool.description.as_str(),
                &tool.parameters.to_string(),
            ];
            texts.iter().map(|text| self.text(text)).sum::<u64>() + CALL_TOKENS
        };
        tools.iter().map(schema).sum()
    }

    fn part(&self, part: &Part) -> u64 {
        match part {
            Part::Text { text, .. } => self.text(text),
            Part::Image(_) => IMAGE_TOKENS,
            Part::Reasoning {
                native, reasoning, ..
            } if *native => self.text(reasoning),
            Part::Reasoning { .. } | Part::OmittedReasoning { .. } => 0,
            // Sealed: only the provider knows what it stands for.
            Part::RedactedReasoning { data } => self.estimate(approximate(data)),
            Part::SummarizedReasoning {
                encrypted_content, ..
            } => encrypted_content
                .as_deref()
                .map_or(0, |data| self.estimate(approximate(data))),
        }
    }

    fn call(&self, call: &ToolCall) -> u64 {
        self.text(&call.name) + self.text(&call.arguments) + CALL_TOKENS
    }

    fn call_end(&self, end: &ToolReturn) -> u64 {
        let output = match &end.output {
            ToolOutput::Packed(text) => self.text(first_chars(text, self.return_chars)),
            ToolOutput::Parts(parts) => parts.iter().map(|part| self.part(part)).sum(),
        };
        output + CALL_TOKENS
    }
}

/// Characters of a tool return that a model with this window is shown (agent-loop §4).
pub fn return_chars(context_window: u64) -> usize {
    usize::try_from(context_window.saturating_mul(4) / 5)
        .unwrap_or(usize::MAX)
        .max(5_000)
}

/// The first characters of a text.
pub(super) fn first_chars(text: &str, chars: usize) -> &str {
    // Bytes are at least characters: short texts need no counting.
    if text.len() <= chars {
        return text;
    }
    match text.char_indices().nth(chars) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests;
