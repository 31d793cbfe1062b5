//! Server-sent events: the `data` of each event, out of bytes that arrive in any pieces.

/// Bytes of one line, and of one event's data.
pub(crate) const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// A line or an event that is longer than `MAX_LINE_BYTES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {} MiB", MAX_LINE_BYTES / (1024 * 1024))]
pub(crate) struct TooLong;

/// Takes bytes and gives events. Understands LF and CRLF, `data:` with and without a space, data of several lines,
/// comments; other fields are skipped.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that were read.
    taken: usize,
    /// Bytes after `taken` that are known to hold no line break.
    searched: usize,
    data: Option<Vec<u8>>,
}

impl EventReader {
    /// Adds what arrived. Call `next` until it has nothing more.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next whole event.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        loop {
            let rest = &self.buffer[self.taken..];
            let Some(end) = rest[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = rest.len();
                return if rest.len() > MAX_LINE_BYTES {
                    Err(TooLong)
                } else {
                    Ok(None)
                };
            };
            let line = &rest[..self.searched + end];
            self.taken += line.len() + 1;
            self.searched = 0;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    return Ok(Some(data));
                }
            } else {
                read_line(line, &mut self.data)?;
            }
        }
    }

    /// What is left when the bytes have ended: servers forget the last blank line.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        let line = &self.buffer[self.taken..];
        read_line(line.strip_suffix(b"\r").unwrap_or(line), &mut self.data).ok()?;
        self.data
    }
}

fn read_line(line: &[u8], data: &mut Option<Vec<u8>>) -> Result<(), TooLong> {
    let Some(value) = line.strip_prefix(b"data:") else {
        return Ok(());
    };
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let length = value.len() + data.as_ref().map_or(0, Vec::len);
    if length > MAX_LINE_BYTES {
        return Err(TooLong);
    }
    match data {
        Some(data) => {
            data.push(b'\n');
            data.extend_from_slice(value);
        }
        None => *data = Some(value.to_vec()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut reader = EventReader::default();
        let mut events = Vec::new();
        for piece in pieces {
            reader.push(piece);
            while let Some(data) = reader.next().unwrap() {
                events.push(data);
            }
        }
        events.extend(reader.finish());
        events
            .into_iter()
            .map(|data| String::from_utf8(data).unwrap())
            .collect()
    }

    #[test]
    fn events_are_read_in_every_spelling() {
        let text = b": hello\r\ndata: one\r\n\r\nevent: x\ndata:two\nid: 7\n\ndata: a\ndata: b\n\n\n\ndata: last";
        assert_eq!(events(&[text]), ["one", "two", "a\nb", "last"]);
    }

    #[test]
    fn the_cuts_between_pieces_do_not_matter() {
        let text = "data: één\r\n\r\ndata: twee\n\n".as_bytes();
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(events(&bytes), ["één", "twee"]);
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let mut reader = EventReader::default();
        let piece = vec![b'x'; MAX_LINE_BYTES];
        reader.push(&piece);
        assert_eq!(reader.next(), Ok(None));
        reader.push(b"x");
        assert_eq!(reader.next(), Err(TooLong));
    }
}
