//! How AWS is shown who asks: the request is signed with a key made of the secret one, the day and the place (Signature
//! Version 4). The secret itself is never sent.

use crate::providers::config::ApiKey;
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use reqwest::Request;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use url::Url;

const SERVICE: &str = "bedrock";

/// What one account signs with.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) access: ApiKey,
    pub(crate) secret: ApiKey,
    /// Goes with keys that last for some hours.
    pub(crate) session: Option<ApiKey>,
    pub(crate) region: String,
}

impl Keys {
    /// Signs a request that is ready to be sent. A key that no header can carry leaves it unsigned, and refused there.
    pub(crate) fn sign(&self, request: &mut Request, now: Timestamp) {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut signed = vec![("host", host(request.url())), ("x-amz-date", time.clone())];
        if let Some(session) = &self.session {
            signed.push(("x-amz-security-token", session.reveal().to_owned()));
        }
        let authorization = self.authorization(request, &signed, &time);
        for (name, value) in signed.drain(..).skip(1) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request.headers_mut().insert(name, value);
            }
        }
        if let Ok(mut value) = HeaderValue::from_str(&authorization) {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
    }

    fn authorization(&self, request: &Request, signed: &[(&str, String)], time: &str) -> String {
        let day = &time[..8];
        let scope = format!("{day}/{}/{SERVICE}/aws4_request", self.region);
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let headers: String = signed
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let body = request.body().and_then(reqwest::Body::as_bytes);
        let canonical = format!(
            "{}\n{}\n{}\n{headers}\n{names}\n{}",
            request.method(),
            encoded(request.url().path(), true),
            query(request.url()),
            hex(&Sha256::digest(body.unwrap_or_default())),
        );
        let digest = hex(&Sha256::digest(canonical));
        let said = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let secret = format!("AWS4{}", self.secret.reveal());
        let steps = [day, &self.region, SERVICE, "aws4_request", &said];
        let signature = steps
            .into_iter()
            .fold(secret.into_bytes(), |key, step| mac(&key, step));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.access.reveal(),
            hex(&signature)
        )
    }
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The query in order, each name and value encoded anew.
fn query(url: &Url) -> String {
    let mut pairs: Vec<(String, String)> = url
        .query_pairs()
        .map(|(name, value)| (encoded(&name, false), encoded(&value, false)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// All but what never has to be encoded. A path is encoded although it is already.
fn encoded(text: &str, is_path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || (is_path && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is taken");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
