//! Values that tell which field they are in: what `Golden.java` puts into a field is made of the field's name (Q-80).
//!
//! So a decoded message can be checked field by field without a list of fields: its `Debug` text names each one, and the
//! value must be the one of that name. A decoder that swaps two fields, and an encoder that swaps them back, are found out.

/// What the `Debug` text of a message shows for a field without parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    Text(String),
    Bytes(Vec<u8>),
    /// A number, `true`, `None`, a UUID.
    Word(String),
}

/// All fields without parts of a message, each with its name; of an array, every element.
pub fn leaves(debug_text: &str) -> Vec<(String, Leaf)> {
    let mut reader = Reader { rest: debug_text, found: Vec::new() };
    reader.value("");
    assert_eq!(reader.rest, "", "the text is understood to its end");
    reader.found
}

/// Whether a leaf is what `Golden.java` puts into a field of this name, or what a field has that its version does not know.
pub fn is_of_its_name(name: &str, leaf: &Leaf) -> bool {
    is_value_of(name, leaf) || is_nothing(leaf)
}

/// Whether a leaf is what `Golden.java` puts into a field of this name.
pub fn is_value_of(name: &str, leaf: &Leaf) -> bool {
    let number = i64::from(crc32(name.as_bytes()));
    match leaf {
        Leaf::Text(text) => *text == format!("{name}-\u{e9}"),
        Leaf::Bytes(bytes) if name == "records" => pagemark_wire::records::is_intact(bytes),
        Leaf::Bytes(bytes) => bytes == name.as_bytes(),
        Leaf::Word(word) => {
            let numbers =
                [i64::from(number as i8), i64::from(number as i16), i64::from(number as i32), number << 32 | number];
            numbers.iter().any(|n| n.to_string() == *word)
                || *word == (number % 2 == 1).to_string()
                || word.replace('-', "") == format!("{number:016x}").repeat(2)
        }
    }
}

/// Defaults of Kafka's fields, none of which is the value of a name.
fn is_nothing(leaf: &Leaf) -> bool {
    match leaf {
        Leaf::Text(text) => text.is_empty(),
        Leaf::Bytes(bytes) => bytes.is_empty(),
        Leaf::Word(word) => {
            let nil_uuid = word.bytes().all(|b| matches!(b, b'0' | b'-'));
            nil_uuid
                || ["false", "true", "None", "1", "-1", "-2", "-2147483648", "2147483647", "9223372036854775807"]
                    .contains(&word.as_str())
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

struct Reader<'a> {
    rest: &'a str,
    found: Vec<(String, Leaf)>,
}

impl<'a> Reader<'a> {
    fn value(&mut self, name: &str) {
        if let Some(rest) = self.rest.strip_prefix('[') {
            self.rest = rest;
            return self.list(']', |reader| reader.value(name));
        }
        if let Some(rest) = self.rest.strip_prefix('{') {
            self.rest = rest; // unknown tagged fields: number and bytes
            return self.list('}', |reader| {
                reader.word();
                reader.expect(": ");
                reader.quoted();
            });
        }
        if self.rest.starts_with('"') || self.rest.starts_with("b\"") {
            let leaf = self.quoted();
            return self.found.push((name.to_owned(), leaf));
        }
        let word = self.word();
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = rest; // Some(...) or a newtype
            return self.list(')', |reader| reader.value(name));
        }
        if let Some(rest) = self.rest.strip_prefix(" { ") {
            self.rest = rest;
            self.list('}', |reader| {
                let field = reader.word();
                reader.expect(": ");
                reader.value(field.trim_start_matches('_'));
            });
            return;
        }
        self.found.push((name.to_owned(), Leaf::Word(word.to_owned())));
    }

    fn list(&mut self, end: char, mut item: impl FnMut(&mut Self)) {
        loop {
            self.rest = self.rest.trim_start_matches([',', ' ']);
            if let Some(rest) = self.rest.strip_prefix(end) {
                self.rest = rest;
                return;
            }
            item(self);
        }
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).unwrap_or(self.rest.len());
        assert!(end > 0, "a word, not {:?}", self.rest);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn expect(&mut self, text: &str) {
        self.rest = self.rest.strip_prefix(text).unwrap_or_else(|| panic!("{text:?}, not {:?}", self.rest));
    }

    /// A text or bytes, with the escapes that `Debug` makes.
    fn quoted(&mut self) -> Leaf {
        let is_bytes = self.rest.starts_with('b');
        self.rest = &self.rest[if is_bytes { 2 } else { 1 }..];
        let mut bytes = Vec::new();
        loop {
            let c = self.rest.chars().next().expect("a closing quote");
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '"' if is_bytes => return Leaf::Bytes(bytes),
                '"' => return Leaf::Text(String::from_utf8(bytes).expect("text")),
                '\\' => bytes.push(self.escaped()),
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn escaped(&mut self) -> u8 {
        let (escape, rest) = self.rest.split_at(1);
        self.rest = rest;
        match escape {
            "n" => b'\n',
            "r" => b'\r',
            "t" => b'\t',
            "0" => 0,
            "x" => {
                let (digits, rest) = self.rest.split_at(2);
                self.rest = rest;
                u8::from_str_radix(digits, 16).expect("two hex digits")
            }
            other => other.as_bytes()[0],
        }
    }
}

#[test]
fn a_swapped_field_does_not_have_the_value_of_its_name() {
    let found =
        leaves("R { host: \"host-\u{e9}\", port: 1133600204, inner: Some(I { error_code: 1133600204, _type: -1 }) }");
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "port", "error_code", "type"]);
    let right: Vec<bool> = found.iter().map(|(name, leaf)| is_of_its_name(name, leaf)).collect();
    assert_eq!(right, [true, true, false, true]);
}
