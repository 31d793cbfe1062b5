//! What is known of Anthropic's models by their names.

use super::base_name;

/// One of Anthropic's models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claude {
    size: Size,
    version: (u32, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Haiku,
    Sonnet,
    Opus,
    Other,
}

impl Claude {
    /// Reads `claude-sonnet-4-5-20250929`, `claude-3-7-sonnet-latest`, `claude-opus-4.1`. `None`: not Anthropic's, or of
    /// no known version.
    pub(crate) fn named(model: &str) -> Option<Self> {
        let name = base_name(model);
        let rest = name.strip_prefix("claude-")?;
        let size = [
            ("haiku", Size::Haiku),
            ("sonnet", Size::Sonnet),
            ("opus", Size::Opus),
        ]
        .into_iter()
        .find(|(word, _)| rest.contains(word))
        .map_or(Size::Other, |(_, size)| size);
        let mut numbers = rest.split(['-', '.']).filter_map(version_number);
        let major = numbers.next()?;
        Some(Self {
            size,
            version: (major, numbers.next().unwrap_or(0)),
        })
    }

    pub(crate) fn thinks(self) -> bool {
        self.version >= (3, 7)
    }

    /// Whether it decides by itself how long to think; a budget is deprecated for the first of these and refused by
    /// the others.
    pub(crate) fn adapts(self) -> bool {
        self.version >= (4, 6)
    }

    /// Whether it shows its thinking only when asked to.
    pub(crate) fn hides_thinking(self) -> bool {
        self.version > (4, 6)
    }

    /// Whether another temperature than its own is taken.
    pub(crate) fn takes_temperature(self) -> bool {
        self.version <= (4, 6)
    }

    pub(crate) fn takes_effort(self) -> bool {
        match self.size {
            Size::Haiku => false,
            Size::Opus => self.version >= (4, 5),
            Size::Sonnet | Size::Other => self.version >= (4, 6),
        }
    }

    /// Whether it can be held to the schema of a tool.
    pub(crate) fn takes_strict(self) -> bool {
        match self.size {
            Size::Opus => self.version >= (4, 1),
            Size::Sonnet | Size::Haiku => self.version >= (4, 5),
            Size::Other => false,
        }
    }

    /// Whether it takes a million tokens when asked to.
    pub(crate) fn takes_a_million(self) -> bool {
        match self.size {
            Size::Sonnet => self.version >= (4, 0),
            Size::Opus => self.version >= (4, 6),
            Size::Haiku | Size::Other => false,
        }
    }

    /// `max_tokens` of a configuration that is made from a handle.
    pub(crate) fn max_tokens(self) -> u64 {
        match self.size {
            Size::Haiku | Size::Other => 8_192,
            Size::Sonnet | Size::Opus if self.version >= (4, 6) => 21_000,
            Size::Sonnet | Size::Opus => 16_384,
        }
    }

    /// The name without its date, for models that Anthropic serves under both.
    pub(crate) fn undated(model: &str) -> &str {
        let Some((name, date)) = model.rsplit_once('-') else {
            return model;
        };
        let is_date = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
        let mut words = name.rsplit('-');
        let has_version = (0..2).all(|_| words.next().and_then(version_number).is_some());
        if model.starts_with("claude-") && is_date && has_version {
            name
        } else {
            model
        }
    }
}

/// Versions have one or two digits, dates have eight.
fn version_number(word: &str) -> Option<u32> {
    word.parse().ok().filter(|_| word.len() <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_version_are_read_from_every_spelling() {
        for (model, size, version) in [
            ("claude-sonnet-4-5-20250929", Size::Sonnet, (4, 5)),
            ("claude-sonnet-4-20250514", Size::Sonnet, (4, 0)),
            ("claude-3-7-sonnet-latest", Size::Sonnet, (3, 7)),
            ("anthropic/claude-opus-4.1", Size::Opus, (4, 1)),
            ("claude-3-haiku-20240307", Size::Haiku, (3, 0)),
            ("claude-opus-4-6", Size::Opus, (4, 6)),
            ("claude-2.1", Size::Other, (2, 1)),
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                Size::Sonnet,
                (4, 5),
            ),
        ] {
            assert_eq!(
                Claude::named(model),
                Some(Claude { size, version }),
                "{model}"
            );
        }
        assert_eq!(Claude::named("gpt-4o"), None);
        assert_eq!(Claude::named("claude-next"), None);
    }

    #[test]
    fn models_differ_in_how_they_think() {
        let claude = |model| Claude::named(model).unwrap();
        assert!(!claude("claude-3-5-sonnet-20241022").thinks());
        assert!(claude("claude-haiku-4-5").thinks() && !claude("claude-haiku-4-5").adapts());
        assert!(claude("claude-sonnet-4-6").adapts() && claude("claude-sonnet-4-6").takes_effort());
        assert!(
            claude("claude-opus-4-5").takes_effort() && !claude("claude-sonnet-4-5").takes_effort()
        );
        assert!(claude("claude-opus-4-7").hides_thinking());
    }

    #[test]
    fn a_date_is_left_out_where_the_short_name_is_served_too() {
        for (model, name) in [
            ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
            ("claude-opus-4-1-20250805", "claude-opus-4-1"),
            ("claude-sonnet-4-20250514", "claude-sonnet-4-20250514"),
            ("claude-3-7-sonnet-20250219", "claude-3-7-sonnet-20250219"),
            ("claude-opus-4-6", "claude-opus-4-6"),
            ("gpt-4-1-20250414", "gpt-4-1-20250414"),
        ] {
            assert_eq!(Claude::undated(model), name);
        }
    }
}
