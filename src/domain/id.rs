//! Identifiers: `<prefix>-<uuid4>`, lower case (wire-rules §1). One type a thing, so they cannot be mixed up.

use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A text that is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{input}' is not a {prefix} id, expected '{prefix}-<uuid4>'")]
pub struct BadId {
    pub prefix: &'static str,
    pub input: String,
}

/// Reads the strict form: lower case, version nibble 4, variant nibble 8, 9, a or b.
fn parse(prefix: &'static str, input: &str) -> Result<Uuid, BadId> {
    let bad = || BadId {
        prefix,
        input: input.to_owned(),
    };
    let rest = input
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .ok_or_else(bad)?;
    let plain = rest.len() == 36 && !rest.bytes().any(|byte| byte.is_ascii_uppercase());
    let uuid = Uuid::try_parse(rest)
        .ok()
        .filter(|_| plain)
        .ok_or_else(bad)?;
    let strict = uuid.get_version_num() == 4 && uuid.get_variant() == uuid::Variant::RFC4122;
    if strict { Ok(uuid) } else { Err(bad()) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A fresh random id.
            #[allow(clippy::new_without_default, reason = "two calls give two ids")]
            pub fn new() -> Self {
                Self(Uuid::new_v4())
            }

            /// The id with these bytes; for records and for ids that are fixed in the program.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            pub const fn bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{}"), self.0.as_hyphenated())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(input: &str) -> Result<Self, BadId> {
                parse($prefix, input).map(Self)
            }
        }
    )*};
}

ids! {
    AgentId = "agent";
    MessageId = "message";
    RunId = "run";
    StepId = "step";
    BlockId = "block";
    ToolId = "tool";
    ConversationId = "conv";
    IdentityId = "identity";
    UserId = "user";
    OrgId = "org";
    /// A secret of an agent (its environment variables).
    SecretId = "agent-env";
    TraceId = "provider_trace";
    PingId = "ping";
    ModelId = "model";
    ProviderId = "provider";
}

const DEFAULT_UUID: [u8; 16] = [0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];

impl UserId {
    /// The user of every request that names none.
    pub const DEFAULT: Self = Self::from_bytes(DEFAULT_UUID);
}

impl OrgId {
    pub const DEFAULT: Self = Self::from_bytes(DEFAULT_UUID);
}

impl MessageId {
    /// The `otid` of one piece of a stored message: the id with its low seven bits replaced by the index, no prefix.
    pub fn piece_otid(&self, index: u8) -> String {
        let mut bytes = *self.bytes();
        bytes[15] = (bytes[15] & 0x80) | (index & 0x7f);
        Uuid::from_bytes(bytes).as_hyphenated().to_string()
    }

    /// The id of the approval request that belongs to the assistant message of this id: one less (agent-loop §9).
    pub fn of_request(&self) -> Self {
        let number = u128::from_be_bytes(*self.bytes());
        Self::from_bytes(number.wrapping_sub(1).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_and_parses() {
        let id = AgentId::new();
        assert_eq!(id.to_string().parse::<AgentId>().unwrap(), id);
        assert_eq!(
            UserId::DEFAULT.to_string(),
            "user-00000000-0000-4000-8000-000000000000"
        );
    }

    #[test]
    fn only_the_strict_form_is_an_id() {
        for bad in [
            "agent-00000000-0000-1000-8000-000000000000",
            "agent-00000000-0000-4000-0000-000000000000",
            "agent-AAAAAAAA-0000-4000-8000-000000000000",
            "agent-000000000000400080000000000000000000",
            "agent-00000000000040008000000000000000",
            "block-00000000-0000-4000-8000-000000000000",
            "agent",
            "",
        ] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pieces_of_one_message_have_different_repeatable_otids() {
        let id: MessageId = "message-d4b15067-c24f-48f5-847a-a567fd01c1c9"
            .parse()
            .unwrap();
        assert_eq!(id.piece_otid(0), "d4b15067-c24f-48f5-847a-a567fd01c180");
        assert_ne!(id.piece_otid(0), id.piece_otid(1));
    }
}
