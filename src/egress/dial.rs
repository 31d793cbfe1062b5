//! Connections for somebody who speaks for himself: the tools that clients write, which have no sockets of their own.

use super::{Gate, Refused, check_literal, entries, is_public};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use url::{Host, Url};

/// The ports of HTTP and HTTPS: nothing else is spoken with the public internet.
const PORTS: [u16; 2] = [80, 443];

/// Until the connection stands, the look-up of the name included.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("'{0}' is no host")]
    NoHost(String),
    #[error(
        "port {0} is not one of HTTP or HTTPS; the configuration can allow a host with any port"
    )]
    Port(u16),
    #[error("host '{0}' has no address")]
    Unknown(String),
    #[error("no connection came about in time")]
    TimedOut,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

impl Gate {
    /// Connects to a public host, or to one that the configuration names.
    ///
    /// # Errors
    /// The host or the port is refused, or there is no connection.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let dialled = tokio::time::timeout(PATIENCE, self.connect(host, port));
        dialled.await.unwrap_or(Err(DialError::TimedOut))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let no_host = || DialError::NoHost(host.to_owned());
        let spelled = match host.contains(':') {
            true => format!("https://[{host}]:{port}/"),
            false => format!("https://{host}:{port}/"),
        };
        // Nothing of what is given may be taken for another part of an address.
        let plain = |c: char| c.is_alphanumeric() || "-._:".contains(c);
        let url: Url = match host.chars().all(plain) {
            true => spelled.parse().map_err(|_| no_host())?,
            false => return Err(no_host()),
        };
        check_literal(&url, &self.allowed_hosts)?;
        let name = url.host_str().ok_or_else(no_host)?.to_owned();
        let allowed = entries(&name, &self.allowed_hosts).next().is_some();
        if !allowed && !PORTS.contains(&port) {
            return Err(DialError::Port(port));
        }
        let addresses: Vec<SocketAddr> = match url.host().ok_or_else(no_host)? {
            Host::Ipv4(address) => vec![(IpAddr::V4(address), port).into()],
            Host::Ipv6(address) => vec![(IpAddr::V6(address), port).into()],
            Host::Domain(domain) => tokio::net::lookup_host((domain, port)).await?.collect(),
        };
        // One address that is not public spoils the answer: an honest name has no use for the mixture.
        if !allowed && !addresses.iter().all(|found| is_public(found.ip())) {
            return Err(Refused::NotPublic { host: name }.into());
        }
        if addresses.is_empty() {
            return Err(DialError::Unknown(name));
        }
        Ok(TcpStream::connect(addresses.as_slice()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_public_hosts_at_the_ports_of_http_are_dialled() {
        let gate = Gate::new(vec!["wiki.local:9000".to_owned()]);
        for (host, port, told) in [
            ("127.0.0.1", 80, "not on the public internet"),
            ("0x7f.1", 443, "not on the public internet"),
            ("2130706433", 443, "not on the public internet"),
            ("169.254.169.254", 80, "not on the public internet"),
            ("::1", 443, "not on the public internet"),
            ("::ffff:10.0.0.1", 443, "not on the public internet"),
            ("localhost", 443, "not on the public internet"),
            ("db.localhost", 443, "not on the public internet"),
            ("1.1.1.1", 22, "port 22"),
            ("example.com", 25, "port 25"),
            ("wiki.local", 80, "not at port 80"),
            ("", 80, "no host"),
            ("a b", 80, "no host"),
            ("user@10.0.0.1", 80, "no host"),
            ("1.1.1.1/x", 80, "no host"),
            ("1.1.1.1#", 80, "no host"),
        ] {
            let refused = gate.dial(host, port).await.unwrap_err().to_string();
            assert!(refused.contains(told), "{host}:{port}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_host_that_is_named_is_dialled_wherever_it_leads() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Gate::new(vec![format!("127.0.0.1:{port}")]);
        gate.dial("127.0.0.1", port).await.unwrap();
        assert!(gate.dial("127.0.0.1", port ^ 1).await.is_err());
    }
}
