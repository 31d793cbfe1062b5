//! Shapes of model configurations and token counts, as agents, runs and steps hold them.

use super::record::record;
use crate::domain::model::{EmbeddingConfig, LlmConfig, ModelErrorClass, ResponseFormat, Usage};
use bincode::{Decode, Encode};

record! {
    #[derive(Encode, Decode)]
    struct LlmConfigV1 for LlmConfig {
        model: String,
        display_name: Option<String>,
        model_endpoint_type: String,
        model_endpoint: Option<String>,
        provider_name: Option<String>,
        provider_category: Option<String>,
        model_wrapper: Option<String>,
        context_window: u64,
        put_inner_thoughts_in_kwargs: Option<bool>,
        handle: Option<String>,
        temperature: f64,
        max_tokens: Option<u64>,
        enable_reasoner: bool,
        reasoning_effort: Option<String>,
        max_reasoning_tokens: u64,
        effort: Option<String>,
        frequency_penalty: Option<f64>,
        compatibility_type: Option<String>,
        verbosity: Option<String>,
        tier: Option<String>,
        parallel_tool_calls: Option<bool>,
        response_format: Option<ResponseFormatV1>,
        strict: bool,
        return_logprobs: bool,
        top_logprobs: Option<u64>,
        return_token_ids: bool,
        tool_call_parser: Option<String>,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum ResponseFormatV1 for ResponseFormat { Text, JsonObject, JsonSchema(schema: String) }
}

record! {
    #[derive(Encode, Decode)]
    struct EmbeddingConfigV1 for EmbeddingConfig {
        embedding_endpoint_type: String,
        embedding_endpoint: Option<String>,
        embedding_model: String,
        embedding_dim: u64,
        embedding_chunk_size: Option<u64>,
        handle: Option<String>,
        batch_size: u64,
        azure_endpoint: Option<String>,
        azure_version: Option<String>,
        azure_deployment: Option<String>,
    }
}

record! {
    #[derive(Encode, Decode)]
    struct UsageV1 for Usage {
        prompt_tokens: u64,
        completion_tokens: u64,
        total_tokens: u64,
        cached_input_tokens: Option<u64>,
        cache_write_tokens: Option<u64>,
        reasoning_tokens: Option<u64>,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum ModelErrorClassV1 for ModelErrorClass {
        ContextOverflow,
        Credits,
        RateLimit,
        Timeout,
        Authentication,
        Permission,
        NotFound,
        BadRequest,
        Overloaded,
        Connection,
        Server,
        EmptyAnswer,
        Unreadable,
    }
}
