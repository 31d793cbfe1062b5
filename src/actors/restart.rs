//! When a dead actor is started again: intensity window and back-off, in OTP's words. Pure; the clock is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How much dying is tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Deaths inside the window that are answered by a restart; one more escalates.
    pub intensity: usize,
    pub window: Duration,
    /// The wait before the first restart; doubles with each death in the window.
    pub backoff: Duration,
    pub longest_backoff: Duration,
}

impl Policy {
    /// Agents: the window is long enough that the back-off alone cannot keep it from escalating.
    pub const AGENT: Self = Self {
        intensity: 3,
        window: Duration::from_secs(60),
        backoff: Duration::from_secs(1),
        longest_backoff: Duration::from_secs(60),
    };

    /// The permanent children of root.
    pub const SERVICE: Self = Self {
        intensity: 3,
        window: Duration::from_secs(5),
        backoff: Duration::ZERO,
        longest_backoff: Duration::ZERO,
    };
}

/// What to do about a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    RestartAfter(Duration),
    /// Too many deaths in the window.
    Escalate,
}

/// The deaths of one actor.
#[derive(Debug, Clone, Default)]
pub struct Deaths {
    recent: VecDeque<Instant>,
    /// Restarts since the process started.
    pub restarts: u64,
}

impl Deaths {
    /// Records a death.
    pub fn died(&mut self, policy: &Policy, now: Instant) -> Verdict {
        while self
            .recent
            .front()
            .is_some_and(|death| now.duration_since(*death) >= policy.window)
        {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.recent.len() > policy.intensity {
            return Verdict::Escalate;
        }
        self.restarts += 1;
        let doublings = u32::try_from(self.recent.len() - 1)
            .unwrap_or(u32::MAX)
            .min(31);
        Verdict::RestartAfter(
            policy
                .backoff
                .saturating_mul(1 << doublings)
                .min(policy.longest_backoff),
        )
    }
}

/// How long a faulted agent is left alone: a minute, doubling to ten (decisions 36).
pub fn healing_pause(attempts: u32) -> Duration {
    Duration::from_secs(60)
        .saturating_mul(1 << attempts.min(4))
        .min(Duration::from_secs(600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_death_in_the_window_escalates() {
        let start = Instant::now();
        let mut deaths = Deaths::default();
        let verdicts: Vec<Verdict> = (0..4)
            .map(|second| deaths.died(&Policy::AGENT, start + Duration::from_secs(second)))
            .collect();
        let after = |seconds| Verdict::RestartAfter(Duration::from_secs(seconds));
        assert_eq!(verdicts, [after(1), after(2), after(4), Verdict::Escalate]);
        assert_eq!(deaths.restarts, 3);
    }

    #[test]
    fn deaths_outside_the_window_are_forgotten() {
        let start = Instant::now();
        let mut deaths = Deaths::default();
        for minute in 0..10 {
            let verdict = deaths.died(&Policy::AGENT, start + Duration::from_secs(61 * minute));
            assert_eq!(verdict, Verdict::RestartAfter(Duration::from_secs(1)));
        }
    }

    #[test]
    fn a_faulted_agent_is_left_alone_longer_each_time() {
        assert_eq!(healing_pause(0), Duration::from_secs(60));
        assert_eq!(healing_pause(2), Duration::from_secs(240));
        assert_eq!(healing_pause(99), Duration::from_secs(600));
    }
}
