//! The shapes of records and the way between them and the domain.
//!
//! A record states each field with the type it has on disk: ids as `[u8; 16]`, times as `i64` microseconds, free JSON
//! as its text. The two conversions follow from that, so they are derived here; a field that is missing on either side
//! stops the build. Shapes are `struct XV1`; variants of enums are only ever appended. A variant `Image(image: ImageV1)`
//! is a tuple in the domain and has its one field named on disk, which costs no byte.

use super::codec::Unreadable;
use crate::domain::id::{
    AgentId, BlockId, ConversationId, IdentityId, MessageId, ProviderId, RunId, SecretId, StepId,
    ToolId, UserId,
};
use bincode::{Decode, Encode};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

/// The shape on disk of a domain value.
pub(super) trait Record<D>: Encode + Decode<()> {
    fn of(value: &D) -> Self;

    /// # Errors
    /// When the bytes made sense as this shape and the value does not (JSON that is none, a time out of range).
    fn into_domain(self) -> Result<D, Unreadable>;
}

macro_rules! record {
    ($(#[$meta:meta])* struct $record:ident for $domain:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        pub(super) struct $record {
            $($field: $type,)*
        }

        impl $crate::store::record::Record<$domain> for $record {
            fn of(value: &$domain) -> Self {
                Self { $($field: $crate::store::record::Record::of(&value.$field),)* }
            }

            fn into_domain(self) -> Result<$domain, $crate::store::codec::Unreadable> {
                Ok($domain { $($field: $crate::store::record::Record::into_domain(self.$field)?,)* })
            }
        }
    };
    ($(#[$meta:meta])* enum $record:ident for $domain:ident {
        $($variant:ident $(($inner:ident: $inner_type:ty))? $({ $($field:ident: $type:ty),* $(,)? })?),* $(,)?
    }) => {
        $(#[$meta])*
        #[allow(clippy::enum_variant_names, reason = "variants are named as in the domain")]
        pub(super) enum $record {
            $($variant $({ $inner: $inner_type })? $({ $($field: $type,)* })?,)*
        }

        impl $crate::store::record::Record<$domain> for $record {
            fn of(value: &$domain) -> Self {
                match value {
                    $($domain::$variant $(($inner))? $({ $($field,)* })? =>
                        Self::$variant $({ $inner: $crate::store::record::Record::of($inner) })?
                            $({ $($field: $crate::store::record::Record::of($field),)* })?,)*
                }
            }

            fn into_domain(self) -> Result<$domain, $crate::store::codec::Unreadable> {
                Ok(match self {
                    $(Self::$variant $({ $inner })? $({ $($field,)* })? =>
                        $domain::$variant $(($crate::store::record::Record::into_domain($inner)?))?
                            $({ $($field: $crate::store::record::Record::into_domain($field)?,)* })?,)*
                })
            }
        }
    };
}
pub(super) use record;

macro_rules! as_it_is {
    ($($type:ty),*) => {$(
        impl Record<$type> for $type {
            fn of(value: &$type) -> Self {
                value.clone()
            }

            fn into_domain(self) -> Result<$type, Unreadable> {
                Ok(self)
            }
        }
    )*};
}
as_it_is!(bool, u16, u32, u64, i64, f64, String, [u8; 32]);

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl Record<$id> for [u8; 16] {
            fn of(value: &$id) -> Self {
                *value.bytes()
            }

            fn into_domain(self) -> Result<$id, Unreadable> {
                Ok($id::from_bytes(self))
            }
        }
    )*};
}
ids!(
    AgentId,
    BlockId,
    ConversationId,
    IdentityId,
    MessageId,
    ProviderId,
    RunId,
    SecretId,
    StepId,
    ToolId,
    UserId
);

/// Microseconds since the epoch.
impl Record<Timestamp> for i64 {
    fn of(value: &Timestamp) -> Self {
        value.as_microsecond()
    }

    fn into_domain(self) -> Result<Timestamp, Unreadable> {
        Timestamp::from_microsecond(self).map_err(|error| Unreadable(error.to_string()))
    }
}

/// JSON text.
impl Record<Value> for String {
    fn of(value: &Value) -> Self {
        value.to_string()
    }

    fn into_domain(self) -> Result<Value, Unreadable> {
        serde_json::from_str(&self).map_err(|error| Unreadable(format!("not JSON: {error}")))
    }
}

impl Record<Bytes> for Vec<u8> {
    fn of(value: &Bytes) -> Self {
        value.to_vec()
    }

    fn into_domain(self) -> Result<Bytes, Unreadable> {
        Ok(self.into())
    }
}

impl<D, R: Record<D>> Record<Option<D>> for Option<R> {
    fn of(value: &Option<D>) -> Self {
        value.as_ref().map(R::of)
    }

    fn into_domain(self) -> Result<Option<D>, Unreadable> {
        self.map(R::into_domain).transpose()
    }
}

impl<D, R: Record<D> + 'static> Record<Vec<D>> for Vec<R> {
    fn of(value: &Vec<D>) -> Self {
        value.iter().map(R::of).collect()
    }

    fn into_domain(self) -> Result<Vec<D>, Unreadable> {
        self.into_iter().map(R::into_domain).collect()
    }
}

impl<D, R: Record<D>> Record<Box<D>> for Box<R> {
    fn of(value: &Box<D>) -> Self {
        Box::new(R::of(value))
    }

    fn into_domain(self) -> Result<Box<D>, Unreadable> {
        (*self).into_domain().map(Box::new)
    }
}

impl<A, B, R: Record<A>, S: Record<B>> Record<(A, B)> for (R, S) {
    fn of((first, second): &(A, B)) -> Self {
        (R::of(first), S::of(second))
    }

    fn into_domain(self) -> Result<(A, B), Unreadable> {
        Ok((self.0.into_domain()?, self.1.into_domain()?))
    }
}
