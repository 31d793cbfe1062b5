//! Reads the members of one JSON object as its text comes in, cut anywhere. It does not judge: of text that is no object
//! it tells what can be told, and whoever has the whole finds out.

/// What was read.
pub(super) enum Event<'a> {
    Open,
    /// Before the name of a member is known: its name, and the space around it.
    Lead(char),
    /// The name of the member that Lead began, decoded.
    Key(&'a str),
    /// Neither name nor value: the colon, and the space around a value.
    Between(char),
    /// A character of a value as it is written.
    Raw {
        c: char,
        /// The value is a text; what the characters mean follows as `Text`.
        text: bool,
    },
    /// Decoded characters of a value that is a text.
    Text(&'a str),
    ValueEnd {
        text: bool,
    },
    Comma,
    /// The object is whole. What follows is not read.
    Close,
}

#[derive(Debug, Default)]
pub(super) struct Scan {
    at: At,
    /// The object stands in a text of its own: models encode twice.
    outer: Option<Unquote>,
    inner: Unquote,
    key: String,
    decoded: String,
}

#[derive(Debug, Clone, Copy, Default)]
enum At {
    #[default]
    Before,
    Lead,
    Key,
    Colon,
    Value,
    Text,
    Nested {
        depth: usize,
        quoted: bool,
        escaped: bool,
    },
    Scalar,
    Tail,
    Closed,
}

impl Scan {
    pub(super) fn read(&mut self, fragment: &str, on: &mut dyn FnMut(Event<'_>)) {
        let mut decoded = String::new();
        for c in fragment.chars() {
            if let Some(outer) = &mut self.outer {
                decoded.clear();
                let closed = outer.push(c, &mut decoded);
                for c in decoded.chars() {
                    self.step(c, on);
                }
                if closed {
                    self.at = At::Closed;
                }
            } else if c == '"' && matches!(self.at, At::Before) {
                self.outer = Some(Unquote::default());
            } else {
                self.step(c, on);
            }
        }
    }

    fn step(&mut self, c: char, on: &mut dyn FnMut(Event<'_>)) {
        match self.at {
            At::Before => match c {
                '{' => {
                    on(Event::Open);
                    self.at = At::Lead;
                }
                _ if c.is_whitespace() => (),
                _ => self.at = At::Closed,
            },
            At::Lead => match c {
                '"' => {
                    on(Event::Lead(c));
                    self.key.clear();
                    self.inner = Unquote::default();
                    self.at = At::Key;
                }
                ',' | '}' => self.separator(c, on),
                _ => on(Event::Lead(c)),
            },
            At::Key => {
                on(Event::Lead(c));
                if self.inner.push(c, &mut self.key) {
                    on(Event::Key(&self.key));
                    self.at = At::Colon;
                }
            }
            At::Colon => {
                on(Event::Between(c));
                if c == ':' {
                    self.at = At::Value;
                }
            }
            At::Value => self.begin_value(c, on),
            At::Text => {
                on(Event::Raw { c, text: true });
                self.decoded.clear();
                let closed = self.inner.push(c, &mut self.decoded);
                if !self.decoded.is_empty() {
                    on(Event::Text(&self.decoded));
                }
                if closed {
                    on(Event::ValueEnd { text: true });
                    self.at = At::Tail;
                }
            }
            At::Nested {
                depth,
                quoted,
                escaped,
            } => {
                on(Event::Raw { c, text: false });
                self.at = nested(c, depth, quoted, escaped);
                if matches!(self.at, At::Tail) {
                    on(Event::ValueEnd { text: false });
                }
            }
            At::Scalar if c == ',' || c == '}' || c.is_whitespace() => {
                on(Event::ValueEnd { text: false });
                self.at = At::Tail;
                self.separator(c, on);
            }
            At::Scalar => on(Event::Raw { c, text: false }),
            At::Tail => self.separator(c, on),
            At::Closed => (),
        }
    }

    fn begin_value(&mut self, c: char, on: &mut dyn FnMut(Event<'_>)) {
        match c {
            '"' => {
                on(Event::Raw { c, text: true });
                self.inner = Unquote::default();
                self.at = At::Text;
            }
            '{' | '[' => {
                on(Event::Raw { c, text: false });
                self.at = nested(c, 0, false, false);
            }
            ',' | '}' => self.separator(c, on),
            _ if c.is_whitespace() => on(Event::Between(c)),
            _ => {
                on(Event::Raw { c, text: false });
                self.at = At::Scalar;
            }
        }
    }

    fn separator(&mut self, c: char, on: &mut dyn FnMut(Event<'_>)) {
        match c {
            ',' => {
                on(Event::Comma);
                self.at = At::Lead;
            }
            '}' => {
                on(Event::Close);
                self.at = At::Closed;
            }
            _ => on(Event::Between(c)),
        }
    }
}

/// Where a list or an object stands after its next character.
fn nested(c: char, depth: usize, quoted: bool, escaped: bool) -> At {
    let (depth, quoted, escaped) = match c {
        _ if escaped => (depth, quoted, false),
        '\\' if quoted => (depth, quoted, true),
        '"' => (depth, !quoted, false),
        '{' | '[' if !quoted => (depth + 1, false, false),
        '}' | ']' if !quoted => (depth - 1, false, false),
        _ => (depth, quoted, false),
    };
    if depth == 0 {
        At::Tail
    } else {
        At::Nested {
            depth,
            quoted,
            escaped,
        }
    }
}

/// Decodes one JSON text, character by character, from after its first quote on.
#[derive(Debug, Default)]
struct Unquote {
    escape: Escape,
    /// The first half of a pair of surrogates.
    high: Option<u16>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Escape {
    #[default]
    None,
    Begun,
    Unicode {
        digits: u8,
        unit: u16,
    },
}

impl Unquote {
    /// Takes the next character and adds what is decoded; true for the last quote.
    fn push(&mut self, c: char, decoded: &mut String) -> bool {
        match (self.escape, c) {
            (Escape::None, '\\') => self.escape = Escape::Begun,
            (Escape::None, '"') => {
                self.lone(decoded);
                return true;
            }
            (Escape::None, c) => {
                self.lone(decoded);
                decoded.push(c);
            }
            (Escape::Begun, 'u') => self.escape = Escape::Unicode { digits: 0, unit: 0 },
            (Escape::Begun, c) => {
                self.escape = Escape::None;
                self.lone(decoded);
                decoded.push(match c {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    c => c,
                });
            }
            (Escape::Unicode { digits, unit }, c) => {
                let digit = c
                    .to_digit(16)
                    .and_then(|digit| u16::try_from(digit).ok())
                    .unwrap_or(0);
                let unit = (unit << 4) | digit;
                if digits < 3 {
                    let digits = digits + 1;
                    self.escape = Escape::Unicode { digits, unit };
                } else {
                    self.escape = Escape::None;
                    self.unit(unit, decoded);
                }
            }
        }
        false
    }

    fn unit(&mut self, unit: u16, decoded: &mut String) {
        let is_low = (0xDC00..0xE000).contains(&unit);
        if !is_low {
            self.lone(decoded);
        }
        match self.high.take() {
            Some(high) => decoded.extend(
                char::decode_utf16([high, unit]).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)),
            ),
            None if (0xD800..0xDC00).contains(&unit) => self.high = Some(unit),
            None => {
                decoded.push(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }

    /// The first half of a pair that did not become one.
    fn lone(&mut self, decoded: &mut String) {
        if self.high.take().is_some() {
            decoded.push(char::REPLACEMENT_CHARACTER);
        }
    }
}
