//! A model that has to call something and was only asked to: what is asked once more, and what its two answers come to.

use super::model::{Answer, Finish, ModelRequest, ToolChoice};
use std::sync::Arc;

/// Whether an answer lacks the call that it had to hold. One that could not be finished is as good as it gets; a call
/// that was not on offer is one: the rules refuse it, and the next step is forced again.
pub fn owes_call(choice: &ToolChoice, answer: &Answer) -> bool {
    let must_call = matches!(choice, ToolChoice::Must | ToolChoice::Named(_));
    let finished = matches!(answer.finish, Finish::Stop | Finish::ToolCalls);
    must_call && finished && answer.calls.is_empty()
}

/// The request once more, without thinking: that is what kept the model from being forced.
pub fn again(request: &ModelRequest) -> ModelRequest {
    let mut again = request.clone();
    Arc::make_mut(&mut again.config).enable_reasoner = false;
    again
}

/// The first answer with the calls of the second: what was thought and said has been shown and stays.
pub fn joined(first: Answer, second: Answer) -> Answer {
    let mut usage = first.usage;
    usage.add(second.usage);
    Answer {
        parts: first.parts,
        usage,
        ..second
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::{Part, ToolCall};
    use crate::domain::model::{Trace, Usage};

    fn answer(text: &str, calls: &[&str]) -> Answer {
        let call = |name: &&str| ToolCall {
            id: "call_1".to_owned(),
            name: (*name).to_owned(),
            arguments: "{}".to_owned(),
        };
        Answer {
            parts: vec![Part::of_text(text)],
            calls: calls.iter().map(call).collect(),
            finish: Finish::Stop,
            usage: Usage {
                total_tokens: 5,
                ..Usage::default()
            },
            tokens: None,
            request_id: None,
            trace: Trace::default(),
        }
    }

    #[test]
    fn only_an_answer_without_the_call_that_it_had_to_hold_owes_one() {
        let named = ToolChoice::Named("look".to_owned());
        for choice in [&ToolChoice::Must, &named] {
            assert!(owes_call(choice, &answer("hm", &[])));
            assert!(!owes_call(choice, &answer("", &["look"])));
        }
        for choice in [&ToolChoice::Free, &ToolChoice::None] {
            assert!(!owes_call(choice, &answer("hm", &[])));
        }
        let cut = Answer {
            finish: Finish::Length,
            ..answer("hm", &[])
        };
        assert!(!owes_call(&named, &cut));
    }

    #[test]
    fn what_was_said_first_stays_and_both_are_paid_for() {
        let joined = joined(answer("I look.", &[]), answer("Well.", &["look"]));
        assert_eq!(joined.parts[0].text(), Some("I look."));
        assert_eq!((joined.calls.len(), joined.usage.total_tokens), (1, 10));
    }
}
