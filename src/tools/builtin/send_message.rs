//! `send_message`: how agents that think aloud speak to the person. The call does nothing: whoever shows the
//! conversation takes the text out of its arguments.

use super::{Builtin, Parameter};
use crate::domain::tool::{ToolResult, ToolType};
use crate::tools::Work;
use serde::de::IgnoredAny;
use serde_json::Value;

pub(super) const NAME: &str = "send_message";

pub(super) fn tool() -> Builtin {
    Builtin::new(
        1,
        ToolType::Core,
        NAME,
        "Says something to the person you talk with. Only what is sent this way reaches them.",
        vec![Parameter::text(
            "message",
            "What to say, in any language; emoji are fine.",
        )],
        |_: IgnoredAny, _| {
            Ok(Work::Done(ToolResult::success(Value::from(
                "Sent message successfully.",
            ))))
        },
    )
}
