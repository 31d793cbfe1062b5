//! Opens the store, starts the tree, binds the facade: the one file that sees every layer.

use crate::actors::run::Outcome;
use crate::actors::{Foundation, Handles, House, Render, RootHandle, Serve, Settings, restart};
use crate::config::{Config, Durability, KeySource, master_key};
use crate::domain::agent::CompactionSettings;
use crate::domain::frame::Frame;
use crate::domain::id::MessageId;
use crate::domain::model::ModelSettings;
use crate::egress::{Egress, EgressConfig, Gate, check_literal};
use crate::facade::{self, Facade};
use crate::providers::Providers;
use crate::store::{self, Store, StoreConfig};
use crate::tools::sandbox::{Sandbox, SandboxConfig, SandboxState};
use crate::tools::toolbox::Toolbox;
use crate::wire;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Why the daemon is not running.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BootError(pub String);

impl BootError {
    fn because(what: &str, reason: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {reason}"))
    }
}

/// A daemon inside this process.
pub struct Running {
    pub address: SocketAddr,
    root: RootHandle,
    store: Store,
    handles: Handles,
    providers: Providers,
    sandbox: Sandbox,
    key: KeySource,
}

impl Running {
    /// Drains, stops the tree, closes the store.
    pub async fn stop(self) {
        self.root.stop().await;
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store was not closed cleanly");
        }
    }

    fn gave_up(&self) -> BootError {
        let reason = match &self.store.health().borrow().lost {
            Some(reason) => format!("the store takes no more writes, {reason}"),
            None => {
                "a service of the supervision tree died too often, the log says of what".to_owned()
            }
        };
        BootError(format!("{reason}; what was acknowledged is on disk"))
    }

    /// What the facade holds, for tests and benches in this process.
    pub fn handles(&self) -> &Handles {
        &self.handles
    }
}

/// The longest wait for a callback's answer (runs-and-streaming §2).
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes read of a callback's answer.
const CALLBACK_ANSWER: usize = 64 * 1024;
/// Messages in one agent's mailbox before the facade is refused.
const MAILBOX_DEPTH: usize = 1_024;
/// Commits waiting for the disk before the facade is refused.
const COMMITS_WAITING: usize = 4_096;

/// Opens the store, starts the tree, binds the facade; returns when requests are answered. Installs no signal handler.
///
/// # Errors
/// A sentence for people: what could not be opened, bound or started, and why.
pub async fn start(config: Config) -> Result<Running, BootError> {
    // An error means that somebody installed one before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind(config.server.listen).await;
    let listener = listener.map_err(|error| {
        BootError::because(&format!("cannot listen on {}", config.server.listen), error)
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| BootError::because("cannot listen", error))?;
    make_private(&config.data.path)?;
    let key = master_key(&config, &config.data.path)
        .map_err(|error| BootError::because("the secret key", error))?;
    let store = open(&config, key.bytes).await?;
    let gate = Gate::new(config.egress.allowed_hosts.clone());
    let variable = |name: &str| std::env::var(name).ok();
    let providers = Providers::new(config.providers.clone(), gate, variable);
    let providers = providers
        .map_err(|problems| BootError::because("the model providers", problems.join("; ")))?;
    let egress = EgressConfig {
        allowed_hosts: config.egress.allowed_hosts.clone(),
        timeout: CALLBACK_TIMEOUT,
        max_bytes: CALLBACK_ANSWER,
    };
    let egress =
        Egress::new(egress).map_err(|error| BootError::because("the egress client", error))?;
    let sandbox = sandbox(&config, tool_place(&config.data.path));
    let house = House::new(
        store.clone(),
        providers.clone(),
        toolbox(),
        sandbox.clone(),
        egress,
        settings(&config),
        Box::new(Wire),
    );
    let foundation = Foundation::new(house);
    let handles = foundation.handles();
    let service = facade::service(Facade::new(handles.clone(), facade_settings(&config)));
    let serve = serve_on(listener, service);
    let root = foundation
        .start(serve)
        .await
        .map_err(|error| BootError::because("the tree did not start", error))?;
    Ok(Running {
        address,
        root,
        store,
        handles,
        providers,
        sandbox,
        key: key.source,
    })
}

/// Starts, says so, and stops in order on SIGTERM or SIGINT.
///
/// # Errors
/// As `start`; and when the tree gave up, after which a service manager should start the process again.
pub async fn serve(config: Config) -> Result<(), BootError> {
    // Before anything else: a signal that came during the start would end the process without a drain.
    let mut signals = Signals::listen()?;
    let data = config.data.path.clone();
    let mut running = start(config).await?;
    let providers = running.providers.clone();
    let sandbox = running.sandbox.clone();
    tokio::spawn(async move { tell_of(&sandbox.check().await) });
    let greeting = async {
        providers.refresh().await;
        greet(&running, &data);
    };
    let stopped = tokio::select! {
        () = greeting => false,
        () = signals.next() => true,
    };
    if !stopped {
        tokio::select! {
            () = running.root.gave_up() => return Err(running.gave_up()),
            () = signals.next() => (),
        }
    }
    eprintln!(
        "stopping: runs in the foreground may end, runs in the background go on after the next start"
    );
    running.stop().await;
    Ok(())
}

/// What is wrong with a data folder, a line each, without changing it.
///
/// # Errors
/// When there is no such folder, or its copy cannot be opened.
pub fn check(data: &Path) -> Result<Vec<String>, BootError> {
    let report = store::check(data).map_err(|error| BootError::because("the check", error))?;
    let line = |damaged: store::Damaged| match damaged.agent {
        Some(agent) => format!("{agent}: {}", damaged.detail),
        None => damaged.detail,
    };
    Ok(report.problems.into_iter().map(line).collect())
}

async fn open(config: &Config, master_key: [u8; 32]) -> Result<Store, BootError> {
    let config = StoreConfig {
        path: config.data.path.clone(),
        durability: match config.data.durability {
            Durability::Sync => store::Durability::Sync,
            Durability::Flush => store::Durability::Flush,
        },
        cache_bytes: config.data.cache_mib << 20,
        reserve_bytes: config.data.reserve_mib << 20,
        master_key,
    };
    let opened = tokio::task::spawn_blocking(move || Store::open(config)).await;
    let opened = opened.map_err(|error| BootError::because("the store", error))?;
    let (store, report) = opened.map_err(|error| BootError::because("the store", error))?;
    for damaged in report.damaged {
        tracing::error!(agent = ?damaged.agent, detail = damaged.detail, "part of the data folder cannot be read");
    }
    Ok(store)
}

fn make_private(data: &Path) -> Result<(), BootError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data);
    let made = made.and_then(|()| File::open(data)?.sync_all());
    made.map_err(|error| BootError::because(&format!("the data folder {}", data.display()), error))
}

fn toolbox() -> Toolbox {
    let toolbox = Toolbox::builtin();
    #[cfg(feature = "faults")]
    let toolbox = {
        use crate::domain::tool::Effects;
        use crate::tools::testing;
        toolbox
            .with(testing::slow(Effects::Outside))
            .with(testing::stubborn(Effects::Outside))
            .with(testing::panicking())
    };
    toolbox
}

/// Below the system's temporary folder, because the users that tools run as must be able to come there. One data folder has
/// one daemon, and so one place.
fn tool_place(data: &Path) -> PathBuf {
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let name = Sha256::digest(data.as_os_str().as_encoded_bytes());
    let name: String = name
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    std::env::temp_dir().join(format!("greenroom-tools-{name}"))
}

fn sandbox(config: &Config, place: PathBuf) -> Sandbox {
    let options = &config.sandbox;
    Sandbox::new(SandboxConfig {
        place,
        isolation: options.isolation,
        network: options.network,
        gate: Gate::new(config.egress.allowed_hosts.clone()),
        python: options.python.clone(),
        timeout: Duration::from_secs(options.timeout_s),
        memory_bytes: options.memory_mib << 20,
        file_bytes: options.file_mib << 20,
        output_bytes: usize::try_from(options.output_kib << 10).unwrap_or(usize::MAX),
        most_at_once: options.max_at_once,
    })
}

fn settings(config: &Config) -> Settings {
    let (agents, runs) = (&config.agents, &config.runs);
    Settings {
        passivate_after: Duration::from_secs(agents.passivate_after_s),
        queue_depth: agents.queue_depth,
        mailbox_depth: MAILBOX_DEPTH,
        commits_waiting: COMMITS_WAITING,
        most_starting: agents.max_starting,
        cancel_grace: Duration::from_millis(runs.cancel_grace_ms),
        drain: Duration::from_secs(runs.drain_s),
        restart: restart::Policy {
            intensity: agents.restart_limit,
            window: Duration::from_secs(agents.restart_window_s),
            backoff: Duration::from_secs(agents.restart_delay_s),
            longest_backoff: Duration::from_secs(agents.restart_delay_max_s),
        },
        frames_bytes: usize::try_from(runs.frames_mib << 20).unwrap_or(usize::MAX),
        stream_retention: Duration::from_secs(config.data.stream_retention_h * 3_600),
        strict_block_limits: config.memory.strict_block_limits,
    }
}

fn facade_settings(config: &Config) -> facade::Settings {
    let allowed_hosts = config.egress.allowed_hosts.clone();
    let check_callback = move |address: &str| {
        let url = address
            .parse()
            .map_err(|error| format!("'{address}' is not an address: {error}"))?;
        check_literal(&url, &allowed_hosts).map_err(|refused| refused.to_string())
    };
    facade::Settings {
        password: config
            .server
            .password
            .as_ref()
            .map(|password| password.expose().to_owned()),
        cors_origins: config.server.cors_origins.clone(),
        max_body_bytes: usize::try_from(config.server.max_body_mib << 20).unwrap_or(usize::MAX),
        max_steps: config.runs.max_steps,
        check_callback: Box::new(check_callback),
    }
}

/// The functions of `wire`, for actors that have to send Letta JSON.
struct Wire;

impl Render for Wire {
    fn frame(&self, frame: &Frame, seq: Option<u64>) -> String {
        wire::stream::event(frame, seq)
    }

    fn message_of(&self, frame: &[u8]) -> Option<MessageId> {
        wire::stream::message_of(frame)
    }

    fn summariser_settings(&self, settings: &CompactionSettings) -> ModelSettings {
        wire::model::compaction_model_settings(settings)
    }

    fn callback(&self, outcome: &Outcome) -> String {
        wire::run::callback(&outcome.run, outcome.pieces())
    }
}

/// Serves on a listener that survives a restart of the facade's actor.
fn serve_on<S>(listener: TcpListener, service: S) -> Serve
where
    S: tower::Service<
            axum::extract::Request,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    let listener = Arc::new(listener);
    Arc::new(move |stop: CancellationToken| {
        let (listener, service) = (listener.clone(), service.clone());
        Box::pin(async move {
            let make = tower::make::Shared::new(service);
            axum::serve(Shared(listener), make)
                .with_graceful_shutdown(async move { stop.cancelled().await })
                .await
        })
    })
}

/// A listening socket that is not closed with the server that uses it.
struct Shared(Arc<TcpListener>);

impl axum::serve::Listener for Shared {
    type Io = tokio::net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => {
                    // Frames are small and wanted at once.
                    let _ = stream.set_nodelay(true);
                    return (stream, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Tools that cannot be isolated are refused, and an operator who did not ask for that must know.
fn tell_of(sandbox: &SandboxState) {
    match sandbox {
        SandboxState::Isolated { .. } => tracing::info!(%sandbox, "tools that clients write"),
        _ => tracing::warn!(%sandbox, "tools that clients write"),
    }
}

/// Whether tools that clients write could be run here, in words. A daemon that runs is not disturbed.
pub async fn check_sandbox(config: &Config) -> String {
    let name = format!("greenroom-check-{}", std::process::id());
    let sandbox = sandbox(config, std::env::temp_dir().join(name));
    sandbox.check().await.to_string()
}

fn greet(running: &Running, data: &Path) {
    println!(
        "greenroom {} listens on http://{}",
        env!("CARGO_PKG_VERSION"),
        running.address
    );
    println!("  data     {}", data.display());
    if let KeySource::Made(key) = &running.key {
        println!(
            "  secrets  are sealed with a new key, {}: keep a copy, without it they are lost",
            key.display()
        );
    }
    for provider in running.providers.summary() {
        let place = provider.base_url.as_deref().unwrap_or("built in");
        let models = provider
            .models
            .map(|models| format!(", {models} models"))
            .unwrap_or_default();
        println!("  models   {} ({place}{models})", provider.name);
    }
    if let Some(default) = running.providers.default_handle() {
        println!("  default  {default}");
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, BootError> {
        let listen = |kind| {
            signal(kind).map_err(|error| BootError::because("signals cannot be received", error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}
