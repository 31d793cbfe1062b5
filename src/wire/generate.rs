//! One question to a model, outside of any agent's context.

use super::stream::UsageStatistics;
use crate::domain::model::Usage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
pub struct Generate {
    pub prompt: String,
    #[serde(default)]
    pub system_prompt: Option<String>,
    /// A handle.
    #[serde(default)]
    pub override_model: Option<String>,
    #[serde(default)]
    pub response_schema: Option<Map<String, Value>>,
}

#[derive(Serialize)]
pub struct Generated {
    content: String,
    model: String,
    usage: UsageStatistics,
}

impl Generated {
    pub fn new(content: String, model: String, usage: Usage) -> Self {
        Self {
            content,
            model,
            // It belongs to no step and to no context.
            usage: UsageStatistics::new(usage, 0, None),
        }
    }
}
