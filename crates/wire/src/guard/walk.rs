//! The walk itself: one message's bytes against its schema.
//!
//! Recursion is as deep as the schema, never as the input. Deliberately not here: the schemas.

use std::ops::Range;

use super::Malformed;
use super::cursor::{Cursor, Fault};
use super::schema::{Field, Kind};

/// Longest text that a field may hold, in bytes.
const MAX_TEXT_LEN: usize = i16::MAX as usize;

/// A walk in progress.
pub(super) struct Walk<'a> {
    cursor: Cursor<'a>,
    version: i16,
    flexible: bool,
    /// Array elements and tagged fields met so far.
    pub(super) elements: usize,
    /// Most that there may be.
    max_elements: usize,
    /// Where topic names lie, in bytes, that are not UTF-8.
    pub(super) not_utf8: Vec<Range<usize>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(body: &'a [u8], version: i16, flexible: bool, max_elements: usize) -> Walk<'a> {
        Walk { cursor: Cursor::at(body, 0), version, flexible, elements: 0, max_elements, not_utf8: Vec::new() }
    }

    pub(super) fn position(&self) -> usize {
        self.cursor.position()
    }

    /// A structure: its fields in order, then its tagged fields if the version has any.
    pub(super) fn fields(&mut self, fields: &'static [Field]) -> Result<(), Malformed> {
        for field in fields {
            if field.tag.is_none() && field.in_version(self.version) {
                self.field(field)?;
            }
        }
        if self.flexible { self.tags(fields) } else { Ok(()) }
    }

    fn field(&mut self, field: &'static Field) -> Result<(), Malformed> {
        let nullable = field.nullable_in(self.version);
        match field.kind {
            Kind::Fixed(size) => drop(self.cursor.take(size).map_err(in_field(field))?),
            Kind::Text | Kind::TopicName => self.text(field, field.kind, nullable)?,
            Kind::Blob => {
                let length = self.blob_length(nullable).map_err(in_field(field))?;
                self.cursor.take(length).map_err(in_field(field))?;
            }
            Kind::Struct(_) if nullable && self.is_null_struct().map_err(in_field(field))? => {}
            Kind::Struct(fields) => self.fields(fields)?,
            Kind::Array(element) => self.array(field, element, nullable)?,
        }
        Ok(())
    }

    fn array(&mut self, field: &'static Field, element: &'static Kind, nullable: bool) -> Result<(), Malformed> {
        let count = self.array_length(nullable).map_err(in_field(field))?;
        let least = element.least_size(self.version, self.flexible);
        if count.checked_mul(least).is_none_or(|bytes| bytes > self.cursor.remaining()) {
            return Err(in_field(field)(self.cursor.fault("more elements than bytes")));
        }
        self.count(count).map_err(in_field(field))?;
        match *element {
            Kind::Fixed(size) => drop(self.cursor.take(count * size).map_err(in_field(field))?),
            Kind::Struct(fields) => (0..count).try_for_each(|_| self.fields(fields))?,
            Kind::Text | Kind::TopicName => (0..count).try_for_each(|_| self.text(field, *element, false))?,
            Kind::Blob | Kind::Array(_) => unreachable!("no request has arrays of arrays or of bytes"),
        }
        Ok(())
    }

    fn text(&mut self, field: &'static Field, kind: Kind, nullable: bool) -> Result<(), Malformed> {
        let length = self.text_length(nullable).map_err(in_field(field))?;
        let start = self.cursor.position();
        let bytes = self.cursor.take(length).map_err(in_field(field))?;
        match (std::str::from_utf8(bytes), kind) {
            (Ok(_), _) => Ok(()),
            (Err(_), Kind::TopicName) => {
                self.not_utf8.push(start..start + length);
                Ok(())
            }
            (Err(_), _) => Err(in_field(field)(Fault { at: start, reason: "a text is not UTF-8" })),
        }
    }

    fn tags(&mut self, fields: &'static [Field]) -> Result<(), Malformed> {
        let count = self.cursor.tag_count().map_err(in_tags)?;
        self.count(count).map_err(in_tags)?;
        for _ in 0..count {
            let tag = self.cursor.varint().map_err(in_tags)?;
            let size = self.cursor.varint().map_err(in_tags)? as usize;
            let start = self.cursor.position();
            let known = fields.iter().find(|f| f.tag == Some(tag) && f.in_version(self.version));
            match known {
                None => drop(self.cursor.take(size).map_err(in_tags)?),
                Some(field) => {
                    self.field(field)?;
                    if self.cursor.position() - start != size {
                        return Err(in_field(field)(self.cursor.fault("a tagged field's size is not its value's")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the byte in front of a structure that may be null.
    fn is_null_struct(&mut self) -> Result<bool, Fault> {
        match self.cursor.take(1)?[0] as i8 {
            1 => Ok(false),
            i8::MIN..=-1 => Ok(true),
            // The decoder takes these for null, and would read what follows from another place than this walk.
            _ => Err(self.cursor.fault("a structure is neither there nor null")),
        }
    }

    fn count(&mut self, more: usize) -> Result<(), Fault> {
        self.elements += more; // both are bounded by the body's length
        if self.elements > self.max_elements {
            return Err(self.cursor.fault("too many elements in one request"));
        }
        Ok(())
    }

    /// A text's length in bytes; null counts as empty.
    fn text_length(&mut self, nullable: bool) -> Result<usize, Fault> {
        let length = if self.flexible { self.compact()? } else { plain(i32::from(self.cursor.i16()?)) };
        let length = self.present(length, nullable)?;
        if length > MAX_TEXT_LEN { Err(self.cursor.fault("a text exceeds 32767 bytes")) } else { Ok(length) }
    }

    fn blob_length(&mut self, nullable: bool) -> Result<usize, Fault> {
        let length = if self.flexible { self.compact()? } else { plain(self.cursor.i32()?) };
        self.present(length, nullable)
    }

    fn array_length(&mut self, nullable: bool) -> Result<usize, Fault> {
        self.blob_length(nullable)
    }

    fn compact(&mut self) -> Result<Length, Fault> {
        Ok(match self.cursor.varint()? {
            0 => Length::Null,
            n => Length::Of(n as usize - 1),
        })
    }

    fn present(&self, length: Length, nullable: bool) -> Result<usize, Fault> {
        match length {
            Length::Of(length) => Ok(length),
            Length::Null if nullable => Ok(0),
            Length::Null => Err(self.cursor.fault("null where null is not allowed")),
            Length::Negative => Err(self.cursor.fault("a negative length")),
        }
    }
}

/// A length as it was sent.
enum Length {
    Null,
    Of(usize),
    Negative,
}

fn plain(length: i32) -> Length {
    match usize::try_from(length) {
        Ok(length) => Length::Of(length),
        Err(_) if length == -1 => Length::Null,
        Err(_) => Length::Negative,
    }
}

fn in_field(field: &'static Field) -> impl Fn(Fault) -> Malformed {
    move |fault| Malformed { field: field.name, at: fault.at, reason: fault.reason }
}

fn in_tags(fault: Fault) -> Malformed {
    Malformed { field: "tagged fields", at: fault.at, reason: fault.reason }
}
