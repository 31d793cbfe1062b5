//! What becomes of a run that was under way when its process or its agent died (runs-and-streaming §13, decisions 36).
//! One function for both: it is told whether somebody still waits for the answer.

use super::run::{End, Inbox, Phase};

/// Times a run is picked up again before it is given up.
pub const MOST_RECOVERIES: u32 = 3;

/// What the agent does with an accepted run that has no end.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovery {
    /// Back into its lane's queue, in order of acceptance; goes on after its last commit.
    Resume,
    /// The journalled calls get their returns (what is known, else "outcome unknown") in one commit, then it goes on.
    CloseCallsAndResume,
    /// Its last step was committed: only the end is missing.
    End(End),
    /// Closed; open journalled calls are answered in the same batch.
    Fail(End),
}

/// Decides by the last durable state. `waited_for`: the process lived on, so connected clients wait.
/// `age_s` is the time since acceptance, in seconds.
pub fn recover(inbox: &Inbox, waited_for: bool, age_s: i64) -> Recovery {
    if let Phase::Ending(stop_reason) = inbox.progress.phase {
        return Recovery::End(End::of(stop_reason));
    }
    if inbox.recoveries >= MOST_RECOVERIES {
        return Recovery::Fail(End::internal(format!(
            "the run was picked up {MOST_RECOVERIES} times after crashes and given up"
        )));
    }
    if age_s > 3 * 60 * 60 {
        return Recovery::Fail(End::internal(
            "the run is older than 3 hours and was given up after a crash",
        ));
    }
    if !inbox.resume && !waited_for {
        return Recovery::Fail(End::server_restart());
    }
    match inbox.progress.phase {
        Phase::Tools { .. } | Phase::Settling { .. } => Recovery::CloseCallsAndResume,
        Phase::Idle | Phase::Model { .. } | Phase::Ending(_) => Recovery::Resume,
    }
}
