//! Lines of bounded length.

use std::io::{self, BufRead};

/// The longest line that is read, in bytes without its end. A real one has fewer than 100.
pub const LINE_BYTES_MAX: usize = 1024;

/// What stands on one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Its bytes, without the line's end.
    Text(&'a [u8]),
    /// More than [`LINE_BYTES_MAX`], skipped without keeping it.
    TooLong {
        /// Its length.
        bytes: u64,
    },
}

/// Reads a source line by line and never holds more than one.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) const fn new(source: R) -> Self {
        Self {
            source,
            line: Vec::new(),
            number: 0,
        }
    }

    /// The next line with its number, from 1 upwards; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.line.clear();
        let mut bytes = 0_u64;
        loop {
            let chunk = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() && bytes == 0 {
                return Ok(None);
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            // One byte more than fits, for the carriage return of a longest line.
            let room = LINE_BYTES_MAX + 1 - self.line.len();
            self.line.extend(part.iter().take(room));
            let at_end = end.is_some() || chunk.is_empty();
            let taken = part.len() + usize::from(end.is_some());
            bytes += taken as u64;
            self.source.consume(taken);
            if at_end {
                self.number += 1;
                return Ok(Some((self.number, self.finish(bytes))));
            }
        }
    }

    fn finish(&self, bytes: u64) -> Line<'_> {
        let text = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        // What did not fit was counted and not kept.
        if text.len() > LINE_BYTES_MAX || bytes > LINE_BYTES_MAX as u64 + 2 {
            return Line::TooLong { bytes };
        }
        Line::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(text: &[u8], buffer_bytes: usize) -> Vec<(u64, Result<Vec<u8>, u64>)> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer_bytes, text));
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            all.push((
                number,
                match line {
                    Line::Text(text) => Ok(text.to_vec()),
                    Line::TooLong { bytes } => Err(bytes),
                },
            ));
        }
        all
    }

    #[test]
    fn line_ends_of_both_kinds_and_a_missing_last_one_are_the_same() {
        for buffer_bytes in [1, 2, 3, 64] {
            let read = lines(b"one\r\ntwo\n\nfour", buffer_bytes);
            let expected: [&[u8]; 4] = [b"one", b"two", b"", b"four"];
            let read: Vec<_> = read.into_iter().map(|(_, line)| line.unwrap()).collect();
            assert_eq!(read, expected, "with a buffer of {buffer_bytes}");
        }
    }

    #[test]
    fn a_longest_line_is_read_and_a_longer_one_is_counted_and_skipped() {
        let longest = vec![b'a'; LINE_BYTES_MAX];
        let longer = vec![b'b'; LINE_BYTES_MAX + 1];
        let huge = vec![b'c'; 100 * LINE_BYTES_MAX];
        for end in [b"\n".as_slice(), b"\r\n"] {
            let text = [&longest, end, &longer, end, &huge, end, b"last"].concat();
            for buffer_bytes in [1, 1000, 1 << 20] {
                let read = lines(&text, buffer_bytes);
                assert_eq!(read[0], (1, Ok(longest.clone())));
                assert_eq!(read[1], (2, Err((longer.len() + end.len()) as u64)));
                assert_eq!(read[2], (3, Err((huge.len() + end.len()) as u64)));
                assert_eq!(read[3], (4, Ok(b"last".to_vec())));
            }
        }
    }

    #[test]
    fn a_line_is_never_held_whole_when_it_is_too_long() {
        let endless = std::io::Read::take(std::io::repeat(b'x'), 50 << 20);
        let mut lines = Lines::new(BufReader::new(endless));
        assert_eq!(
            lines.next().unwrap(),
            Some((1, Line::TooLong { bytes: 50 << 20 }))
        );
        assert!(lines.line.capacity() < 4 * LINE_BYTES_MAX);
    }
}
