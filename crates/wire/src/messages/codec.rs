//! What our own messages are read and written with: fields by version, in the plain layout or the flexible one (P-8).
//!
//! `kafka-protocol` has the same within it, and keeps it to itself. The macro `message` makes a message of a list of
//! fields. As everywhere, [`crate::guard`] has walked the bytes before anything here reads them; still nothing is reserved that
//! is not there. Deliberately not here: which messages (`own.rs`).

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::messages::{BrokerId, GroupId, TopicName};
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

/// A version, and whether it is a flexible one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) version: i16,
    pub(super) flexible: bool,
}

/// Where a message goes: to a buffer, or nowhere, to be measured.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);
    fn foreign<M: Encodable>(&mut self, message: &M, version: i16) -> Result<()>;
}

/// Counts bytes.
#[derive(Debug, Default)]
pub(super) struct Measure(usize);

impl Measure {
    pub(super) fn bytes(&self) -> usize {
        self.0
    }
}

impl Sink for Measure {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn foreign<M: Encodable>(&mut self, message: &M, version: i16) -> Result<()> {
        self.0 += message.compute_size(version)?;
        Ok(())
    }
}

/// Writes to a buffer.
pub(super) struct Write<'a, B>(pub(super) &'a mut B);

impl<B: ByteBufMut> Sink for Write<'_, B> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    fn foreign<M: Encodable>(&mut self, message: &M, version: i16) -> Result<()> {
        message.encode(self.0, version)
    }
}

/// A kind of field.
pub(super) trait Field: Sized {
    fn write(&self, to: &mut impl Sink, layout: Layout) -> Result<()>;
    fn read(from: &mut impl ByteBuf, layout: Layout) -> Result<Self>;
}

macro_rules! numbers {
    ($($kind:ty: $get:ident;)*) => {
        $(impl Field for $kind {
            fn write(&self, to: &mut impl Sink, _: Layout) -> Result<()> {
                to.put(&self.to_be_bytes());
                Ok(())
            }

            fn read(from: &mut impl ByteBuf, _: Layout) -> Result<Self> {
                Ok(from.$get()?)
            }
        })*
    };
}

numbers! { i8: try_get_i8; i16: try_get_i16; i32: try_get_i32; i64: try_get_i64; }

impl Field for bool {
    fn write(&self, to: &mut impl Sink, _: Layout) -> Result<()> {
        to.put(&[u8::from(*self)]);
        Ok(())
    }

    fn read(from: &mut impl ByteBuf, _: Layout) -> Result<Self> {
        Ok(from.try_get_u8()? != 0)
    }
}

impl Field for Uuid {
    fn write(&self, to: &mut impl Sink, _: Layout) -> Result<()> {
        to.put(self.as_bytes());
        Ok(())
    }

    fn read(from: &mut impl ByteBuf, _: Layout) -> Result<Self> {
        Ok(Uuid::from_slice(&from.try_get_bytes(16)?)?)
    }
}

/// How wide a length is in the plain layout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    /// Two bytes: texts.
    Two,
    /// Four bytes: arrays.
    Four,
}

fn write_length(to: &mut impl Sink, layout: Layout, length: Option<usize>, width: Width) -> Result<()> {
    if layout.flexible {
        let more = length.map_or(Some(0), |length| length.checked_add(1));
        write_varint(to, u32::try_from(more.unwrap_or(usize::MAX))?);
    } else if width == Width::Two {
        to.put(&length.map_or(Ok(-1), i16::try_from)?.to_be_bytes());
    } else {
        to.put(&length.map_or(Ok(-1), i32::try_from)?.to_be_bytes());
    }
    Ok(())
}

/// `None` is null.
fn read_length(from: &mut impl ByteBuf, layout: Layout, width: Width) -> Result<Option<usize>> {
    let length = if layout.flexible {
        i64::from(read_varint(from)?) - 1
    } else if width == Width::Two {
        i64::from(from.try_get_i16()?)
    } else {
        i64::from(from.try_get_i32()?)
    };
    ensure!(length >= -1, "a negative length");
    Ok(usize::try_from(length).ok())
}

fn write_varint(to: &mut impl Sink, mut value: u32) {
    while value > 0x7f {
        to.put(&[value as u8 | 0x80]);
        value >>= 7;
    }
    to.put(&[value as u8]);
}

fn read_varint(from: &mut impl ByteBuf) -> Result<u32> {
    let mut value = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = from.try_get_u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(u32::try_from(value)?);
        }
    }
    bail!("a varint of more than five bytes")
}

impl Field for Option<StrBytes> {
    fn write(&self, to: &mut impl Sink, layout: Layout) -> Result<()> {
        write_length(to, layout, self.as_ref().map(|text| text.len()), Width::Two)?;
        self.iter().for_each(|text| to.put(text.as_bytes()));
        Ok(())
    }

    fn read(from: &mut impl ByteBuf, layout: Layout) -> Result<Self> {
        let Some(length) = read_length(from, layout, Width::Two)? else { return Ok(None) };
        Ok(Some(StrBytes::from_utf8(from.try_get_bytes(length)?)?))
    }
}

impl Field for StrBytes {
    fn write(&self, to: &mut impl Sink, layout: Layout) -> Result<()> {
        write_length(to, layout, Some(self.len()), Width::Two)?;
        to.put(self.as_bytes());
        Ok(())
    }

    fn read(from: &mut impl ByteBuf, layout: Layout) -> Result<Self> {
        not_null(Field::read(from, layout)?)
    }
}

impl<E: Field> Field for Option<Vec<E>> {
    fn write(&self, to: &mut impl Sink, layout: Layout) -> Result<()> {
        write_length(to, layout, self.as_ref().map(Vec::len), Width::Four)?;
        self.iter().flatten().try_for_each(|element| element.write(to, layout))
    }

    fn read(from: &mut impl ByteBuf, layout: Layout) -> Result<Self> {
        let Some(length) = read_length(from, layout, Width::Four)? else { return Ok(None) };
        ensure!(length <= from.remaining(), "more elements than bytes");
        (0..length).map(|_| E::read(from, layout)).collect::<Result<_>>().map(Some)
    }
}

impl<E: Field> Field for Vec<E> {
    fn write(&self, to: &mut impl Sink, layout: Layout) -> Result<()> {
        write_length(to, layout, Some(self.len()), Width::Four)?;
        self.iter().try_for_each(|element| element.write(to, layout))
    }

    fn read(from: &mut impl ByteBuf, layout: Layout) -> Result<Self> {
        not_null(Field::read(from, layout)?)
    }
}

fn not_null<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| anyhow::anyhow!("null where null is not allowed"))
}

macro_rules! newtypes {
    ($($kind:ident: $inner:ty;)*) => {
        $(impl Field for $kind {
            fn write(&self, to: &mut impl Sink, layout: Layout) -> Result<()> {
                self.0.write(to, layout)
            }

            fn read(from: &mut impl ByteBuf, layout: Layout) -> Result<Self> {
                <$inner>::read(from, layout).map($kind)
            }
        })*
    };
}

newtypes! { BrokerId: i32; GroupId: StrBytes; TopicName: StrBytes; }

/// Structures of `kafka-protocol` that have not changed since the last version that it knows of them.
macro_rules! foreign {
    ($($kind:ty, unchanged since $last:literal;)*) => {
        $(impl Field for $kind {
            fn write(&self, to: &mut impl Sink, layout: Layout) -> Result<()> {
                to.foreign(self, layout.version.min($last))
            }

            fn read(from: &mut impl ByteBuf, layout: Layout) -> Result<Self> {
                <$kind as kafka_protocol::protocol::Decodable>::decode(from, layout.version.min($last))
            }
        })*
    };
}
pub(super) use foreign;

/// Tagged fields that nobody knows, which stay as they are (row 22).
pub(super) type Tags = BTreeMap<i32, Bytes>;

impl Field for Tags {
    fn write(&self, to: &mut impl Sink, layout: Layout) -> Result<()> {
        if layout.flexible {
            write_varint(to, u32::try_from(self.len())?);
            for (tag, value) in self {
                write_varint(to, u32::try_from(*tag)?);
                write_varint(to, u32::try_from(value.len())?);
                to.put(value);
            }
        }
        Ok(())
    }

    fn read(from: &mut impl ByteBuf, layout: Layout) -> Result<Self> {
        let mut tags = Tags::new();
        if layout.flexible {
            for _ in 0..read_varint(from)? {
                let tag = i32::try_from(read_varint(from)?)?;
                let length = read_varint(from)? as usize;
                tags.insert(tag, from.try_get_bytes(length)?);
            }
        }
        Ok(tags)
    }
}

/// Makes a message of its fields, each with the name of its setter, its kind, its default and its versions. A field with
/// `else bail` cannot be set in a version that does not have it, the others are left out there.
macro_rules! message {
    ($(#[doc = $doc:literal])+ $name:ident, versions $first:literal to $last:literal, flexible from $flexible:literal {
        $($(#[doc = $field_doc:literal])+ $field:ident $setter:ident: $kind:ty = $default:expr, in $versions:expr $(, else $refused:ident)?;)*
    }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[doc = $field_doc])+ pub $field: $kind,)*
            /// Tagged fields that nobody knows.
            pub unknown_tagged_fields: Tags,
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* unknown_tagged_fields: Tags::new() }
            }
        }

        impl $name {
            $(
                /// Sets the field.
                #[must_use]
                pub fn $setter(mut self, value: $kind) -> Self {
                    self.$field = value;
                    self
                }
            )*
        }

        impl Field for $name {
            fn write(&self, to: &mut impl Sink, layout: Layout) -> Result<()> {
                $(if ($versions).contains(&layout.version) {
                    self.$field.write(to, layout)?;
                } $(else if self.$field != $default {
                    $refused!("{} cannot be told in version {}", stringify!($field), layout.version);
                })?)*
                self.unknown_tagged_fields.write(to, layout)
            }

            fn read(from: &mut impl ByteBuf, layout: Layout) -> Result<Self> {
                $(let $field = if ($versions).contains(&layout.version) { Field::read(from, layout)? } else { $default };)*
                Ok($name { $($field,)* unknown_tagged_fields: Field::read(from, layout)? })
            }
        }

        impl $name {
            fn layout(version: i16) -> Result<Layout> {
                ensure!(($first..=$last).contains(&version), "version {version} of this message is not known");
                Ok(Layout { version, flexible: version >= $flexible })
            }
        }

        impl Encodable for $name {
            fn encode<B: ByteBufMut>(&self, to: &mut B, version: i16) -> Result<()> {
                self.write(&mut Write(to), $name::layout(version)?)
            }

            fn compute_size(&self, version: i16) -> Result<usize> {
                let mut measure = Measure::default();
                self.write(&mut measure, $name::layout(version)?)?;
                Ok(measure.bytes())
            }
        }

        impl Decodable for $name {
            fn decode<B: ByteBuf>(from: &mut B, version: i16) -> Result<Self> {
                $name::read(from, $name::layout(version)?)
            }
        }
    };
}
pub(super) use message;
