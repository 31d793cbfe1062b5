//! The providers that are known by name: where they are, which variables configure them, which protocol they speak and
//! with which peculiarities. Data; adding a provider is adding a line.

use super::anthropic::Messages;
use super::azure::Azure;
use super::bedrock::Bedrock;
use super::gemini::Gemini;
use super::openai::ChatCompletions;
use super::protocol::Protocol;
use super::rehearsal;
use crate::domain::model::Handle;
use crate::domain::provider::ProviderType;

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
    /// Where a key is tried that the list does not ask for, after the base.
    pub(crate) key_check: Option<&'static str>,
    pub(crate) output_limit: OutputLimit,
    pub(crate) replay: Replay,
    /// Whether `tool_choice` may name a function; otherwise a named tool becomes `required`.
    pub(crate) names_tools: bool,
    /// Whether the server can tell the ids of the tokens of an answer; others may refuse to be asked.
    pub(crate) tells_token_ids: bool,
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
    /// `GET /openai/deployments`
    Azure,
    /// `GET /v1beta1/publishers/google/models`
    Vertex,
    /// `GET /inference-profiles`
    Bedrock,
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
    key_check: None,
    output_limit: OutputLimit::MaxCompletionTokens,
    replay: Replay::WhenKnown,
    names_tools: true,
    tells_token_ids: false,
    key_header: None,
    headers: &[],
    protocol: &ChatCompletions,
};

/// Servers that know only `max_tokens`.
const OLDER: Dialect = Dialect {
    output_limit: OutputLimit::MaxTokens,
    ..PLAIN
};

/// Servers for models that one may look into.
const OPEN_WEIGHTS: Dialect = Dialect {
    tells_token_ids: true,
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

/// Azure's OpenAI service; its version is an option of its own.
const AZURE: Vendor = Vendor {
    name: "azure",
    provider_type: "azure",
    endpoint_type: "azure",
    key_variable: Some("AZURE_API_KEY"),
    base_variables: &["AZURE_BASE_URL"],
    public_base: None,
    dialect: Dialect {
        listing: ListingStyle::Azure,
        key_header: Some("api-key"),
        replay: Replay::Never,
        protocol: &Azure,
        ..PLAIN
    },
};

/// Gemini in Google's cloud: where it is follows from project and location.
pub(crate) const VERTEX: Vendor = Vendor {
    name: "google_vertex",
    provider_type: "google_vertex",
    endpoint_type: "google_vertex",
    key_variable: None,
    base_variables: &[],
    public_base: None,
    dialect: Dialect {
        listing: ListingStyle::Vertex,
        key_header: None,
        ..GEMINI
    },
};

/// Claude in Amazon's: where it is follows from the region.
pub(crate) const BEDROCK: Vendor = Vendor {
    name: "bedrock",
    provider_type: "bedrock",
    endpoint_type: "bedrock",
    key_variable: Some("AWS_BEARER_TOKEN_BEDROCK"),
    base_variables: &[],
    public_base: None,
    dialect: Dialect {
        listing: ListingStyle::Bedrock,
        protocol: &Bedrock,
        ..PLAIN
    },
};

pub(crate) const VENDORS: [Vendor; 14] = [
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
        dialect: OPEN_WEIGHTS,
    },
    Vendor {
        name: "sglang",
        provider_type: "sglang",
        endpoint_type: "openai",
        key_variable: None,
        base_variables: &["SGLANG_API_BASE"],
        public_base: None,
        dialect: OPEN_WEIGHTS,
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
            // Its list is open to everybody.
            key_check: Some("/key"),
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
    AZURE,
];

/// Those that clients may add besides, and the configuration does not know by name. They have no variables.
const ADDED_ONLY: [Vendor; 4] = [
    BEDROCK,
    Vendor {
        name: "baseten",
        provider_type: "baseten",
        endpoint_type: "baseten",
        key_variable: None,
        base_variables: &[],
        public_base: Some("https://inference.baseten.co/v1"),
        dialect: Dialect {
            replay: Replay::Never,
            ..OLDER
        },
    },
    Vendor {
        name: "cerebras",
        provider_type: "cerebras",
        endpoint_type: "openai",
        key_variable: None,
        base_variables: &[],
        public_base: Some("https://api.cerebras.ai/v1"),
        dialect: Dialect {
            replay: Replay::Never,
            ..PLAIN
        },
    },
    Vendor {
        name: "fireworks",
        provider_type: "fireworks",
        endpoint_type: "openai",
        key_variable: None,
        base_variables: &[],
        public_base: Some("https://api.fireworks.ai/inference/v1"),
        dialect: Dialect {
            replay: Replay::Never,
            ..OLDER
        },
    },
];

/// Types of the contract that are not spoken, and why: what a client reads that wants to add one.
const UNSPOKEN: [(&str, &str); 8] = [
    (
        "google_vertex",
        "it wants the login of a Google account, and no key: the configuration of this server can name one; Gemini with a key \
         is 'google_ai'",
    ),
    ("chatgpt_oauth", "it wants a login in a browser, and no key"),
    (
        "letta",
        "there is no hosted Letta behind this server; letta/auto stands for its default model",
    ),
    (
        "hugging-face",
        "its models are behind a router of another form; a server that speaks chat completions is 'openai' with its \
         base_url",
    ),
    (
        "minimax",
        "it speaks a dialect of its own that this server does not know yet",
    ),
    (
        "mistral",
        "it refuses fields of chat completions that this server sends to everybody",
    ),
    (
        "zai",
        "it speaks a dialect of its own that this server does not know yet",
    ),
    (
        "zai_coding",
        "it speaks a dialect of its own that this server does not know yet",
    ),
];

/// How a provider of this type is spoken to.
///
/// # Errors
/// Why it is not.
pub(crate) fn of_type(provider_type: ProviderType) -> Result<&'static Vendor, &'static str> {
    let name = provider_type.name();
    vendor(name).ok_or_else(|| {
        let unspoken = UNSPOKEN.iter().find(|(unspoken, _)| *unspoken == name);
        unspoken.map_or("this server does not know it", |(_, why)| *why)
    })
}

pub(crate) fn vendor(name: &str) -> Option<&'static Vendor> {
    let mut known = VENDORS.iter().chain(&ADDED_ONLY);
    known.find(|vendor| vendor.name == name)
}

/// Names that no client may give a provider: what they would stand for is settled.
pub(crate) fn is_reserved(name: &str) -> bool {
    [rehearsal::PROVIDER, "letta"].contains(&name) || canonical_name(name) != name
}

impl Vendor {
    /// What an address gets at its end that names no version: servers of one's own are known by their root as well,
    /// and the clients of Anthropic and Google know no other address.
    pub(crate) fn version(&self) -> Option<&'static str> {
        match (self.public_base, self.dialect.listing) {
            (_, ListingStyle::Azure | ListingStyle::Bedrock | ListingStyle::Vertex) => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_contract_is_spoken_or_says_why_it_is_not() {
        for name in ProviderType::NAMES {
            let spoken = of_type(ProviderType::named(name).unwrap());
            let unspoken = UNSPOKEN.iter().any(|(unspoken, _)| *unspoken == name);
            assert_ne!(spoken.is_ok(), unspoken, "{name}");
        }
    }
}
