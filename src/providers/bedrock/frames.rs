//! AWS's event streams: length, headers, payload and checksums in binary, around one event of the model each.

use crate::providers::sse::MAX_LINE_BYTES;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The lengths of a frame and of its headers, with their checksum.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream with broken frames")]
pub(crate) struct Broken;

/// Takes bytes and gives what the model said in each event, or an error as Anthropic words one in its place.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// Adds what arrived. Call `next` until it has nothing more.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        while let Some(length) = number(&self.buffer, 0) {
            if !(PRELUDE + CHECKSUM..=MAX_LINE_BYTES).contains(&length) {
                return Err(Broken);
            }
            if self.buffer.len() < length {
                break;
            }
            let rest = self.buffer.split_off(length);
            let frame = std::mem::replace(&mut self.buffer, rest);
            if let Some(data) = event(&frame)? {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_be_bytes(*bytes)).ok()
}

/// What a frame holds; nothing for a kind that does not exist yet.
fn event(frame: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
    let (said, checksum) = frame.split_last_chunk::<CHECKSUM>().ok_or(Broken)?;
    if crc32fast::hash(said) != u32::from_be_bytes(*checksum) {
        return Err(Broken);
    }
    let headers_length = number(said, 4).ok_or(Broken)?;
    let inner = said.get(PRELUDE..).ok_or(Broken)?;
    let (headers, payload) = inner.split_at_checked(headers_length).ok_or(Broken)?;
    let headers = Headers::read(headers)?;
    let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
    let text = |field: &str| payload.get(field).and_then(Value::as_str);
    match headers.message_type {
        "event" => {
            let bytes = text("bytes").map(|bytes| STANDARD.decode(bytes));
            bytes.transpose().map_err(|_| Broken)
        }
        "exception" | "error" => {
            let message = text("message").unwrap_or(headers.message);
            let error = json!({"type": headers.error, "message": message});
            Ok(Some(
                json!({"type": "error", "error": error}).to_string().into(),
            ))
        }
        _ => Ok(None),
    }
}

#[derive(Default)]
struct Headers<'a> {
    message_type: &'a str,
    error: &'a str,
    message: &'a str,
}

impl<'a> Headers<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, Broken> {
        let mut headers = Self::default();
        while !bytes.is_empty() {
            let length = take(&mut bytes, 1)?[0];
            let name = take(&mut bytes, length.into())?;
            let kind = take(&mut bytes, 1)?[0];
            let length = match kind {
                0 | 1 => 0,
                2 => 1,
                3 => 2,
                4 => 4,
                5 | 8 => 8,
                6 | 7 => {
                    let length = take(&mut bytes, 2)?;
                    usize::from(u16::from_be_bytes([length[0], length[1]]))
                }
                9 => 16,
                _ => return Err(Broken),
            };
            let value = std::str::from_utf8(take(&mut bytes, length)?).unwrap_or("");
            match name {
                b":message-type" => headers.message_type = value,
                b":exception-type" | b":error-code" => headers.error = value,
                b":error-message" => headers.message = value,
                _ => (),
            }
        }
        Ok(headers)
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Broken> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(Broken)?;
    *bytes = rest;
    Ok(taken)
}

/// A frame with these headers, all of them texts.
#[cfg(test)]
pub(crate) fn frame(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut named = Vec::new();
    for (name, value) in headers {
        named.push(u8::try_from(name.len()).unwrap());
        named.extend_from_slice(name.as_bytes());
        named.push(7);
        named.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        named.extend_from_slice(value.as_bytes());
    }
    let length = PRELUDE + named.len() + payload.len() + CHECKSUM;
    let mut frame = Vec::new();
    frame.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    frame.extend_from_slice(&u32::try_from(named.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&named);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// A frame that holds one event of the model.
#[cfg(test)]
pub(crate) fn chunk(event: &Value) -> Vec<u8> {
    let payload = json!({"bytes": STANDARD.encode(event.to_string())}).to_string();
    frame(
        &[(":event-type", "chunk"), (":message-type", "event")],
        &payload,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cuts_between_pieces_do_not_matter() {
        let (one, two) = (json!({"type": "ping"}), json!({"type": "message_stop"}));
        let refused = [
            (":message-type", "exception"),
            (":exception-type", "throttlingException"),
        ];
        let stream = [
            chunk(&one),
            frame(&[(":message-type", "later")], "{}"),
            chunk(&two),
            frame(&refused, r#"{"message": "slow down"}"#),
        ];
        let mut reader = FrameReader::default();
        let mut events: Vec<Value> = Vec::new();
        for byte in stream.concat() {
            reader.push(&[byte]);
            while let Some(data) = reader.next().unwrap() {
                events.push(serde_json::from_slice(&data).unwrap());
            }
        }
        let error = json!({"type": "throttlingException", "message": "slow down"});
        assert_eq!(events, [one, two, json!({"type": "error", "error": error})]);
    }

    #[test]
    fn what_is_broken_is_said_to_be() {
        let whole = chunk(&json!({"type": "ping"}));
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x41;
            let mut reader = FrameReader::default();
            reader.push(&broken);
            assert!(!matches!(reader.next(), Ok(Some(_))), "{at}");
        }
    }
}
