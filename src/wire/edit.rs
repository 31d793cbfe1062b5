//! New text for a stored message: `PATCH …/messages/{message_id}` (decisions 2, messages-and-search §6).

use super::content::{BadContent, ContentIn};
use crate::domain::message::{Part, Role};
use serde::Deserialize;

/// The union of the four bodies; `message_type` may be absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct EditIn {
    message_type: Option<String>,
    content: Option<ContentIn>,
    reasoning: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    System(String),
    User(Vec<Part>),
    Assistant(String),
    Reasoning(String),
}

impl Edit {
    /// The message type that is answered.
    pub fn message_type(&self) -> &'static str {
        match self {
            Self::System(_) => "system_message",
            Self::User(_) => "user_message",
            Self::Assistant(_) => "assistant_message",
            Self::Reasoning(_) => "reasoning_message",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEdit {
    /// 422
    #[error("Field required")]
    Missing(&'static str),
    /// 422
    #[error(
        "Input should be 'system_message', 'user_message', 'assistant_message' or 'reasoning_message'"
    )]
    Unknown(String),
    /// 400
    #[error("a {0} has no text that can be edited")]
    NoText(String),
    /// 400
    #[error(transparent)]
    Content(#[from] BadContent),
}

impl EditIn {
    /// Whether the body says which of a message's texts it means. If not, the role of the stored message tells.
    pub fn names_type(&self) -> bool {
        self.message_type.is_some() || self.reasoning.is_some()
    }

    /// `role` is that of the stored message; needed only when `names_type` is false.
    ///
    /// # Errors
    /// See `BadEdit`.
    pub fn into_domain(self, role: Option<Role>) -> Result<Edit, BadEdit> {
        let by_field = self.reasoning.as_ref().map(|_| "reasoning_message");
        let wanted = self
            .message_type
            .as_deref()
            .or(by_field)
            .or(role.map(message_type));
        let wanted = wanted.ok_or(BadEdit::Missing("message_type"))?;
        match wanted {
            "reasoning_message" => self
                .reasoning
                .map(Edit::Reasoning)
                .ok_or(BadEdit::Missing("reasoning")),
            "system_message" => Ok(Edit::System(text(&parts(self.content)?))),
            "user_message" => Ok(Edit::User(parts(self.content)?)),
            "assistant_message" => Ok(Edit::Assistant(text(&parts(self.content)?))),
            "tool_call_message"
            | "tool_return_message"
            | "approval_request_message"
            | "approval_response_message"
            | "hidden_reasoning_message"
            | "summary_message"
            | "event_message" => Err(BadEdit::NoText(wanted.to_owned())),
            _ => Err(BadEdit::Unknown(wanted.to_owned())),
        }
    }
}

fn message_type(role: Role) -> &'static str {
    match role {
        Role::System => "system_message",
        Role::User => "user_message",
        Role::Assistant => "assistant_message",
        Role::Tool => "tool_return_message",
        Role::Approval => "approval_request_message",
        Role::Summary => "summary_message",
    }
}

fn parts(content: Option<ContentIn>) -> Result<Vec<Part>, BadEdit> {
    Ok(content.ok_or(BadEdit::Missing("content"))?.into_stored()?)
}

fn text(parts: &[Part]) -> String {
    parts
        .iter()
        .filter_map(Part::text)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: serde_json::Value, role: Option<Role>) -> Result<Edit, BadEdit> {
        serde_json::from_value::<EditIn>(body)
            .unwrap()
            .into_domain(role)
    }

    #[test]
    fn the_type_is_named_or_follows_from_the_fields_and_the_role() {
        let said = || Ok(Edit::Assistant("x".to_owned()));
        assert_eq!(
            read(
                json!({"message_type": "assistant_message", "content": "x"}),
                None
            ),
            said()
        );
        assert_eq!(
            read(
                json!({"content": [{"type": "text", "text": "x"}]}),
                Some(Role::Assistant)
            ),
            said()
        );
        assert_eq!(
            read(json!({"content": "x"}), Some(Role::User)),
            Ok(Edit::User(vec![Part::of_text("x")]))
        );
        assert_eq!(
            read(json!({"reasoning": "hm"}), None),
            Ok(Edit::Reasoning("hm".to_owned()))
        );
    }

    #[test]
    fn calls_and_returns_have_no_text_to_edit() {
        for kind in ["tool_call_message", "tool_return_message"] {
            assert_eq!(
                read(json!({"message_type": kind, "content": "x"}), None),
                Err(BadEdit::NoText(kind.to_owned()))
            );
        }
        assert!(matches!(
            read(json!({"content": "x"}), Some(Role::Tool)),
            Err(BadEdit::NoText(_))
        ));
        assert_eq!(
            read(json!({"message_type": "user_message"}), None),
            Err(BadEdit::Missing("content"))
        );
        assert!(matches!(
            read(json!({"message_type": "note", "content": "x"}), None),
            Err(BadEdit::Unknown(_))
        ));
    }
}
