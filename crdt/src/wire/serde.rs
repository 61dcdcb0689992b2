//! What has bytes of its own is, to serde, those bytes: there is one encoding.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use ::serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use ::serde::ser::{Serialize, Serializer};

use super::{Budget, Message, StoreCodec};
use crate::{
    BoundedCounter, Causal, Delta, GCounter, IntervalVersionVector, PnCounter, Text, TextDelta,
    VersionVector,
};

macro_rules! as_bytes {
    ($([$($generics:tt)*] $message:ty;)*) => {$(
        /// As the bytes of [`Message::to_bytes`].
        impl<$($generics)*> Serialize for $message {
            fn serialize<Out: Serializer>(&self, serializer: Out) -> Result<Out::Ok, Out::Error> {
                serializer.serialize_bytes(&self.to_bytes())
            }
        }

        /// From the bytes of [`Message::to_bytes`], within the default [`Budget`].
        impl<'de, $($generics)*> Deserialize<'de> for $message {
            fn deserialize<In: Deserializer<'de>>(deserializer: In) -> Result<Self, In::Error> {
                deserializer.deserialize_bytes(OfBytes(PhantomData))
            }
        }
    )*};
}

as_bytes! {
    [S: StoreCodec] Causal<S>;
    [S: StoreCodec] Delta<S>;
    [] VersionVector;
    [] IntervalVersionVector;
    [] GCounter;
    [] PnCounter;
    [] BoundedCounter;
    [] Text;
    [] TextDelta;
}

struct OfBytes<M>(PhantomData<M>);

impl<'de, M: Message> Visitor<'de> for OfBytes<M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a message")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<M, E> {
        M::from_bytes(bytes, Budget::default()).map_err(E::custom)
    }

    /// For formats that have no bytes and write a list of numbers.
    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<M, A::Error> {
        let mut bytes: Vec<u8> = Vec::new();
        while let Some(byte) = input.next_element()? {
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }
}
