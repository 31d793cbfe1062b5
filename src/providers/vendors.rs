//! The providers that are known by name: where they are, which variables configure them, which protocol they speak and
//! with which peculiarities. Data; adding a provider is adding a line.

use super::anthropic::Messages;
use super::gemini::Gemini;
use super::openai::ChatCompletions;
use super::protocol::Protocol;
use crate::domain::model::Handle;

/// One provider of the table.
#[derive(Debug)]
pub(crate) struct Vendor {
    /// The part of the handle before the slash.
    pub(crate) name: &'static str,
    /// As clients see it; the contract has a closed list.
    pub(crate) provider_type: &'static str,
    pub(crate) endpoint_type: &'static str,
    pub(crate) key_variable: Option<&'static str>,
    /// In order of precedence.
    pub(crate) base_variables: &'static [&'static str],
    /// Where it is served when nobody says otherwise. A server of one's own has no such place.
    pub(crate) public_base: Option<&'static str>,
    pub(crate) dialect: Dialect,
}

/// Where servers differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) listing: ListingStyle,
    pub(crate) output_limit: OutputLimit,
    pub(crate) replay: Replay,
    /// Whether `tool_choice` may name a function; otherwise a named tool becomes `required`.
    pub(crate) names_tools: bool,
    /// The header that carries the key; `authorization` as a bearer token if there is none.
    pub(crate) key_header: Option<&'static str>,
    /// Headers of every request, whatever is asked.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) protocol: &'static dyn Protocol,
}

/// Which list of models the endpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListingStyle {
    /// `GET /models`
    OpenAi,
    /// `GET /models` in pages
    Anthropic,
    /// `GET /models` in pages, each model with what can be asked of it
    Gemini,
    /// `GET /api/tags`, then `POST /api/show`
    Ollama,
    /// `GET /api/v0/models`
    LmStudio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputLimit {
    MaxCompletionTokens,
    /// The older name, for servers that know no other.
    MaxTokens,
}

/// Whether the reasoning of this turn goes back to the model in `reasoning_content`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The server refuses the field.
    Never,
    WhenKnown,
    /// The server refuses a message with calls and without the field; it may be empty.
    WithCalls,
}

pub(crate) const PLAIN: Dialect = Dialect {
    listing: ListingStyle::OpenAi,
    output_limit: OutputLimit::MaxCompletionTokens,
    replay: Replay::WhenKnown,
    names_tools: true,
    key_header: None,
    headers: &[],
    protocol: &ChatCompletions,
};

/// Servers that know only `max_tokens`.
const OLDER: Dialect = Dialect {
    output_limit: OutputLimit::MaxTokens,
    ..PLAIN
};

/// Claude, and who else speaks its language.
const ANTHROPIC: Dialect = Dialect {
    listing: ListingStyle::Anthropic,
    key_header: Some("x-api-key"),
    // Which version of the API we know; without it nothing is answered.
    headers: &[("anthropic-version", "2023-06-01")],
    protocol: &Messages,
    ..PLAIN
};

/// Google's models.
const GEMINI: Dialect = Dialect {
    listing: ListingStyle::Gemini,
    key_header: Some("x-goog-api-key"),
    protocol: &Gemini,
    ..PLAIN
};

/// OpenAI's own address; some fields are sent nowhere else.
pub(crate) const OPENAI_BASE: &str = "https://api.openai.com/v1";

/// Anthropic's own address; there models are known by short names as well.
pub(crate) const ANTHROPIC_BASE: &str = "https://api.anthropic.com/v1";

pub(crate) const VENDORS: [Vendor; 13] = [
    Vendor {
        name: "openai",
        provider_type: "openai",
        endpoint_type: "openai",
        key_variable: Some("OPENAI_API_KEY"),
        base_variables: &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
        public_base: Some(OPENAI_BASE),
        dialect: PLAIN,
    },
    Vendor {
        name: "anthropic",
        provider_type: "anthropic",
        endpoint_type: "anthropic",
        key_variable: Some("ANTHROPIC_API_KEY"),
        base_variables: &["ANTHROPIC_BASE_URL"],
        public_base: Some(ANTHROPIC_BASE),
        dialect: ANTHROPIC,
    },
    Vendor {
        name: "google_ai",
        provider_type: "google_ai",
        endpoint_type: "google_ai",
        key_variable: Some("GEMINI_API_KEY"),
        base_variables: &["GEMINI_BASE_URL"],
        public_base: Some("https://generativelanguage.googleapis.com/v1beta"),
        dialect: GEMINI,
    },
    Vendor {
        name: "ollama",
        provider_type: "ollama",
        endpoint_type: "openai",
        key_variable: None,
        base_variables: &["OLLAMA_BASE_URL"],
        public_base: None,
        dialect: Dialect {
            listing: ListingStyle::Ollama,
            ..OLDER
        },
    },
    Vendor {
        name: "vllm",
        provider_type: "vllm",
        endpoint_type: "openai",
        key_variable: None,
        base_variables: &["VLLM_API_BASE"],
        public_base: None,
        dialect: PLAIN,
    },
    Vendor {
        name: "sglang",
        provider_type: "sglang",
        endpoint_type: "openai",
        key_variable: None,
        base_variables: &["SGLANG_API_BASE"],
        public_base: None,
        dialect: PLAIN,
    },
    Vendor {
        name: "lmstudio_openai",
        provider_type: "lmstudio_openai",
        endpoint_type: "openai",
        key_variable: None,
        base_variables: &["LMSTUDIO_BASE_URL"],
        public_base: None,
        dialect: Dialect {
            listing: ListingStyle::LmStudio,
            ..OLDER
        },
    },
    Vendor {
        name: "llamacpp",
        provider_type: "openai",
        endpoint_type: "openai",
        key_variable: None,
        base_variables: &["LLAMACPP_BASE_URL"],
        public_base: None,
        dialect: OLDER,
    },
    Vendor {
        name: "openrouter",
        provider_type: "openrouter",
        endpoint_type: "openrouter",
        key_variable: Some("OPENROUTER_API_KEY"),
        base_variables: &[],
        public_base: Some("https://openrouter.ai/api/v1"),
        dialect: Dialect {
            names_tools: false,
            ..PLAIN
        },
    },
    Vendor {
        name: "groq",
        provider_type: "groq",
        endpoint_type: "groq",
        key_variable: Some("GROQ_API_KEY"),
        base_variables: &[],
        public_base: Some("https://api.groq.com/openai/v1"),
        dialect: Dialect {
            names_tools: false,
            replay: Replay::Never,
            ..PLAIN
        },
    },
    Vendor {
        name: "together",
        provider_type: "together",
        endpoint_type: "together",
        key_variable: Some("TOGETHER_API_KEY"),
        base_variables: &[],
        public_base: Some("https://api.together.xyz/v1"),
        dialect: Dialect {
            replay: Replay::Never,
            ..OLDER
        },
    },
    Vendor {
        name: "deepseek",
        provider_type: "deepseek",
        endpoint_type: "deepseek",
        key_variable: Some("DEEPSEEK_API_KEY"),
        base_variables: &[],
        public_base: Some("https://api.deepseek.com/v1"),
        dialect: Dialect {
            replay: Replay::WithCalls,
            ..OLDER
        },
    },
    Vendor {
        name: "xai",
        provider_type: "xai",
        endpoint_type: "xai",
        key_variable: Some("XAI_API_KEY"),
        base_variables: &[],
        public_base: Some("https://api.x.ai/v1"),
        dialect: Dialect {
            replay: Replay::Never,
            ..PLAIN
        },
    },
];

impl Vendor {
    /// What an address gets at its end that names no version: servers of one's own are known by their root as well,
    /// and the clients of Anthropic and Google know no other address.
    pub(crate) fn version(&self) -> Option<&'static str> {
        match (self.public_base, self.dialect.listing) {
            (_, ListingStyle::Gemini) => Some("/v1beta"),
            (_, ListingStyle::Anthropic) | (None, _) => Some("/v1"),
            (Some(_), _) => None,
        }
    }
}

/// The handle with the name by which its provider is configured.
pub(crate) fn canonical(mut handle: Handle) -> Handle {
    handle.provider = canonical_name(&handle.provider).to_owned();
    handle
}

/// The provider that existing programs mean by other names (decisions 24).
pub(crate) fn canonical_name(name: &str) -> &str {
    match name {
        "openai-proxy" => "openai",
        "lmstudio" | "lmstudio-chatcompletions" => "lmstudio_openai",
        name => name,
    }
}
