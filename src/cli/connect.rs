//! Finding the daemon to talk to, or starting one.

use super::client::Client;
use super::log;
use super::{CliError, Server, screen};
use crate::boot::{self, Running};
use crate::config::{Config, Secret, Sources};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use url::Url;

/// A daemon to talk to, which may live in this process.
pub(super) struct Session {
    pub(super) client: Client,
    daemon: Option<Running>,
}

impl Session {
    /// Stops the daemon if it is ours.
    pub(super) async fn close(self) {
        if let Some(daemon) = self.daemon {
            daemon.stop().await;
        }
    }
}

/// A client for the daemon that somebody else runs. The configuration is read only when no address is given.
pub(super) fn to_running(
    Server { url, password }: Server,
    sources: &Sources,
) -> Result<Client, CliError> {
    match url {
        Some(url) => Client::new(&url, password),
        None => to_configured(password, &Config::load(sources)?),
    }
}

/// The daemon at the given address; without one the configured daemon, started in this process if it does not run.
pub(super) async fn or_start(server: Server, sources: &Sources) -> Result<Session, CliError> {
    if let Some(url) = &server.url {
        if sources.flags.data.is_some() || sources.flags.listen.is_some() {
            return Err(CliError::Contradiction { url: url.clone() });
        }
        let client = to_running(server, sources)?;
        return Ok(Session {
            client,
            daemon: None,
        });
    }
    let config = Config::load(sources)?;
    let client = to_configured(server.password.clone(), &config)?;
    if client.is_up().await? {
        return Ok(Session {
            client,
            daemon: None,
        });
    }
    start(config).await
}

async fn start(config: Config) -> Result<Session, CliError> {
    let data = config.data.path.display().to_string();
    let password = config
        .server
        .password
        .as_ref()
        .map(|password| password.expose().to_owned());
    let config = config.embedded();
    log::start(&config.log);
    let daemon = boot::start(config).await?;
    let client = Client::new(&http(daemon.address), password)?;
    screen::note(&format!(
        "No daemon was running, so one runs here until you leave: {}",
        client.url()
    ));
    screen::note(&format!("Everything it knows is in {data}"));
    Ok(Session {
        client,
        daemon: Some(daemon),
    })
}

fn to_configured(password: Option<String>, config: &Config) -> Result<Client, CliError> {
    let configured = || {
        config
            .server
            .password
            .as_ref()
            .map(Secret::expose)
            .map(str::to_owned)
    };
    Client::new(&http(config.server.listen), password.or_else(configured))
}

/// Where a client reaches what listens there: every address of this machine includes loopback.
fn http(listen: SocketAddr) -> Url {
    let ip = if listen.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        listen.ip()
    };
    let ip = if ip.is_unspecified() {
        "::1".parse().unwrap_or(ip)
    } else {
        ip
    };
    let address = SocketAddr::new(ip, listen.port());
    Url::parse(&format!("http://{address}")).expect("a socket address is a valid authority")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_listens_everywhere_is_reached_on_loopback() {
        let reached = ["0.0.0.0:1", "[::]:2", "127.0.0.1:3", "10.0.0.7:4"]
            .map(|listen| http(listen.parse().unwrap()).to_string());
        assert_eq!(
            reached,
            [
                "http://127.0.0.1:1/",
                "http://[::1]:2/",
                "http://127.0.0.1:3/",
                "http://10.0.0.7:4/"
            ]
        );
    }
}
