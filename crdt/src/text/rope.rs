//! The characters, in chunks that are found by counting.
//!
//! Two levels: sections of chunks of up to a kilobyte, each with its size in every unit. An edit walks the sections,
//! then the chunks of one; the next edit is usually in the same chunk, which is remembered.
#![expect(
    clippy::indexing_slicing,
    reason = "indices come from the rope's own structure; a wrong one is a broken invariant"
)]

use alloc::string::String;
use alloc::vec::Vec;

const CHUNK_BYTES_MAX: usize = 1024;
/// A chunk below this is joined with its neighbour where both fit in one.
const CHUNK_BYTES_MIN: usize = 256;
const SECTION_CHUNKS_MAX: usize = 64;

/// A length in each unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) chars: usize,
    pub(super) bytes: usize,
    pub(super) utf16: usize,
}

impl Size {
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.len();
        if text.is_ascii() {
            return Self {
                chars: bytes,
                bytes,
                utf16: bytes,
            };
        }
        let chars = text.chars().count();
        let beyond = text.bytes().filter(|byte| *byte >= 0xf0).count();
        Self {
            chars,
            bytes,
            utf16: chars + beyond,
        }
    }

    const fn add(&mut self, other: Self) {
        self.chars += other.chars;
        self.bytes += other.bytes;
        self.utf16 += other.utf16;
    }

    const fn sub(&mut self, other: Self) {
        self.chars -= other.chars;
        self.bytes -= other.bytes;
        self.utf16 -= other.utf16;
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Rope {
    sections: Vec<Section>,
    size: Size,
    last: Place,
}

#[derive(Clone, Debug, Default)]
struct Section {
    chunks: Vec<Chunk>,
    size: Size,
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    text: String,
    size: Size,
}

/// A chunk, and how many characters lie before it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    section: usize,
    chunk: usize,
    before: usize,
}

impl Rope {
    pub(super) const fn size(&self) -> Size {
        self.size
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = &str> {
        let chunks = self.sections.iter().flat_map(|section| &section.chunks);
        chunks.map(|chunk| chunk.text.as_str())
    }

    /// Inserts in front of character `at`, which is at most the length.
    pub(super) fn insert(&mut self, at: usize, text: &str) {
        if self.sections.is_empty() {
            self.sections.push(Section {
                chunks: Vec::from([Chunk::default()]),
                size: Size::default(),
            });
        }
        let place = self.find(at);
        let section = &mut self.sections[place.section];
        let chunk = &mut section.chunks[place.chunk];
        let byte = chunk.byte_of(at - place.before);
        let size = Size::of(text);
        if chunk.text.len() + text.len() <= CHUNK_BYTES_MAX {
            chunk.text.insert_str(byte, text);
            chunk.size.add(size);
            section.size.add(size);
            self.last = place;
        } else {
            self.insert_chunks(place, byte, text);
            self.last = Place::default();
        }
        self.size.add(size);
    }

    /// Splits the chunk at a byte, and puts the text and its latter part behind it.
    fn insert_chunks(&mut self, place: Place, byte: usize, text: &str) {
        let section = &mut self.sections[place.section];
        let chunk = &mut section.chunks[place.chunk];
        let mut rest = String::from(text);
        rest.push_str(&chunk.text[byte..]);
        chunk.text.truncate(byte);
        let room = (CHUNK_BYTES_MAX / 2).saturating_sub(byte);
        let (head, mut rest) = rest.split_at(boundary_below(&rest, room));
        chunk.text.push_str(head);
        *chunk = Chunk::of(&chunk.text);
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(boundary_below(rest, CHUNK_BYTES_MAX / 2));
            chunks.push(Chunk::of(head));
            rest = tail;
        }
        section.chunks.splice(place.chunk + 1..=place.chunk, chunks);
        let chunks = core::mem::take(&mut section.chunks);
        let pieces = chunks.len().div_ceil(SECTION_CHUNKS_MAX);
        let length = chunks.len().div_ceil(pieces);
        let mut chunks = chunks.into_iter();
        let sections: Vec<Section> = (0..pieces)
            .map(|_| Section::of(chunks.by_ref().take(length).collect()))
            .collect();
        self.sections
            .splice(place.section..=place.section, sections);
    }

    /// Removes `count` characters from `at` on; there are so many.
    pub(super) fn remove(&mut self, at: usize, mut count: usize) {
        while count > 0 {
            let place = self.find(at + 1);
            let section = &mut self.sections[place.section];
            let chunk = &mut section.chunks[place.chunk];
            let within = at - place.before;
            let taken = count.min(chunk.size.chars - within);
            let (start, end) = (chunk.byte_of(within), chunk.byte_of(within + taken));
            let size = Size::of(&chunk.text[start..end]);
            chunk.text.replace_range(start..end, "");
            chunk.size.sub(size);
            section.size.sub(size);
            self.size.sub(size);
            self.last = place;
            if chunk.text.len() < CHUNK_BYTES_MIN {
                self.join_neighbour(place);
            }
            count -= taken;
        }
    }

    fn join_neighbour(&mut self, place: Place) {
        let section = &mut self.sections[place.section];
        let joined = section.chunks.get(place.chunk + 1).is_some_and(|next| {
            section.chunks[place.chunk].text.len() + next.text.len() <= CHUNK_BYTES_MAX / 2
        });
        if joined {
            let next = section.chunks.remove(place.chunk + 1);
            let chunk = &mut section.chunks[place.chunk];
            chunk.text.push_str(&next.text);
            chunk.size.add(next.size);
        } else if section.chunks[place.chunk].text.is_empty() {
            section.chunks.remove(place.chunk);
            if section.chunks.is_empty() {
                self.sections.remove(place.section);
            }
            self.last = Place::default();
        }
    }

    /// The chunk with character `at - 1`, or the first.
    fn find(&self, at: usize) -> Place {
        let Place {
            section,
            chunk,
            before,
        } = self.last;
        if at > before
            && let Some(held) = self
                .sections
                .get(section)
                .and_then(|held| held.chunks.get(chunk))
            && at <= before + held.size.chars
        {
            return self.last;
        }
        let mut before = 0;
        let mut section = 0;
        while section + 1 < self.sections.len() && before + self.sections[section].size.chars < at {
            before += self.sections[section].size.chars;
            section += 1;
        }
        let chunks = &self.sections[section].chunks;
        let mut chunk = 0;
        while chunk + 1 < chunks.len() && before + chunks[chunk].size.chars < at {
            before += chunks[chunk].size.chars;
            chunk += 1;
        }
        Place {
            section,
            chunk,
            before,
        }
    }

    /// How long the text in front of a place is in every unit; `None` if there is no such place, or it lies within a
    /// character. `unit` picks the unit in which `at` counts.
    pub(super) fn size_before(&self, at: usize, unit: impl Fn(Size) -> usize) -> Option<Size> {
        if at > unit(self.size) {
            return None;
        }
        let mut before = Size::default();
        let mut section = self.sections.iter();
        let section = section.find(|section| reaches(&mut before, section.size, at, &unit));
        let mut chunks = section.map_or(&[][..], |section| &section.chunks).iter();
        let chunk = chunks.find(|chunk| reaches(&mut before, chunk.size, at, &unit));
        for character in chunk.map_or("", |chunk| &chunk.text).chars() {
            if unit(before) >= at {
                break;
            }
            before.add(Size {
                chars: 1,
                bytes: character.len_utf8(),
                utf16: character.len_utf16(),
            });
        }
        (unit(before) == at).then_some(before)
    }
}

/// Whether a part reaches beyond `at`; if not, it is passed.
fn reaches(before: &mut Size, part: Size, at: usize, unit: impl Fn(Size) -> usize) -> bool {
    if unit(*before) + unit(part) > at {
        return true;
    }
    before.add(part);
    false
}

impl Section {
    fn of(chunks: Vec<Chunk>) -> Self {
        let mut size = Size::default();
        chunks.iter().for_each(|chunk| size.add(chunk.size));
        Self { chunks, size }
    }
}

impl Chunk {
    fn of(text: &str) -> Self {
        let mut held = String::with_capacity(CHUNK_BYTES_MAX);
        held.push_str(text);
        Self {
            size: Size::of(text),
            text: held,
        }
    }

    fn byte_of(&self, char_index: usize) -> usize {
        if self.size.chars == self.size.bytes {
            return char_index;
        }
        byte_of(&self.text, char_index)
    }
}

/// The byte at which a character starts, or the length.
pub(super) fn byte_of(text: &str, char_index: usize) -> usize {
    let mut starts = text.char_indices();
    starts.nth(char_index).map_or(text.len(), |start| start.0)
}

fn boundary_below(text: &str, mut at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::{Rope, byte_of};
    use crate::random::Random;

    fn small(random: &mut Random, bound: usize) -> usize {
        usize::try_from(random.next() % (bound as u64)).unwrap()
    }

    /// A rope is what a plain string is, in every unit.
    #[test]
    fn random_edits_do_what_they_do_to_a_string() {
        let mut random = Random::new(5);
        let (mut rope, mut plain) = (Rope::default(), String::new());
        for round in 0..4000 {
            let length = plain.chars().count();
            let at = small(&mut random, length + 1);
            if random.next() % 5 < 3 {
                let piece = ["a", "é", "🌱x", "some words, ", "\n"][small(&mut random, 5)];
                let piece =
                    piece.repeat(1 + small(&mut random, if round % 100 == 0 { 900 } else { 3 }));
                plain.insert_str(byte_of(&plain, at), &piece);
                rope.insert(at, &piece);
            } else {
                let bound = if round % 50 == 0 { 9000 } else { 8 };
                let count = small(&mut random, bound).min(length - at);
                let bytes = byte_of(&plain, at)..byte_of(&plain, at + count);
                plain.replace_range(bytes, "");
                rope.remove(at, count);
            }
            if round % 16 == 0 {
                assert_eq!(rope.chunks().collect::<String>(), plain);
                assert_eq!(rope.size().bytes, plain.len());
                let at = small(&mut random, plain.chars().count() + 1);
                let head: String = plain.chars().take(at).collect();
                let size = rope.size_before(at, |size| size.chars).unwrap();
                assert_eq!(
                    (size.bytes, size.utf16),
                    (head.len(), head.encode_utf16().count())
                );
                assert_eq!(rope.size_before(size.bytes, |size| size.bytes), Some(size));
                assert_eq!(rope.size_before(size.utf16, |size| size.utf16), Some(size));
            }
        }
        assert_eq!(
            rope.size_before(rope.size().chars + 1, |size| size.chars),
            None
        );
    }
}
