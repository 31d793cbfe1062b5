//! Tools that misbehave on command, for the tests of cancelling and crashing (decisions 44). Release builds have none.

use super::arguments::{self, Parameter};
use super::builtin;
use super::{Host, Tool, Work};
use crate::domain::tool::{Effects, Tool as Definition, ToolFailure, ToolResult, ToolType};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The ids of these tools start here; built-in tools stay below.
const FIRST_NUMBER: u8 = 200;

#[derive(Deserialize)]
struct Arguments {
    #[serde(default)]
    seconds: f64,
}

struct Misbehaving {
    definition: Arc<Definition>,
    effects: Effects,
    work: fn(Duration) -> BoxFuture<'static, ToolResult>,
}

/// `test_slow`: waits for that many seconds, and lets itself be cancelled.
pub fn slow(effects: Effects) -> Arc<dyn Tool> {
    let wait = |time| -> BoxFuture<'static, ToolResult> {
        Box::pin(async move {
            tokio::time::sleep(time).await;
            slept()
        })
    };
    misbehaving(0, "test_slow", "Waits.", vec![seconds()], effects, wait)
}

/// `test_stubborn`: holds its thread for that many seconds, so that nothing can cancel it or end its task. Wants a
/// runtime with several threads.
pub fn stubborn(effects: Effects) -> Arc<dyn Tool> {
    let block = |time| -> BoxFuture<'static, ToolResult> {
        Box::pin(async move {
            tokio::task::block_in_place(|| hold_the_thread(time));
            slept()
        })
    };
    misbehaving(
        1,
        "test_stubborn",
        "Waits and cannot be stopped.",
        vec![seconds()],
        effects,
        block,
    )
}

/// `test_panic`: panics while it runs.
pub fn panicking() -> Arc<dyn Tool> {
    let panic = |_| -> BoxFuture<'static, ToolResult> {
        Box::pin(async { panic!("a tool panics because it was told to") })
    };
    misbehaving(2, "test_panic", "Panics.", Vec::new(), Effects::None, panic)
}

fn misbehaving(
    number: u8,
    name: &str,
    description: &str,
    parameters: Vec<Parameter>,
    effects: Effects,
    work: fn(Duration) -> BoxFuture<'static, ToolResult>,
) -> Arc<dyn Tool> {
    let number = FIRST_NUMBER + number;
    let definition = builtin::definition(number, ToolType::Builtin, name, description, parameters);
    Arc::new(Misbehaving {
        definition: Arc::new(definition),
        effects,
        work,
    })
}

fn seconds() -> Parameter {
    Parameter::number("seconds", "For how long.")
}

fn slept() -> ToolResult {
    ToolResult::success(Value::from("slept"))
}

fn hold_the_thread(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}

impl Misbehaving {
    fn time(&self, arguments: Map<String, Value>) -> Result<Duration, ToolFailure> {
        let arguments: Arguments =
            arguments::read(&self.definition.json_schema["parameters"], arguments)?;
        Duration::try_from_secs_f64(arguments.seconds)
            .map_err(|error| ToolFailure::value(error.to_string()))
    }
}

impl Tool for Misbehaving {
    fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    fn effects(&self) -> Effects {
        self.effects
    }

    fn start(&self, arguments: Map<String, Value>, _host: Arc<dyn Host>) -> Work {
        match self.time(arguments) {
            Ok(time) => Work::Wait((self.work)(time)),
            Err(failure) => Work::Done(ToolResult::failure(&self.definition.name, failure)),
        }
    }
}
