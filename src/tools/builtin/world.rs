//! The tools that reach outside: programs in the sandbox, pages of the web through the guarded client.

use super::{Builtin, Parameter};
use crate::domain::tool::{SourceType, ToolFailure, ToolResult, ToolType};
use crate::egress::Fetched;
use crate::tools::sandbox::{Job, Part};
use crate::tools::{Host, Work};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// For one page, redirects included.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of a page.
const MOST_PAGE: usize = 5 << 20;
/// Characters of a line of text that a page is turned into.
const WIDTH: usize = 120;

pub(super) fn tools() -> [Builtin; 2] {
    [run_code(), fetch_webpage()]
}

fn run_code() -> Builtin {
    #[derive(Deserialize)]
    struct Arguments {
        code: String,
        language: String,
    }
    Builtin::new(
        16,
        ToolType::Builtin,
        "run_code",
        "Runs a program in a sandbox and returns its results and what it printed.",
        vec![
            Parameter::text("code", "The program."),
            Parameter::choice(
                "language",
                &["python", "js", "ts", "r", "java"],
                "The language it is written in.",
            ),
        ],
        |Arguments { code, language }, host| {
            if language != "python" {
                let text =
                    format!("programs in '{language}' cannot be run here, those in python can");
                return Err(ToolFailure::new("NotImplementedError", text));
            }
            Ok(Work::Wait(Box::pin(run_python(code, host))))
        },
    )
    .parallel()
    .outside()
}

async fn run_python(code: String, host: Arc<dyn Host>) -> ToolResult {
    // The sources of the agent's own tools stand before it, so that it can call them.
    let source = [host.sources(), vec![code]].concat().join("\n\n");
    let job = Job {
        tool: "run_code".to_owned(),
        part: Part::Script,
        language: SourceType::Python,
        source,
        arguments: Map::new(),
        args_json_schema: None,
        environment: Default::default(),
        agent: None,
    };
    let ended = host.sandbox().run(job).await;
    let (mut told, error) = match ended.outcome {
        Ok(value) => (value, None),
        Err(failure) => (json!({"results": []}), Some(failure)),
    };
    if let Some(failure) = &error
        && failure.name == "SandboxError"
    {
        return ToolResult::failure("run_code", failure.clone());
    }
    told["logs"] = json!({
        "stdout": ended.stdout.unwrap_or_default(),
        "stderr": if error.is_none() { ended.stderr.unwrap_or_default() } else { Vec::new() },
    });
    if let Some(failure) = error {
        told["error"] = Value::from(format!("{}: {}", failure.name, failure.message));
    }
    ToolResult::success(Value::from(told.to_string()))
}

fn fetch_webpage() -> Builtin {
    #[derive(Deserialize)]
    struct Arguments {
        url: String,
    }
    Builtin::new(
        19,
        ToolType::Builtin,
        "fetch_webpage",
        "Reads a web page and returns its text.",
        vec![Parameter::text("url", "The address, http or https.")],
        |Arguments { url }, host| {
            let url: Url = url
                .parse()
                .map_err(|error| ToolFailure::value(format!("'{url}' is no address: {error}")))?;
            Ok(Work::Wait(Box::pin(async move {
                let page = host.egress().fetch(&url, PATIENCE, MOST_PAGE).await;
                let text = match page {
                    Ok(page) => text_of(page).await,
                    Err(error) => Err(ToolFailure::new("ConnectionError", error.to_string())),
                };
                match text {
                    Ok(text) => ToolResult::success(Value::from(text)),
                    Err(failure) => ToolResult::failure("fetch_webpage", failure),
                }
            })))
        },
    )
    .parallel()
}

/// A page as text. Reading a large one takes time, and an odd one may make the reader panic: a task of its own.
async fn text_of(page: Fetched) -> Result<String, ToolFailure> {
    let kind = page.media_type.as_deref().unwrap_or("text/html").to_owned();
    let is_text = kind.starts_with("text/")
        || kind.ends_with("json")
        || kind.ends_with("xml")
        || kind.ends_with("javascript");
    if !is_text {
        let text = format!("it is no text but {kind}");
        return Err(ToolFailure::value(text));
    }
    let is_page = matches!(kind.as_str(), "text/html" | "application/xhtml+xml");
    if !is_page {
        return Ok(String::from_utf8_lossy(&page.bytes).into_owned());
    }
    let read = move || html2text::from_read(page.bytes.as_slice(), WIDTH);
    let read = tokio::task::spawn_blocking(read).await;
    match read {
        Ok(Ok(text)) => Ok(text),
        _ => Err(ToolFailure::value("it is no page that can be read")),
    }
}
