//! The command line. `serve` runs the daemon; every other command is a client of one, over HTTP like any client.
//! `chat` starts a daemon inside itself when none is there, `check` looks at a data folder.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong arguments or configuration, 3 no server.

mod chat;
mod check;
mod client;
mod connect;
mod lists;
mod log;
mod screen;
mod text;
mod tree;

use crate::boot::{self, BootError};
use crate::config::{Config, Flags, Problems, Sources};
use crate::tools::sandbox;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{fmt, io};

/// A daemon for long-lived AI agents.
#[derive(Debug, Parser)]
#[command(
    name = "greenroom",
    version,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong arguments or configuration, 3 no server."
)]
struct Arguments {
    /// Options that differ from the defaults, as TOML (`config/greenroom.toml` shows all of them) [env: GREENROOM_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or Ctrl-C
    Serve {
        #[command(flatten)]
        data: DataFolder,
        #[command(flatten)]
        listen: Listen,
    },
    /// Talk to an agent, made on first use; without a running daemon, one is started for as long as the chat lasts
    Chat {
        #[command(flatten)]
        chat: ChatArguments,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        data: DataFolder,
        #[command(flatten)]
        listen: Listen,
    },
    /// List the agents, newest first
    Agents {
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        #[command(flatten)]
        server: Server,
    },
    /// List the runs, newest first
    Runs {
        /// Only those that have not ended
        #[arg(long)]
        active: bool,
        /// How many at most
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        #[command(flatten)]
        server: Server,
    },
    /// Show the live supervision tree
    Tree {
        /// Draw again every second until Ctrl-C
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Report on a data folder without changing it
    Check {
        #[command(flatten)]
        data: DataFolder,
    },
}

#[derive(Debug, Args)]
struct ChatArguments {
    /// Name or id of the agent
    #[arg(default_value = "companion")]
    agent: String,
    /// Model of the agent, such as `openai/gpt-4o-mini`; changes the agent when it is there already
    #[arg(long, value_name = "HANDLE")]
    model: Option<String>,
}

#[derive(Debug, Args)]
struct DataFolder {
    /// Folder that holds everything [env: GREENROOM_DATA] [default: the platform's data folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Listen {
    /// Where the API listens [default: 127.0.0.1:8283]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

/// Which daemon a client command talks to.
#[derive(Debug, Args)]
struct Server {
    /// Address of the daemon [default: where the configuration makes it listen]
    #[arg(long = "server", env = "GREENROOM_URL", value_name = "URL")]
    url: Option<url::Url>,
    /// Its password; better given by the variable, which other users of the machine cannot see
    #[arg(long, env = "GREENROOM_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

/// Why a command failed, in words for the person who typed it.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] Problems),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("cannot reach {url}: is `greenroom serve` running?")]
    Unreachable { url: String },
    #[error("{url} wants a password: set GREENROOM_PASSWORD")]
    Unauthorized { url: String },
    #[error("refused ({status}): {detail}")]
    Refused { status: u16, detail: String },
    #[error("{url} does not answer like Greenroom: {detail}")]
    Foreign { url: String, detail: String },
    #[error("the connection to {url} broke off: {detail}")]
    Broken { url: String, detail: String },
    #[error("several agents are called '{name}', say which by its id:{}", .ids.iter().map(|id| format!("\n  {id}")).collect::<String>())]
    Ambiguous { name: String, ids: Vec<String> },
    #[error(
        "the daemon at {url} has its own data and address: leave out --data and --listen, or --server and GREENROOM_URL"
    )]
    Contradiction { url: url::Url },
    #[error("the run failed: {0}")]
    RunFailed(String),
    #[error("{0} has problems")]
    Unsound(String),
    #[error("cannot {doing}: {error}")]
    Io {
        doing: &'static str,
        error: io::Error,
    },
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Contradiction { .. } => 2,
            Self::Unreachable { .. } => 3,
            Self::Boot(_)
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::Foreign { .. }
            | Self::Broken { .. }
            | Self::Ambiguous { .. }
            | Self::RunFailed(_)
            | Self::Unsound(_)
            | Self::Io { .. } => 1,
        }
    }
}

/// Names what was being done when an I/O error came up.
fn cannot(doing: &'static str) -> impl Fn(io::Error) -> CliError {
    move |error| CliError::Io { doing, error }
}

/// Parses the arguments of the process and does what they say.
pub fn main() -> ExitCode {
    // Started again by a daemon, for one call of a tool: no command of anybody's.
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new(sandbox::ARGUMENT)) {
        return sandbox::launch();
    }
    let arguments = Arguments::parse();
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(cannot("start the runtime"))
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn complain(error: &impl fmt::Display) {
    screen::note(&format!("greenroom: {error}"));
}

async fn run(Arguments { config, command }: Arguments) -> Result<(), CliError> {
    let sources = |data: Option<DataFolder>, listen: Option<Listen>| {
        let flags = Flags {
            data: data.and_then(|flag| flag.data),
            listen: listen.and_then(|flag| flag.listen),
        };
        Sources::of_process(config, flags)
    };
    match command {
        Command::Serve { data, listen } => {
            let config = Config::load(&sources(Some(data), Some(listen)))?;
            log::start(&config.log);
            Ok(boot::serve(config).await?)
        }
        Command::Chat {
            chat,
            server,
            data,
            listen,
        } => chat::run(chat, server, &sources(Some(data), Some(listen))).await,
        Command::Agents { limit, server } => {
            lists::agents(&connect::to_running(server, &sources(None, None))?, limit).await
        }
        Command::Runs {
            active,
            limit,
            server,
        } => {
            lists::runs(
                &connect::to_running(server, &sources(None, None))?,
                active,
                limit,
            )
            .await
        }
        Command::Tree { watch, server } => {
            tree::run(&connect::to_running(server, &sources(None, None))?, watch).await
        }
        Command::Check { data } => check::run(&Config::load(&sources(Some(data), None))?).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn chat_needs_no_argument() {
        let arguments = Arguments::try_parse_from(["greenroom", "chat"]).unwrap();
        assert!(
            matches!(arguments.command, Command::Chat { chat, .. } if chat.agent == "companion")
        );
    }
}
