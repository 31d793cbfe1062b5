//! The HTTP client for addresses that somebody else names: callbacks and images now; pages and MCP servers later. Other
//! clients with such addresses (model providers that clients add) are guarded by the same `Gate`.
//!
//! Only public addresses are reached, unless the configuration names the host (decisions 8, 22). A name is resolved
//! here and the connection goes to the addresses that were checked, so a second answer of the name server cannot
//! lead elsewhere. A redirect is checked like the address that led to it, and no proxy of the environment is used: it
//! would resolve by itself.

mod dial;

pub use self::dial::DialError;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Client, ClientBuilder, Response, redirect};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// How the client behaves; from the configuration.
#[derive(Debug, Clone)]
pub struct EgressConfig {
    /// Host names and address literals that may be reached wherever they lead; with a port, at that port only.
    pub allowed_hosts: Vec<String>,
    /// For a whole request, the look-up of the name included.
    pub timeout: Duration,
    /// Most bytes that are read of a response's body.
    pub max_bytes: usize,
}

/// Why an address is not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("addresses start with http:// or https://, not {0}:")]
    Scheme(String),
    #[error("the address names no host")]
    NoHost,
    #[error("host '{host}' is not on the public internet; the configuration can allow it by name")]
    NotPublic { host: String },
    #[error("the configuration allows host '{host}', and not at port {port}")]
    Port { host: String, port: u16 },
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("no answer came in time")]
    TimedOut,
    #[error("it answers {0}")]
    Status(u16),
    #[error("it leads to other addresses again and again")]
    Redirects,
    #[error("it leads to something that is no address")]
    BadRedirect,
    #[error("it holds more than {0} bytes")]
    TooLarge(usize),
    #[error("the request failed: {}", root(.0))]
    Failed(#[source] reqwest::Error),
}

/// The innermost cause, which names neither the address nor what is in it.
fn root(error: &reqwest::Error) -> &(dyn Error + 'static) {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}

impl From<reqwest::Error> for EgressError {
    /// A refusal by our own name look-up comes back wrapped by everything between it and us.
    fn from(error: reqwest::Error) -> Self {
        if let Some(refused) = refusal(&error) {
            return Self::Refused(refused.clone());
        }
        if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::Failed(error)
        }
    }
}

/// Why our own name look-up refused the address of a request that failed, if that is why it failed.
pub fn refusal(error: &reqwest::Error) -> Option<&Refused> {
    root(error).downcast_ref()
}

/// Which addresses may be reached.
#[derive(Debug, Clone)]
pub struct Gate {
    allowed_hosts: Arc<[String]>,
}

impl Gate {
    pub fn new(allowed_hosts: Vec<String>) -> Self {
        Self {
            allowed_hosts: allowed_hosts.into(),
        }
    }

    /// What can be said of an address before it is looked up; see `check_literal`.
    ///
    /// # Errors
    /// Why the address would not be reached.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        check_literal(url, &self.allowed_hosts)
    }

    /// Lets a client connect to checked addresses only. Literals in its requests are for `check`.
    pub fn guard(&self, client: ClientBuilder) -> ClientBuilder {
        client
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(GuardedResolver {
                allowed_hosts: self.allowed_hosts.clone(),
            })
    }
}

/// The client; cloning shares its connections.
#[derive(Debug, Clone)]
pub struct Egress {
    client: Client,
    gate: Gate,
    max_bytes: usize,
}

impl Egress {
    /// Needs the process's TLS provider to be installed.
    ///
    /// # Errors
    /// When the TLS of the platform cannot be set up.
    pub fn new(config: EgressConfig) -> Result<Self, EgressError> {
        let gate = Gate::new(config.allowed_hosts);
        let client = gate.guard(Client::builder()).timeout(config.timeout);
        Ok(Self {
            client: client.build()?,
            gate,
            max_bytes: config.max_bytes,
        })
    }

    /// Posts a JSON text and gives the status of the answer, whatever it is. A redirect is an answer like any other.
    ///
    /// # Errors
    /// The address is refused, or no status came in time.
    pub async fn post_json(
        &self,
        url: &Url,
        body: impl Into<reqwest::Body>,
    ) -> Result<u16, EgressError> {
        self.gate.check(url)?;
        let request = self.client.post(url.clone()).body(body);
        let response = request
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .send()
            .await?;
        let status = response.status().as_u16();
        drain(response, self.max_bytes).await;
        Ok(status)
    }
}

/// What an address holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// `content-type` without its parameters.
    pub media_type: Option<String>,
    pub bytes: Vec<u8>,
}

/// Addresses that one fetch goes to at most.
const MOST_ADDRESSES: usize = 6;

impl Egress {
    /// Fetches what an address holds, at most `max_bytes`, within `patience` in all.
    ///
    /// # Errors
    /// The address, or one that it leads to, is refused; no good answer came in time; there is too much.
    pub async fn fetch(
        &self,
        url: &Url,
        patience: Duration,
        max_bytes: usize,
    ) -> Result<Fetched, EgressError> {
        tokio::time::timeout(patience, self.follow(url.clone(), max_bytes))
            .await
            .unwrap_or(Err(EgressError::TimedOut))
    }

    async fn follow(&self, mut url: Url, max_bytes: usize) -> Result<Fetched, EgressError> {
        for _ in 0..MOST_ADDRESSES {
            check_literal(&url, &self.gate.allowed_hosts)?;
            let response = self.client.get(url.clone()).send().await?;
            let status = response.status();
            if !status.is_redirection() {
                return if status.is_success() {
                    read(response, max_bytes).await
                } else {
                    Err(EgressError::Status(status.as_u16()))
                };
            }
            let target = response.headers().get(LOCATION);
            let target = target.and_then(|target| target.to_str().ok());
            let target = target.and_then(|target| url.join(target).ok());
            url = target.ok_or(EgressError::BadRedirect)?;
        }
        Err(EgressError::Redirects)
    }
}

async fn read(mut response: Response, max_bytes: usize) -> Result<Fetched, EgressError> {
    let media_type = response.headers().get(CONTENT_TYPE);
    let media_type = media_type.and_then(|kind| kind.to_str().ok());
    let media_type = media_type.and_then(|kind| kind.split(';').next());
    let media_type = media_type.map(|kind| kind.trim().to_ascii_lowercase());
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > max_bytes {
            return Err(EgressError::TooLarge(max_bytes));
        }
    }
    Ok(Fetched { media_type, bytes })
}

/// Reads a small body to its end, so that the sender is not cut off and the connection can be used again. The status
/// is there already: what goes wrong from here on changes nothing.
async fn drain(mut response: Response, max_bytes: usize) {
    let mut left = max_bytes;
    while let Ok(Some(chunk)) = response.chunk().await {
        let Some(rest) = left.checked_sub(chunk.len()) else {
            return;
        };
        left = rest;
    }
}

/// What can be said of an address without asking a name server: its scheme, and its host if that is an address
/// literal in any spelling, or this machine's own name. Good for an early answer; every request is checked again.
///
/// # Errors
/// Why the address would not be reached.
pub fn check_literal(url: &Url, allowed_hosts: &[String]) -> Result<(), Refused> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refused::Scheme(url.scheme().to_owned()));
    }
    // The parser has turned every spelling of an IPv4 address (hexadecimal, octal, one number) into the address.
    let host = url.host().ok_or(Refused::NoHost)?;
    let public = match &host {
        Host::Ipv4(address) => is_public_v4(*address),
        Host::Ipv6(address) => is_public_v6(*address),
        Host::Domain(name) => !is_local_name(name),
    };
    let host = host.to_string();
    let port = url.port_or_known_default().unwrap_or(0);
    let ports: Vec<Option<u16>> = entries(&host, allowed_hosts).collect();
    if ports.is_empty() && !public {
        return Err(Refused::NotPublic { host });
    }
    // Where a name leads is seen without the port: one that is allowed at a port is called at no other.
    let fits = |allowed: &Option<u16>| allowed.is_none_or(|allowed| allowed == port);
    if ports.is_empty() || ports.iter().any(fits) {
        Ok(())
    } else {
        Err(Refused::Port { host, port })
    }
}

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let top = name.rsplit('.').next().unwrap_or(name);
    top.eq_ignore_ascii_case("localhost")
}

/// The ports of the entries that name this host; `None` for all of its ports.
fn entries<'a>(host: &str, allowed_hosts: &'a [String]) -> impl Iterator<Item = Option<u16>> + 'a {
    let bare = |host: &str| {
        host.trim_matches(['[', ']'])
            .trim_end_matches('.')
            .to_ascii_lowercase()
    };
    let host = bare(host);
    allowed_hosts
        .iter()
        .map(|entry| host_and_port(entry))
        .filter(move |(allowed, _)| bare(allowed) == host)
        .map(|(_, port)| port)
}

/// `wiki.local`, `wiki.local:9000`, `::1`, `[::1]`, `[::1]:9000`.
fn host_and_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

/// Looks names up and hands out only checked addresses. Literals never come here.
struct GuardedResolver {
    allowed_hosts: Arc<[String]>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let allowed = entries(&host, &self.allowed_hosts).next().is_some();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            // One address that is not public spoils the answer: an honest name has no use for the mixture.
            if !allowed && !found.iter().all(|found| is_public(found.ip())) {
                return Err(Refused::NotPublic { host }.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// What the registry of special-purpose IPv4 addresses (RFC 6890 and later) keeps from the public internet.
const SPECIAL_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network, unspecified
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // a cloud's host agent, inside every machine's network
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, cloud metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, broadcast
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |(network, bits): &(Ipv4Addr, u32)| {
        address.to_bits() >> (32 - bits) == network.to_bits() >> (32 - bits)
    };
    !SPECIAL_V4.iter().any(within)
}

/// Parts of 2000::/3, the global unicast space, that are not public after all.
const SPECIAL_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Loopback, link-local, unique-local, multicast and unspecified addresses all lie outside the global unicast space.
/// An address that wraps an IPv4 address leads where that one leads.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(wrapped) = wrapped_v4(address) {
        return is_public_v4(wrapped);
    }
    let within = |(network, bits): &(Ipv6Addr, u32)| {
        address.to_bits() >> (128 - bits) == network.to_bits() >> (128 - bits)
    };
    let global_unicast = address.segments()[0] >> 13 == 0b001;
    global_unicast && !SPECIAL_V6.iter().any(within)
}

/// The IPv4 address inside a mapped, NAT64 or 6to4 address.
fn wrapped_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
