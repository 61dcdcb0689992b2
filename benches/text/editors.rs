//! One interface to ours and to each peer, doing the same work.

use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, ChangeHash, ObjId, ObjType, ReadDoc as _};
use diamond_types::list::ListCRDT;
use diamond_types::list::encoding::{ENCODE_FULL, ENCODE_PATCH};
use diamond_types::{AgentId, LocalVersion};
use loro::{ExportMode, LoroDoc, LoroText};
use peaberry_crdt::wire::{Budget, Message as _, compress, decompress};
use peaberry_crdt::{Lattice as _, ReplicaId, Text, TextDelta, VersionVector, Writer};
use yrs::updates::decoder::Decode as _;
use yrs::{
    Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, TextRef,
    Transact as _, Update,
};

use crate::trace::Patch;

const KEY: &str = "text";

/// A text that is edited, told and heard.
pub(crate) trait Editor {
    const NAME: &'static str;
    /// What it knew at some time.
    type Version;

    fn new() -> Self;
    /// Removes, then inserts, as one edit by its only writer.
    fn edit(&mut self, patch: &Patch);
    fn version(&mut self) -> Self::Version;
    /// What was edited since, as bytes.
    fn since(&mut self, version: &Self::Version) -> Vec<u8>;
    /// Joins what another told.
    fn receive(&mut self, bytes: &[u8]);
    /// All of it, as it is kept in a file.
    fn save(&mut self) -> Vec<u8>;
    /// From the file to a text that can be read and edited.
    fn load(bytes: &[u8]) -> Self;
    fn text(&self) -> String;
}

pub(crate) struct Ours {
    pub(crate) text: Text,
    writer: Writer,
}

/// Without the container: what `load` is timed with beside the file's.
pub(crate) struct OursPlain(Ours);

impl Ours {
    fn of(text: Text) -> Self {
        let id = ReplicaId::new(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834).expect("not zero");
        let minted = text.vector().get(id);
        Self {
            text,
            writer: Writer::new(id, minted, u64::MAX),
        }
    }
}

impl Editor for Ours {
    const NAME: &'static str = "peaberry";
    type Version = VersionVector;

    fn new() -> Self {
        Self::of(Text::bottom())
    }

    fn edit(&mut self, (at, removed, inserted): &Patch) {
        let (text, writer) = (&mut self.text, &mut self.writer);
        text.delete(writer, *at..at + removed)
            .expect("the place is there");
        text.insert(writer, *at, inserted)
            .expect("the place is there");
    }

    fn version(&mut self) -> VersionVector {
        self.text.vector().clone()
    }

    fn since(&mut self, version: &VersionVector) -> Vec<u8> {
        self.text.delta_since(version).to_bytes()
    }

    fn receive(&mut self, bytes: &[u8]) {
        let delta = TextDelta::from_bytes(bytes, Budget::default()).expect("it was written");
        self.text.apply(&delta).expect("it follows");
    }

    fn save(&mut self) -> Vec<u8> {
        compress(&self.text.to_bytes())
    }

    fn load(bytes: &[u8]) -> Self {
        let message = decompress(bytes, Budget::default()).expect("it was written");
        Self::of(Text::from_bytes(&message, Budget::default()).expect("it was written"))
    }

    fn text(&self) -> String {
        self.text.to_string()
    }
}

impl Editor for OursPlain {
    const NAME: &'static str = "peaberry";
    type Version = VersionVector;

    fn new() -> Self {
        Self(Ours::new())
    }

    fn edit(&mut self, patch: &Patch) {
        self.0.edit(patch);
    }

    fn version(&mut self) -> VersionVector {
        self.0.version()
    }

    fn since(&mut self, version: &VersionVector) -> Vec<u8> {
        self.0.since(version)
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.0.receive(bytes);
    }

    fn save(&mut self) -> Vec<u8> {
        self.0.text.to_bytes()
    }

    fn load(bytes: &[u8]) -> Self {
        let text = Text::from_bytes(bytes, Budget::default()).expect("it was written");
        Self(Ours::of(text))
    }

    fn text(&self) -> String {
        self.0.text()
    }
}

pub(crate) struct Diamond {
    pub(crate) list: ListCRDT,
    agent: AgentId,
}

impl Diamond {
    pub(crate) fn of(mut list: ListCRDT) -> Self {
        let agent = list.get_or_create_agent_id("one");
        Self { list, agent }
    }
}

impl Editor for Diamond {
    const NAME: &'static str = "diamond-types";
    type Version = LocalVersion;

    fn new() -> Self {
        Self::of(ListCRDT::new())
    }

    fn edit(&mut self, (at, removed, inserted): &Patch) {
        if *removed > 0 {
            self.list
                .delete_without_content(self.agent, *at..at + removed);
        }
        if !inserted.is_empty() {
            self.list.insert(self.agent, *at, inserted);
        }
    }

    fn version(&mut self) -> LocalVersion {
        self.list.oplog.local_version()
    }

    fn since(&mut self, version: &LocalVersion) -> Vec<u8> {
        self.list.oplog.encode_from(ENCODE_PATCH, version)
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.list.merge_data_and_ff(bytes).expect("it was written");
    }

    fn save(&mut self) -> Vec<u8> {
        self.list.oplog.encode(ENCODE_FULL)
    }

    fn load(bytes: &[u8]) -> Self {
        Self::of(ListCRDT::load_from(bytes).expect("it was written"))
    }

    fn text(&self) -> String {
        self.list.branch.content().to_string()
    }
}

pub(crate) struct Loro {
    doc: LoroDoc,
    text: LoroText,
}

impl Editor for Loro {
    const NAME: &'static str = "loro";
    type Version = loro::VersionVector;

    fn new() -> Self {
        let doc = LoroDoc::new();
        let text = doc.get_text(KEY);
        Self { doc, text }
    }

    fn edit(&mut self, (at, removed, inserted): &Patch) {
        if *removed > 0 {
            self.text.delete(*at, *removed).expect("the place is there");
        }
        if !inserted.is_empty() {
            self.text.insert(*at, inserted).expect("the place is there");
        }
    }

    fn version(&mut self) -> loro::VersionVector {
        self.doc.commit();
        self.doc.oplog_vv()
    }

    fn since(&mut self, version: &loro::VersionVector) -> Vec<u8> {
        self.doc.commit();
        let told = self.doc.export(ExportMode::updates(version));
        told.expect("it can be written")
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.doc.import(bytes).expect("it was written");
    }

    fn save(&mut self) -> Vec<u8> {
        self.doc.commit();
        self.doc
            .export(ExportMode::Snapshot)
            .expect("it can be written")
    }

    fn load(bytes: &[u8]) -> Self {
        let loaded = Self::new();
        loaded.doc.import(bytes).expect("it was written");
        loaded
    }

    fn text(&self) -> String {
        self.text.to_string()
    }
}

pub(crate) struct Automerge {
    doc: AutoCommit,
    text: Option<ObjId>,
}

impl Automerge {
    fn of(doc: AutoCommit) -> Self {
        let text = doc.get(automerge::ROOT, KEY).ok().flatten();
        let text = text.map(|(_, id)| id);
        Self { doc, text }
    }
}

impl Editor for Automerge {
    const NAME: &'static str = "automerge";
    type Version = Vec<ChangeHash>;

    fn new() -> Self {
        Self {
            doc: AutoCommit::new(),
            text: None,
        }
    }

    fn edit(&mut self, (at, removed, inserted): &Patch) {
        let text = match self.text.take() {
            Some(text) => text,
            None => self
                .doc
                .put_object(automerge::ROOT, KEY, ObjType::Text)
                .expect("a document has a root"),
        };
        let removed = isize::try_from(*removed).expect("a few");
        self.doc
            .splice_text(&text, *at, removed, inserted)
            .expect("the place is there");
        self.text = Some(text);
    }

    fn version(&mut self) -> Vec<ChangeHash> {
        self.doc.get_heads()
    }

    fn since(&mut self, version: &Vec<ChangeHash>) -> Vec<u8> {
        self.doc.save_after(version)
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.doc.load_incremental(bytes).expect("it was written");
        if self.text.is_none() {
            let text = self.doc.get(automerge::ROOT, KEY).ok().flatten();
            self.text = text.map(|(_, id)| id);
        }
    }

    fn save(&mut self) -> Vec<u8> {
        self.doc.save()
    }

    fn load(bytes: &[u8]) -> Self {
        Self::of(AutoCommit::load(bytes).expect("it was written"))
    }

    fn text(&self) -> String {
        let text = self.text.as_ref().map(|id| self.doc.text(id));
        text.and_then(Result::ok).unwrap_or_default()
    }
}

pub(crate) struct Yrs {
    doc: Doc,
    text: TextRef,
}

impl Editor for Yrs {
    const NAME: &'static str = "yrs";
    type Version = StateVector;

    fn new() -> Self {
        let doc = Doc::with_options(Options {
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let text = doc.get_or_insert_text(KEY);
        Self { doc, text }
    }

    fn edit(&mut self, (at, removed, inserted): &Patch) {
        let place = |at: usize| u32::try_from(at).expect("texts are short");
        let mut transaction = self.doc.transact_mut();
        if *removed > 0 {
            self.text
                .remove_range(&mut transaction, place(*at), place(*removed));
        }
        if !inserted.is_empty() {
            self.text.insert(&mut transaction, place(*at), inserted);
        }
    }

    fn version(&mut self) -> StateVector {
        self.doc.transact().state_vector()
    }

    fn since(&mut self, version: &StateVector) -> Vec<u8> {
        self.doc.transact().encode_diff_v1(version)
    }

    fn receive(&mut self, bytes: &[u8]) {
        let update = Update::decode_v1(bytes).expect("it was written");
        let applied = self.doc.transact_mut().apply_update(update);
        applied.expect("it follows");
    }

    fn save(&mut self) -> Vec<u8> {
        let transaction = self.doc.transact();
        transaction.encode_state_as_update_v2(&StateVector::default())
    }

    fn load(bytes: &[u8]) -> Self {
        let loaded = Self::new();
        let update = Update::decode_v2(bytes).expect("it was written");
        let applied = loaded.doc.transact_mut().apply_update(update);
        applied.expect("it follows");
        loaded
    }

    fn text(&self) -> String {
        self.text.get_string(&self.doc.transact())
    }
}
