//! Writing whole values.

use alloc::string::String;
use alloc::vec::Vec;

use super::path::too_deep;
use super::{DOCUMENT_DEPTH_MAX, Document, Leaf, PathError, Scalar, Segment, Value};
use crate::{Causal, Delta, DotStore as _, Edit, Mint, WriteError, Writer};

impl Causal<Document> {
    /// Makes a place hold `value` instead of all that is known there. An empty path means the whole document, which
    /// takes a map.
    ///
    /// One event for each scalar and each container, in order: a peer that gets them in parts may see some of them
    /// first. Concurrent edits below the place stay, as those below a place that is removed do. The delta has all of
    /// them.
    ///
    /// # Errors
    ///
    /// As [`Document::set`]; [`PathError::TooDeep`] also for a value that would reach too deep, and
    /// [`WriteError::ReservationExhausted`] if fewer dots are left than it takes, and [`WriteError::Outgrown`] if they have
    /// no room beside what stays there. Nothing changed.
    ///
    /// # Example
    ///
    /// ```
    /// use peaberry_crdt::document::{Document, Value};
    /// use peaberry_crdt::{Causal, Lattice, ReplicaId, Writer, path};
    ///
    /// let menu = Value::from_iter([("hot", Value::from_iter(["latte", "mocha"].map(Value::from)))]);
    /// let mut doc: Causal<Document> = Causal::bottom();
    /// let mut writer = Writer::new(ReplicaId::new(1).unwrap(), 0, 100);
    /// let delta = doc.assign(&mut writer, path!["menu"], &menu).unwrap();
    /// assert_eq!(doc.value().get(path!["menu"]).unwrap().to_value(), menu);
    ///
    /// let mut there: Causal<Document> = Causal::bottom();
    /// there.apply(&delta).unwrap();
    /// assert_eq!(there, doc);
    /// ```
    pub fn assign(
        &mut self,
        writer: &mut Writer,
        path: &[Segment<'_>],
        value: &Value,
    ) -> Result<Delta<Document>, WriteError> {
        let mut steps = Vec::new();
        if path.is_empty() {
            let Value::Map(entries) = value else {
                return Err(PathError::Empty.into());
            };
            steps.push(Step::Clear);
            entries_of(entries, &mut Vec::new(), &mut steps);
        } else {
            steps_of(
                value,
                &mut path.iter().copied().map(Into::into).collect(),
                true,
                &mut steps,
            );
        }
        let deepest = steps.iter().map(Step::depth).max().unwrap_or_default();
        if deepest > DOCUMENT_DEPTH_MAX {
            return Err(too_deep(deepest).into());
        }
        if writer.remaining() < steps.len() as u64 {
            return Err(WriteError::ReservationExhausted {
                replica: writer.replica(),
                reserved: self
                    .vector()
                    .get(writer.replica())
                    .saturating_add(writer.remaining()),
            });
        }
        self.require_room(writer, &steps)?;
        let before = self.vector().clone();
        for step in &steps {
            // Only the first can fail: what the others need was written here a moment ago.
            self.write(writer, |doc, mint| step.edit(doc, mint))?;
        }
        Ok(self.delta_since(&before))
    }

    /// Whether there is room for all steps. The first removes what is replaced.
    fn require_room(&self, writer: &Writer, steps: &[Step]) -> Result<(), WriteError> {
        let held = self.value().dot_count();
        let mut after = held.saturating_add(steps.len());
        if after > writer.bounds().dots_max
            && let Some(first) = steps.first()
        {
            let edit = first.edit(self.value(), writer.next(self.vector())?)?;
            let removed = edit.removed.iter().map(|dots| dots.len());
            let removed = removed.fold(0, u64::saturating_add);
            after = after.saturating_sub(usize::try_from(removed).unwrap_or(usize::MAX));
        }
        Ok(writer.bounds().check_dots(held, after)?)
    }
}

/// One event of an assignment.
enum Step {
    Clear,
    Set(Vec<Owned>, Leaf),
    Append(Vec<Owned>, usize, Leaf),
}

/// A segment that holds its key.
#[derive(Clone)]
enum Owned {
    Key(String),
    Index(usize),
}

impl From<Segment<'_>> for Owned {
    fn from(segment: Segment<'_>) -> Self {
        match segment {
            Segment::Key(key) => Self::Key(key.into()),
            Segment::Index(index) => Self::Index(index),
        }
    }
}

impl<'a> From<&'a Owned> for Segment<'a> {
    fn from(owned: &'a Owned) -> Self {
        match owned {
            Owned::Key(key) => Self::Key(key),
            Owned::Index(index) => Self::Index(*index),
        }
    }
}

impl Step {
    fn depth(&self) -> usize {
        match self {
            Self::Clear => 0,
            Self::Set(path, _) => path.len(),
            Self::Append(path, ..) => path.len() + 1,
        }
    }

    fn edit(&self, doc: &Document, mint: Mint) -> Result<Edit<Document>, WriteError> {
        match self {
            Self::Clear => Ok(doc.clear()),
            Self::Set(path, leaf) => {
                let path: Vec<_> = path.iter().map(Segment::from).collect();
                doc.set(mint, &path, leaf.clone())
            }
            Self::Append(path, index, leaf) => {
                let path: Vec<_> = path.iter().map(Segment::from).collect();
                doc.insert(mint, &path, *index, leaf.clone())
            }
        }
    }
}

fn leaf_of(value: &Value) -> Leaf {
    match value {
        Value::Null => Scalar::Null.into(),
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::String(text) => text.clone().into(),
        Value::Bytes(bytes) => bytes.clone().into(),
        Value::List(_) => Leaf::List,
        Value::Map(_) => Leaf::Map,
    }
}

/// The events of a value: its own, unless a list's insert has made it, then those of what is below.
fn steps_of(value: &Value, path: &mut Vec<Owned>, is_set: bool, steps: &mut Vec<Step>) {
    if is_set {
        steps.push(Step::Set(path.clone(), leaf_of(value)));
    }
    if path.len() > DOCUMENT_DEPTH_MAX {
        // Refused by the caller: no need to look further.
        return;
    }
    match value {
        Value::Map(entries) => entries_of(entries, path, steps),
        Value::List(elements) => {
            for (index, element) in elements.iter().enumerate() {
                steps.push(Step::Append(path.clone(), index, leaf_of(element)));
                path.push(Owned::Index(index));
                steps_of(element, path, false, steps);
                path.pop();
            }
        }
        _ => {}
    }
}

fn entries_of(
    entries: &alloc::collections::BTreeMap<String, Value>,
    path: &mut Vec<Owned>,
    steps: &mut Vec<Step>,
) {
    for (key, value) in entries {
        path.push(Owned::Key(key.clone()));
        steps_of(value, path, true, steps);
        path.pop();
    }
}
