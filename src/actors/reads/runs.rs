//! Runs and their steps.

use super::{Reads, sound};
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::domain::id::{RunId, StepId};
use crate::domain::message::Message;
use crate::domain::model::Trace;
use crate::domain::page::{Order, Page};
use crate::domain::run::{Run, RunFilter, RunStatus, Step, StepFilter};
use crate::store::ReadError;

impl Reads {
    /// With the live status laid over the stored record.
    pub async fn run(&self, id: RunId) -> Result<Run, Refused> {
        self.read(move |house| {
            house
                .store
                .run(id)?
                .map(|run| overlaid(house, run))
                .ok_or(Refused::NoSuchRun(id))
        })
        .await
    }

    pub async fn runs(&self, filter: RunFilter, page: Page<RunId>) -> Result<Vec<Run>, Refused> {
        self.read(move |house| {
            if filter.is_of_active() {
                return Ok(active(house, &filter, &page)?);
            }
            let store = &house.store;
            let page = page.known(|id| Ok::<_, ReadError>(store.run(id)?.is_some()))?;
            let runs = store.runs(filter.only_agent(), page.stretch())?;
            let runs = runs.filter_map(sound).map(|run| Ok(overlaid(house, run?)));
            Ok(page.take(runs, |run| Ok::<_, ReadError>(keeps_run(&filter, run)))?)
        })
        .await
    }

    /// Everything the run stored, inputs included, oldest first.
    pub async fn run_messages(&self, id: RunId) -> Result<Vec<Message>, Refused> {
        self.read(move |house| {
            let run = house.store.run(id)?.ok_or(Refused::NoSuchRun(id))?;
            Ok(house.store.run_messages(run.agent_id, id)?)
        })
        .await
    }

    /// Oldest first.
    pub async fn run_steps(&self, id: RunId) -> Result<Vec<Step>, Refused> {
        self.read(move |house| {
            let run = house.store.run(id)?.ok_or(Refused::NoSuchRun(id))?;
            Ok(house.store.run_steps(run.agent_id, id)?)
        })
        .await
    }

    pub async fn step(&self, id: StepId) -> Result<Step, Refused> {
        self.read(move |house| house.store.step(id)?.ok_or(Refused::NoSuchStep(id)))
            .await
    }

    pub async fn steps(
        &self,
        filter: StepFilter,
        page: Page<StepId>,
    ) -> Result<Vec<Step>, Refused> {
        self.read(move |house| {
            let store = &house.store;
            let page = page.known(|id| Ok::<_, ReadError>(store.step(id)?.is_some()))?;
            let steps = store.steps(filter.agent_id, page.stretch())?;
            Ok(page.take(steps.filter_map(sound), |step| {
                Ok(keeps_step(&filter, step))
            })?)
        })
        .await
    }

    /// Oldest first.
    pub async fn step_messages(&self, id: StepId) -> Result<Vec<Message>, Refused> {
        self.read(move |house| {
            let step = house.store.step(id)?.ok_or(Refused::NoSuchStep(id))?;
            let Some(run) = step.run_id else {
                return Ok(Vec::new());
            };
            let messages = house.store.run_messages(step.agent_id, run)?;
            Ok(messages
                .into_iter()
                .filter(|message| message.step_id == Some(id))
                .collect())
        })
        .await
    }

    /// `None` when the trace is gone or was never kept.
    pub async fn step_trace(&self, id: StepId) -> Result<Option<Trace>, Refused> {
        self.read(move |house| {
            house.store.step(id)?.ok_or(Refused::NoSuchStep(id))?;
            Ok(house.store.trace(id)?)
        })
        .await
    }
}

/// Runs without an end are few, and have an index of their own.
fn active(house: &House, filter: &RunFilter, page: &Page<RunId>) -> Result<Vec<Run>, ReadError> {
    let ids = match filter.only_agent() {
        Some(agent) => house.store.active_run_ids(agent)?,
        None => house
            .store
            .active_runs()?
            .into_iter()
            .map(|(_, run)| run)
            .collect(),
    };
    let mut runs = Vec::new();
    for id in ids {
        let run = sound(house.store.run(id)).transpose()?.flatten();
        let run = run.map(|run| overlaid(house, run));
        runs.extend(run.filter(|run| keeps_run(filter, run)));
    }
    runs.sort_by_key(|run| (run.created_at, run.id));
    if page.order == Order::Descending {
        runs.reverse();
    }
    Ok(page.cut(runs, |run| run.id))
}

/// A live run is newer than its record.
fn overlaid(house: &House, mut run: Run) -> Run {
    if let Some(live) = house
        .runs
        .get(&run.id)
        .map(|live| live.status())
        .filter(|_| !run.status.is_final())
    {
        run.status = if live.is_final() {
            RunStatus::Running
        } else {
            live
        };
    }
    run
}

fn keeps_run(filter: &RunFilter, run: &Run) -> bool {
    (filter.agent_ids.is_empty() || filter.agent_ids.contains(&run.agent_id))
        && (filter.statuses.is_empty() || filter.statuses.contains(&run.status))
        && filter
            .background
            .is_none_or(|background| run.background == background)
        && filter
            .stop_reason
            .is_none_or(|reason| run.stop_reason == Some(reason))
        && filter.lane.is_none_or(|lane| run.lane() == lane)
}

fn keeps_step(filter: &StepFilter, step: &Step) -> bool {
    filter.agent_id.is_none_or(|agent| step.agent_id == agent)
        && filter
            .model
            .as_ref()
            .is_none_or(|model| step.model.as_ref() == Some(model))
        && (filter.trace_ids.is_empty()
            || step
                .trace_id
                .as_ref()
                .is_some_and(|trace| filter.trace_ids.contains(trace)))
        && filter
            .feedback
            .is_none_or(|feedback| step.feedback == Some(feedback))
        && filter
            .has_feedback
            .is_none_or(|has| step.feedback.is_some() == has)
        && filter.tags.iter().all(|tag| step.tags.contains(tag))
        && filter
            .project_id
            .as_ref()
            .is_none_or(|project| step.project_id.as_ref() == Some(project))
        && filter.start.is_none_or(|start| step.created_at >= start)
        && filter.end.is_none_or(|end| step.created_at <= end)
}
