//! What is known of models by their names, for when their endpoint does not say (providers-and-context §2, §3).

mod claude;
mod gemini;

pub(crate) use claude::Claude;
pub(crate) use gemini::{GeminiThinking, converses_at_google, gemini_successor, gemini_thinking};

/// A context window that is not set by hand is at most this many tokens, whatever the model takes.
pub(crate) const MAX_DEFAULT_WINDOW: u64 = 128_000;

/// The window of a model nobody knows, in tokens.
const UNKNOWN_WINDOW: u64 = 30_000;

/// Context windows in tokens. The longest name that begins the model's name wins.
const WINDOWS: &[(&str, u64)] = &[
    ("gpt-3.5-turbo", 16_385),
    ("gpt-4", 8_192),
    ("gpt-4-turbo", 128_000),
    ("gpt-4-1106", 128_000),
    ("gpt-4-0125", 128_000),
    ("gpt-4o", 128_000),
    ("chatgpt-4o", 128_000),
    ("gpt-4.1", 1_047_576),
    ("gpt-5", 272_000),
    ("gpt-5.4", 1_050_000),
    ("gpt-5.4-mini", 400_000),
    ("gpt-5.4-nano", 400_000),
    ("gpt-oss", 131_072),
    ("o1", 200_000),
    ("o3", 200_000),
    ("o4-mini", 200_000),
    ("claude", 200_000),
    ("gemini-2.0", 1_048_576),
    ("gemini-2.5", 1_048_576),
    ("gemini-3", 1_048_576),
    ("deepseek", 64_000),
    ("llama-3.1", 131_072),
    ("llama-3.3", 131_072),
    ("grok-3", 131_072),
    ("grok-4", 256_000),
];

/// Dimensions of other embedding models. The longest name that begins the model's name wins.
const EMBEDDINGS: &[(&str, u64)] = &[
    ("nomic-embed-text", 768),
    ("mxbai-embed-large", 1_024),
    ("all-minilm", 384),
    ("bge-m3", 1_024),
    ("snowflake-arctic-embed2", 1_024),
    ("gemini-embedding", 3_072),
    ("text-embedding-004", 768),
];

/// The embedding models that exist wherever OpenAI is configured, whatever its list says.
pub(crate) const OPENAI_EMBEDDINGS: [(&str, u64); 3] = [
    ("text-embedding-3-large", 3_072),
    ("text-embedding-3-small", 1_536),
    ("text-embedding-ada-002", 1_536),
];

/// The most the model takes, in tokens, going by its name.
pub(crate) fn window(model: &str) -> u64 {
    longest(WINDOWS, model).unwrap_or(UNKNOWN_WINDOW)
}

/// The length of the model's vectors, going by its name.
pub(crate) fn embedding_dim(model: &str) -> Option<u64> {
    longest(&OPENAI_EMBEDDINGS, model).or_else(|| longest(EMBEDDINGS, model))
}

fn longest(table: &[(&str, u64)], model: &str) -> Option<u64> {
    let name = base_name(model);
    let matching = table.iter().filter(|(prefix, _)| name.starts_with(prefix));
    matching
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, value)| *value)
}

/// The model's own name in lower case: routers and hubs put an owner before it (`openai/gpt-4o`), Bedrock a region and
/// an owner (`us.anthropic.claude-sonnet-4-6`).
fn base_name(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.split_once("anthropic.").map_or(name, |(_, name)| name);
    name.to_ascii_lowercase()
}

/// `max_tokens` of a configuration that is made from a handle.
pub(crate) fn max_tokens(provider: &str, model: &str) -> u64 {
    let long = ["gpt-5.2", "gpt-5.3", "gpt-5.4"];
    match provider {
        "openai" if long.iter().any(|name| model.starts_with(name)) && !model.contains("-chat") => {
            128_000
        }
        "openai" => 16_384,
        "anthropic" | "bedrock" => Claude::named(model).map_or(8_192, Claude::max_tokens),
        "google_ai" | "google_vertex" if gemini_thinking(model).is_some() => 65_536,
        "google_ai" | "google_vertex" => 8_192,
        _ => 4_096,
    }
}

/// Whether a configuration that is made from a handle lets the model think.
pub(crate) fn reasons_by_default(endpoint_type: &str, model: &str) -> bool {
    match endpoint_type {
        "anthropic" | "bedrock" => Claude::named(model).is_some_and(Claude::thinks),
        "google_ai" | "google_vertex" => gemini_thinking(model).is_some(),
        _ => reasons(model),
    }
}

/// Whether OpenAI's model thinks before it answers, and so takes other parameters.
pub(crate) fn reasons(model: &str) -> bool {
    let name = base_name(model);
    let family = |family: &str| name == family || name.starts_with(&format!("{family}-"));
    ["o1", "o3", "o4"].into_iter().any(family)
        || (name.starts_with("gpt-5") && !name.contains("-chat"))
}

/// The effort of a reasoning model when nobody set one: as little as it takes.
pub(crate) fn default_effort(model: &str) -> &'static str {
    let name = base_name(model);
    if name.contains("-pro") {
        "high"
    } else if name.contains("-codex") {
        "medium"
    } else if ["gpt-5.1", "gpt-5.2", "gpt-5.3", "gpt-5.4"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    {
        "none"
    } else if name.starts_with("gpt-5") {
        "minimal"
    } else {
        "medium"
    }
}

/// Whether OpenAI keeps the model's prompt caches for longer than a few minutes when it is asked to.
pub(crate) fn keeps_caches(model: &str) -> bool {
    is_family(model, "gpt-4.1") || (is_family(model, "gpt-5") && !is_family(model, "gpt-5-mini"))
}

pub(crate) fn is_family(model: &str, family: &str) -> bool {
    base_name(model).starts_with(family)
}

/// Which of OpenAI's own models are for conversation; its list also has speech, images and the like.
pub(crate) fn converses_at_openai(model: &str) -> bool {
    const FAMILIES: [&str; 5] = ["gpt-4", "gpt-5", "o1", "o3", "o4"];
    const OTHERS: [&str; 9] = [
        "transcribe",
        "search",
        "realtime",
        "tts",
        "audio",
        "computer",
        "o1-mini",
        "o1-preview",
        "o1-pro",
    ];
    FAMILIES.iter().any(|family| model.starts_with(family))
        && !OTHERS.iter().any(|other| model.contains(other))
}

/// Whether a server that does not say what its models are for means an embedding model.
pub(crate) fn embeds(model: &str) -> bool {
    embedding_dim(model).is_some() || base_name(model).contains("embed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_that_begins_the_model_decides_its_window() {
        for (model, tokens) in [
            ("gpt-4", 8_192),
            ("gpt-4o-mini", 128_000),
            ("gpt-4.1-nano", 1_047_576),
            ("gpt-5-mini", 272_000),
            ("gpt-5.4-mini-2026", 400_000),
            ("openai/gpt-4o", 128_000),
            ("something-new", 30_000),
        ] {
            assert_eq!(window(model), tokens, "{model}");
        }
    }

    #[test]
    fn reasoning_models_are_known_by_name() {
        let reasoning = [
            "o1",
            "o3-mini",
            "gpt-5",
            "gpt-5-mini",
            "gpt-5.2",
            "openai/o4-mini",
        ];
        assert!(reasoning.into_iter().all(reasons));
        let others = ["gpt-4o", "gpt-5-chat-latest", "o1x", "gpt-oss:20b", "olmo"];
        assert!(!others.into_iter().any(reasons));
    }

    #[test]
    fn a_default_effort_is_one_that_the_model_takes() {
        for (model, effort) in [
            ("o3", "medium"),
            ("gpt-5", "minimal"),
            ("gpt-5-codex", "medium"),
            ("gpt-5-pro", "high"),
            ("gpt-5.1", "none"),
            ("gpt-5.1-codex-mini", "medium"),
            ("gpt-5.4-mini", "none"),
        ] {
            assert_eq!(default_effort(model), effort, "{model}");
        }
    }

    #[test]
    fn a_model_thinks_by_default_if_it_is_asked_where_it_can() {
        assert!(reasons_by_default("openai", "gpt-5"));
        assert!(reasons_by_default("anthropic", "claude-haiku-4-5"));
        assert!(reasons_by_default("google_ai", "gemini-2.5-pro"));
        assert!(!reasons_by_default(
            "openrouter",
            "anthropic/claude-haiku-4.5"
        ));
        assert!(!reasons_by_default("openrouter", "google/gemini-2.5-pro"));
    }

    #[test]
    fn the_output_limit_follows_provider_and_model() {
        assert_eq!(max_tokens("openai", "gpt-4o-mini"), 16_384);
        assert_eq!(max_tokens("openai", "gpt-5.2"), 128_000);
        assert_eq!(max_tokens("openai", "gpt-5.2-chat-latest"), 16_384);
        assert_eq!(max_tokens("anthropic", "claude-sonnet-4-5"), 16_384);
        assert_eq!(max_tokens("anthropic", "claude-opus-4-6"), 21_000);
        assert_eq!(max_tokens("anthropic", "claude-haiku-4-5"), 8_192);
        assert_eq!(max_tokens("google_ai", "gemini-2.5-flash"), 65_536);
        assert_eq!(max_tokens("google_ai", "gemini-3-pro-preview"), 65_536);
        assert_eq!(max_tokens("google_ai", "gemini-2.0-flash"), 8_192);
        assert_eq!(max_tokens("ollama", "qwen3:8b"), 4_096);
    }
}
