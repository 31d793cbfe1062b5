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

/// Models that Google has taken away, or will, and what it names in their place. A name stands for its versions too.
const SUCCESSORS: [(&str, &str); 15] = [
    ("gemini-pro", "gemini-1.5-pro"),
    ("gemini-1.0-pro", "gemini-1.5-pro"),
    ("gemini-1.5-pro", "gemini-2.5-pro"),
    ("gemini-1.5-flash", "gemini-2.5-flash"),
    ("gemini-1.5-flash-8b", "gemini-2.5-flash-lite"),
    ("gemini-2.0-pro", "gemini-2.5-pro"),
    ("gemini-2.0-flash", "gemini-2.5-flash"),
    ("gemini-2.0-flash-thinking", "gemini-2.5-flash"),
    ("gemini-2.0-flash-lite", "gemini-2.5-flash-lite"),
    ("gemini-2.5-flash", "gemini-3.5-flash-lite"),
    ("gemini-2.5-pro", "gemini-3.8-flash"),
    ("gemini-3-pro", "gemini-3.1-pro-preview"),
    ("gemini-3-flash", "gemini-3.5-flash"),
    ("gemini-3.1-pro", "gemini-3.8-flash"),
    ("gemini-2.5-flash-lite", "gemini-3.5-flash-lite"),
];

/// What takes the place of a model that is no longer there: of a version first the model itself.
pub(crate) fn gemini_successor(model: &str) -> Option<&'static str> {
    let is_version = |rest: &str| {
        let kinds = ["latest", "exp", "preview"];
        let word = rest.split('-').next().unwrap_or(rest);
        rest.is_empty() || kinds.contains(&word) || word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let version = |name: &str| {
        let rest = model.strip_prefix(name)?;
        let rest = if rest.is_empty() {
            rest
        } else {
            rest.strip_prefix('-')?
        };
        is_version(rest).then_some(rest)
    };
    let found = SUCCESSORS
        .iter()
        .find_map(|(name, successor)| Some((name, successor, version(name)?)));
    let (name, successor, rest) = found?;
    Some(if rest.is_empty() { successor } else { name })
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

    #[test]
    fn a_model_that_is_gone_has_successors_and_a_version_first_its_own_model() {
        let all = |model| {
            let first = gemini_successor(model);
            std::iter::successors(first, |model| gemini_successor(model)).collect::<Vec<_>>()
        };
        assert_eq!(
            all("gemini-1.5-pro-002"),
            ["gemini-1.5-pro", "gemini-2.5-pro", "gemini-3.8-flash"]
        );
        assert_eq!(
            all("gemini-2.5-flash-preview-05-20"),
            ["gemini-2.5-flash", "gemini-3.5-flash-lite"]
        );
        for other in [
            "gemini-2.5-flash-image",
            "gemini-flash-latest",
            "gemma-3-27b-it",
            "gpt-4o",
        ] {
            assert_eq!(gemini_successor(other), None, "{other}");
        }
        assert!(SUCCESSORS.iter().all(|(name, _)| all(name).len() < 5));
    }
}
