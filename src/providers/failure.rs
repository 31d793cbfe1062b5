//! What went wrong with a call: its class, and whether trying again may help (providers-and-context §7,
//! runs-and-streaming §9).

use crate::domain::model::{ModelError, ModelErrorClass as Class};
use serde_json::Value;
use std::time::Duration;

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: ModelError,
    pub(crate) repeat: Repeat,
}

/// Whether the same call may go better in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Never,
    /// After a pause: the server's own, or ours.
    After(Option<Duration>),
}

/// What a provider said when it refused.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    /// `code` and `type`, whichever are there.
    pub(crate) words: String,
    /// An HTTP status that is in the body only.
    pub(crate) status: Option<u16>,
    /// How long it asks to be left alone, where that is in the body.
    pub(crate) wait: Option<Duration>,
}

/// Characters of a provider's message that are passed on.
const MAX_MESSAGE_CHARS: usize = 500;

impl Complaint {
    /// Reads the error bodies that are about: `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`, `{"detail": …}`,
    /// any of them as the one item of a list, and text that is no JSON at all.
    pub(crate) fn read(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => {
                let said = value.get(0).unwrap_or(&value);
                Self::of(said.get("error").unwrap_or(said))
            }
            Err(_) => Self {
                message: shortened(&String::from_utf8_lossy(body)),
                ..Self::default()
            },
        }
    }

    /// Reads the error object itself.
    pub(crate) fn of(error: &Value) -> Self {
        let said = [error.get("message"), error.get("detail"), Some(error)]
            .into_iter()
            .flatten()
            .find(|said| !said.is_null());
        let message = match said {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let words = [error.get("code"), error.get("type")]
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let status = error
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok());
        Self {
            message: shortened(&message),
            words: words.collect::<Vec<_>>().join(" "),
            status,
            wait: wait(error),
        }
    }

    /// The class of a refusal with this status.
    pub(crate) fn class(&self, status: u16) -> Class {
        let text = format!("{} {}", self.words, self.message).to_lowercase();
        // A field of Anthropic's requests, and nothing to pay.
        let text = text.replace("budget_tokens", "");
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        match status {
            413 => Class::ContextOverflow,
            400..500 if says(OVERFLOW) => Class::ContextOverflow,
            // Google says "quota" of a limit that lasts for a minute too, and then tells how long.
            429 if self.wait.is_some() => Class::RateLimit,
            402 => Class::Credits,
            400..500 if says(CREDITS) => Class::Credits,
            400..500 if says(KEYS) => Class::Authentication,
            401 => Class::Authentication,
            403 => Class::Permission,
            404 => Class::NotFound,
            408 | 504 => Class::Timeout,
            429 => Class::RateLimit,
            503 | 529 => Class::Overloaded,
            500.. if says(&["overloaded"]) => Class::Overloaded,
            500.. => Class::Server,
            _ => Class::BadRequest,
        }
    }

    /// The status that an error inside a stream stands for: the one it names, or what its words mean.
    pub(crate) fn implied_status(&self) -> u16 {
        let means = |word: &str| self.words.contains(word);
        let spelled = [
            ("rate_limit", 429),
            ("throttling", 429),
            ("serviceUnavailable", 503),
            ("modelTimeout", 504),
            ("validation", 400),
            ("overloaded", 529),
            ("insufficient_quota", 429),
            ("authentication", 401),
            ("invalid_api_key", 401),
            ("permission", 403),
            ("image", 400),
            ("not_found", 404),
            ("invalid_request", 400),
            ("request_too_large", 413),
            ("billing", 402),
            ("timeout", 504),
            ("invalid_prompt", 400),
            ("context_length_exceeded", 400),
        ];
        let by_words = || {
            spelled
                .into_iter()
                .find(|(word, _)| means(word))
                .map(|(_, status)| status)
        };
        self.status
            .filter(|status| (400..600).contains(status))
            .or_else(by_words)
            .unwrap_or(500)
    }
}

/// `retryDelay` among the details of Google's errors: seconds as text, "38.5s".
fn wait(error: &Value) -> Option<Duration> {
    let mut details = error.get("details")?.as_array()?.iter();
    let delay = details.find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let seconds = delay.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

const OVERFLOW: &[&str] = &[
    "context_length_exceeded",
    "maximum context length",
    "exceeds the context window",
    "exceeds the available context size",
    "prompt is too long",
    "exceed context limit",
    "request_too_large",
    "input token count",
    "exceeds the maximum number of tokens",
];

/// How Google, with status 400, and AWS, with 403, refuse a key.
const KEYS: &[&str] = &[
    "api key not valid",
    "api key expired",
    "security token included in the request is",
    "signature we calculated does not match",
];

const CREDITS: &[&str] = &[
    "insufficient_quota",
    "exceeded your current quota",
    "billing",
    "credit balance",
    "insufficient balance",
    "insufficient credits",
    "budget",
];

/// Whether a status is worth another try. A quota that is used up is not, whatever its status.
pub(crate) fn passes(status: u16, class: Class) -> bool {
    class != Class::Credits && (matches!(status, 408 | 409 | 429) || status >= 500)
}

/// One line of readable length; HTML loses its tags.
pub(crate) fn shortened(text: &str) -> String {
    let is_markup = text.trim_start().starts_with('<');
    let visible = if is_markup {
        without_tags(text)
    } else {
        text.to_owned()
    };
    let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn without_tags(text: &str) -> String {
    let pieces = text
        .split('<')
        .map(|piece| piece.split_once('>').map_or(piece, |(_, after)| after));
    pieces.collect::<Vec<_>>().join(" ")
}

/// The text without the key, and without what looks like one: providers quote the key they refuse.
pub(crate) fn without_keys(text: &str, key: Option<&str>) -> String {
    let text = match key {
        Some(key) if !key.is_empty() => text.replace(key, "[key]"),
        _ => text.to_owned(),
    };
    let is_key = |word: &str| {
        word.trim_start_matches(|c: char| !c.is_alphanumeric())
            .starts_with("sk-")
    };
    let words = text
        .split(' ')
        .map(|word| if is_key(word) { "[key]" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_class_of_its_status_and_words() {
        let overflow =
            br#"{"error": {"message": "too many tokens", "code": "context_length_exceeded"}}"#;
        let quota = br#"{"error": {"message": "pay", "type": "insufficient_quota"}}"#;
        for (status, body, class) in [
            (400, overflow.as_slice(), Class::ContextOverflow),
            (
                400,
                br#"{"message": "This model's maximum context length is 4096"}"#,
                Class::ContextOverflow,
            ),
            (413, b"", Class::ContextOverflow),
            (429, quota.as_slice(), Class::Credits),
            (402, b"", Class::Credits),
            (401, br#"{"detail": "no"}"#, Class::Authentication),
            (403, b"", Class::Permission),
            (404, br#"{"error": "model 'x' not found"}"#, Class::NotFound),
            (408, b"", Class::Timeout),
            (504, b"", Class::Timeout),
            (429, b"slow down", Class::RateLimit),
            (503, b"", Class::Overloaded),
            (529, b"", Class::Overloaded),
            (
                400,
                br#"{"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}"#,
                Class::Credits,
            ),
            (
                400,
                br#"{"error": {"message": "max_tokens must be greater than thinking.budget_tokens"}}"#,
                Class::BadRequest,
            ),
            (500, b"the server is overloaded", Class::Overloaded),
            (502, b"<html>Bad Gateway</html>", Class::Server),
            (422, b"", Class::BadRequest),
            (
                400,
                br#"[{"error": {"message": "The input token count (9) exceeds the maximum number of tokens allowed (5)."}}]"#,
                Class::ContextOverflow,
            ),
            (
                400,
                br#"{"error": {"message": "API key not valid. Please pass a valid API key."}}"#,
                Class::Authentication,
            ),
            (
                429,
                br#"{"error": {"message": "You exceeded your current quota", "details": [{}, {"retryDelay": "38.5s"}]}}"#,
                Class::RateLimit,
            ),
        ] {
            assert_eq!(
                Complaint::read(body).class(status),
                class,
                "{status} {}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn every_error_body_gives_its_message() {
        for (body, message) in [
            (r#"{"error": {"message": "m", "type": "t"}}"#, "m"),
            (r#"{"error": "m"}"#, "m"),
            (r#"[{"error": {"code": 400, "message": "m"}}]"#, "m"),
            (r#"{"detail": "m"}"#, "m"),
            (r#"{"object": "error", "message": "m"}"#, "m"),
            ("<!doctype html><title>m</title>", "m"),
            ("m", "m"),
        ] {
            assert_eq!(Complaint::read(body.as_bytes()).message, message, "{body}");
        }
    }

    #[test]
    fn a_body_may_say_how_long_to_wait() {
        let wait = |delay: &str| {
            let error = serde_json::json!({"error": {"details": [{"retryDelay": delay}]}});
            Complaint::read(error.to_string().as_bytes()).wait
        };
        assert_eq!(wait("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn an_error_inside_a_stream_stands_for_a_status() {
        let status = |json: &str| Complaint::read(json.as_bytes()).implied_status();
        assert_eq!(status(r#"{"error": {"message": "x", "code": 429}}"#), 429);
        assert_eq!(
            status(r#"{"error": {"message": "x", "type": "rate_limit_error"}}"#),
            429
        );
        assert_eq!(status(r#"{"error": {"message": "x"}}"#), 500);
        for (kind, expected) in [("overloaded_error", 529), ("request_too_large", 413)] {
            let error = format!(r#"{{"error": {{"message": "x", "type": "{kind}"}}}}"#);
            assert_eq!(status(&error), expected, "{kind}");
        }
        assert_eq!(status(r#"{"code": "invalid_prompt", "message": "x"}"#), 400);
        assert_eq!(
            status(r#"{"code": "image_file_not_found", "message": "x"}"#),
            400
        );
        assert_eq!(status(r#"{"code": "server_error", "message": "x"}"#), 500);
    }

    #[test]
    fn keys_are_taken_out_of_messages() {
        let text = "Incorrect API key provided: 'sk-ab***yz'. Yours is gsk_123 (gsk_123)";
        assert_eq!(
            without_keys(text, Some("gsk_123")),
            "Incorrect API key provided: [key] Yours is [key] ([key])"
        );
    }
}
