//! What is known of Google's models by their names.

use super::base_name;

/// How a model is told how much to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GeminiThinking {
    /// In tokens: at least `least`, or, where `optional`, none.
    Budget { least: u64, optional: bool },
    /// By a word whose default is good; always thinks.
    Level,
}

/// `None`: the model does not think, or takes no word about it.
pub(crate) fn gemini_thinking(model: &str) -> Option<GeminiThinking> {
    let name = base_name(model);
    let version = name.strip_prefix("gemini-")?;
    if !converses_at_google(&name) {
        return None;
    }
    let number = version.split('-').next().and_then(|text| text.parse().ok());
    match number {
        Some(3.0_f64..) => Some(GeminiThinking::Level),
        // `gemini-flash-latest` and the like are of these too.
        None if !version.ends_with("-latest") => None,
        Some(..2.5) => None,
        _ if version.contains("flash-lite") => Some(GeminiThinking::Budget {
            least: 512,
            optional: true,
        }),
        _ => Some(GeminiThinking::Budget {
            least: if version.contains("pro") { 128 } else { 1 },
            optional: !version.contains("pro"),
        }),
    }
}

/// Which of the models that Google lists as answering are for conversation with tools; some take none, or only their own.
pub(crate) fn converses_at_google(model: &str) -> bool {
    const OTHERS: [&str; 4] = ["-tts", "-image", "computer-use", "gemma"];
    !OTHERS.iter().any(|other| model.contains(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_think_by_budget_or_by_level() {
        let budget = |least, optional| Some(GeminiThinking::Budget { least, optional });
        for (model, thinking) in [
            ("gemini-2.5-pro", budget(128, false)),
            ("gemini-2.5-flash", budget(1, true)),
            ("gemini-2.5-flash-lite", budget(512, true)),
            ("gemini-flash-latest", budget(1, true)),
            ("gemini-3-pro-preview", Some(GeminiThinking::Level)),
            ("gemini-3.1-flash", Some(GeminiThinking::Level)),
            ("gemini-2.0-flash", None),
            ("gemini-2.5-flash-image", None),
            ("gemini-pro", None),
            ("gemma-3-27b-it", None),
        ] {
            assert_eq!(gemini_thinking(model), thinking, "{model}");
        }
    }
}
