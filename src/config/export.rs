//! One export: its name, where its bytes live, and its options.

use std::{path::PathBuf, str::FromStr};

use clap::ValueEnum;
use serde::Deserialize;

use super::{
    Compression, ExportUri, Invalid, RocksDbDisk, Size, Span,
    object::{Fencing, Journal, KeySource, ObjectOptions, OnUnclean},
    rocksdb::is_snapshot_name,
    uri::disk_size,
};
use crate::export::ExportName;

/// Longest description in bytes, the NBD specification's limit for strings.
const MAX_DESCRIPTION_BYTES: usize = 4096;

/// An export to be opened and served.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ExportSection")]
pub struct ExportConfig {
    /// The name clients ask for; empty for the default export.
    pub name: ExportName,
    /// Where the bytes live.
    pub uri: ExportUri,
    /// Clients cannot write, and the storage is opened without the right to.
    pub read_only: bool,
    /// Serve this snapshot of the disk, of storage that has them.
    pub snapshot: Option<String>,
    /// A sentence for people; may be empty.
    pub description: String,
    /// What only the object log knows; the defaults for other storage.
    pub object: ObjectOptions,
}

/// An export as it is written, in a section of the file or in a flag. One list of keys for both.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ExportSection {
    name: String,
    uri: String,
    readonly: Option<bool>,
    description: Option<String>,
    direct: Option<bool>,
    size: Option<Size>,
    extent: Option<Size>,
    compression: Option<Compression>,
    on_unclean: Option<OnUnclean>,
    steal: Option<bool>,
    fencing: Option<Fencing>,
    snapshot: Option<String>,
    journal: Option<PathBuf>,
    journal_size: Option<Size>,
    abandon_journal: Option<bool>,
    rpo: Option<Span>,
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    key_command: Option<String>,
    upload_delay: Option<Span>,
    dirty_memory: Option<Size>,
    read_ahead: Option<Size>,
    scrub: Option<Span>,
}

impl TryFrom<ExportSection> for ExportConfig {
    type Error = Invalid;

    fn try_from(mut section: ExportSection) -> Result<Self, Invalid> {
        if section.snapshot.is_some() && section.readonly == Some(false) {
            return Err(Invalid::new("snapshot and readonly=false together: a snapshot never changes"));
        }
        let read_only = section.readonly.unwrap_or(section.snapshot.is_some());
        let mut uri: ExportUri = section.uri.parse()?;
        match &mut uri {
            ExportUri::File { direct, create_size, .. } => {
                *direct = section.direct.unwrap_or(false);
                *create_size = section.size.take().map(disk_size).transpose()?;
                if read_only && create_size.is_some() {
                    return Err(Invalid::new(
                        "readonly and size together: an image that is created needs to be written",
                    ));
                }
            }
            ExportUri::RocksDb { create, .. } => *create = section.rocksdb_disk(create.take(), read_only)?,
            ExportUri::Memory { .. } | ExportUri::Object(_) => {}
        }
        section.only_known_to(&uri)?;
        let object = section.object_options()?;
        let description = section.description.unwrap_or_default();
        if description.len() > MAX_DESCRIPTION_BYTES || description.contains('\0') {
            return Err(Invalid::new(format!("a description has at most {MAX_DESCRIPTION_BYTES} bytes and no NUL")));
        }
        Ok(Self {
            name: section.name.parse().map_err(|error: crate::export::InvalidName| Invalid::new(error.to_string()))?,
            uri,
            read_only,
            snapshot: section.snapshot,
            description,
            object,
        })
    }
}

fn only_for(storage: &str, option: &str, given: bool) -> Result<(), Invalid> {
    if given {
        return Err(Invalid::new(format!("option {option:?} is only for {storage}, leave it out")));
    }
    Ok(())
}

/// `NAME=URI[,option[=value]]...`. The first `=` ends the name. A comma ends the URI or a value; a doubled comma
/// stands for one comma, as in QEMU. A name that contains `=` can be given in the file only.
impl FromStr for ExportConfig {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut parts = split_at_commas(text).into_iter();
        let first = parts.next().unwrap_or_default();
        let Some((name, uri)) = first.split_once('=') else {
            return Err(Invalid::new(format!(
                "{first:?} has no name: write NAME=URI, or ={first} for the default export"
            )));
        };
        let mut section = ExportSection { name: name.to_owned(), uri: uri.to_owned(), ..ExportSection::default() };
        for option in parts {
            section.set(&option)?;
        }
        section.try_into()
    }
}

/// Splits at single commas; `,,` becomes `,`.
fn split_at_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else {
            parts.last_mut().expect("it starts with one part").push(c);
        }
    }
    parts
}

impl ExportSection {
    /// Refuses what the storage does not know, but for what it has taken.
    fn only_known_to(&self, uri: &ExportUri) -> Result<(), Invalid> {
        let is_object = matches!(uri, ExportUri::Object(_));
        let is_rocksdb = matches!(uri, ExportUri::RocksDb { .. });
        only_for("file:", "direct", self.direct.is_some() && !matches!(uri, ExportUri::File { .. }))?;
        only_for("file: and rocksdb:", "size", self.size.is_some())?;
        only_for("rocksdb:", "extent", self.extent.is_some())?;
        only_for("rocksdb:", "compression", self.compression.is_some())?;
        only_for("object stores and rocksdb:", "snapshot", self.snapshot.is_some() && !is_object && !is_rocksdb)?;
        if is_object { Ok(()) } else { self.without_object_options() }
    }

    /// The disk that is made if it is missing, by the options or by the query of the URI.
    fn rocksdb_disk(&mut self, query: Option<RocksDbDisk>, read_only: bool) -> Result<Option<RocksDbDisk>, Invalid> {
        let given = self.size.is_some() || self.extent.is_some() || self.compression.is_some();
        if query.is_some() && given {
            return Err(Invalid::new(
                "the options and the query of the URI both say how the disk is made: leave one of them out",
            ));
        }
        let options = RocksDbDisk::new(self.size.take(), self.extent.take(), self.compression.take())?;
        let disk = query.or(options);
        if let Some(name) = self.snapshot.as_deref().filter(|name| !is_snapshot_name(name)) {
            return Err(Invalid::new(format!(
                "{name:?} is not the name of a snapshot: it has up to 255 letters, digits, \".\", \"_\" and \"-\", and does \
                 not start with \".\""
            )));
        }
        if disk.is_some() && self.snapshot.is_some() {
            return Err(Invalid::new("snapshot and size together: a disk that is made has no snapshots"));
        }
        if disk.is_some() && read_only {
            return Err(Invalid::new("readonly and size together: a disk that is made needs to be written"));
        }
        Ok(disk)
    }

    /// Refuses what only the object log knows.
    fn without_object_options(&self) -> Result<(), Invalid> {
        for (option, given) in [
            ("on-unclean", self.on_unclean.is_some()),
            ("steal", self.steal.is_some()),
            ("fencing", self.fencing.is_some()),
            ("journal", self.journal.is_some()),
            ("journal-size", self.journal_size.is_some()),
            ("abandon-journal", self.abandon_journal.is_some()),
            ("rpo", self.rpo.is_some()),
            ("key-file", self.key_file.is_some()),
            ("passphrase-file", self.passphrase_file.is_some()),
            ("key-command", self.key_command.is_some()),
            ("upload-delay", self.upload_delay.is_some()),
            ("dirty-memory", self.dirty_memory.is_some()),
            ("read-ahead", self.read_ahead.is_some()),
            ("scrub", self.scrub.is_some()),
        ] {
            only_for("object stores", option, given)?;
        }
        Ok(())
    }

    fn object_options(&mut self) -> Result<ObjectOptions, Invalid> {
        Ok(ObjectOptions {
            on_unclean: self.on_unclean.unwrap_or_default(),
            steal: self.steal.unwrap_or(false),
            fencing: self.fencing.unwrap_or_default(),
            journal: Journal::new(self.journal.take(), self.journal_size)?,
            abandon_journal: self.abandon_journal.unwrap_or(false),
            rpo: self.rpo.map(Span::duration),
            key: KeySource::new(self.key_file.take(), self.passphrase_file.take(), self.key_command.take())?,
            upload_delay: self.upload_delay.map(Span::duration),
            dirty_memory: self.dirty_memory.map(Size::bytes),
            read_ahead: self.read_ahead.map(Size::bytes),
            scrub: self.scrub.map(Span::duration),
        })
    }

    /// Sets one option of the flag form.
    fn set(&mut self, option: &str) -> Result<(), Invalid> {
        let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
        match key {
            "readonly" => once(key, &mut self.readonly, switch(key, value)?),
            "direct" => once(key, &mut self.direct, switch(key, value)?),
            "steal" => once(key, &mut self.steal, switch(key, value)?),
            "description" => once(key, &mut self.description, needed(key, value)?.to_owned()),
            "size" => once(key, &mut self.size, needed(key, value)?.parse()?),
            "extent" => once(key, &mut self.extent, needed(key, value)?.parse()?),
            "compression" => once(key, &mut self.compression, choice(key, value)?),
            "on-unclean" => once(key, &mut self.on_unclean, choice(key, value)?),
            "fencing" => once(key, &mut self.fencing, choice(key, value)?),
            "snapshot" => once(key, &mut self.snapshot, needed(key, value)?.to_owned()),
            "journal" => once(key, &mut self.journal, needed(key, value)?.into()),
            "journal-size" => once(key, &mut self.journal_size, needed(key, value)?.parse()?),
            "abandon-journal" => once(key, &mut self.abandon_journal, switch(key, value)?),
            "rpo" => once(key, &mut self.rpo, needed(key, value)?.parse()?),
            "key-file" => once(key, &mut self.key_file, needed(key, value)?.into()),
            "passphrase-file" => once(key, &mut self.passphrase_file, needed(key, value)?.into()),
            "key-command" => once(key, &mut self.key_command, needed(key, value)?.to_owned()),
            "upload-delay" => once(key, &mut self.upload_delay, needed(key, value)?.parse()?),
            "dirty-memory" => once(key, &mut self.dirty_memory, needed(key, value)?.parse()?),
            "read-ahead" => once(key, &mut self.read_ahead, needed(key, value)?.parse()?),
            "scrub" => once(key, &mut self.scrub, needed(key, value)?.parse()?),
            _ => Err(Invalid::new(format!(
                "unknown option {key:?}: the options are readonly, description, direct, size and snapshot; for \
                 rocksdb: also extent and compression; for object stores also journal, journal-size, abandon-journal, rpo, key-file, passphrase-file, key-command, \
                 on-unclean, steal, fencing, upload-delay, dirty-memory, read-ahead and scrub; a comma that belongs to a name, path or value is doubled"
            ))),
        }
    }
}

pub(super) fn once<T>(key: &str, slot: &mut Option<T>, value: T) -> Result<(), Invalid> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Invalid::new(format!("option {key:?} is given twice"))),
    }
}

pub(super) fn needed<'a>(key: &str, value: Option<&'a str>) -> Result<&'a str, Invalid> {
    value.ok_or_else(|| Invalid::new(format!("option {key:?} needs a value: write {key}=...")))
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, Invalid> {
    match value {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(value) => Err(Invalid::new(format!("option {key:?} is true or false, not {value:?}"))),
    }
}

pub(super) fn choice<T: ValueEnum>(key: &str, value: Option<&str>) -> Result<T, Invalid> {
    let value = needed(key, value)?;
    T::from_str(value, false).map_err(|_| {
        let names: Vec<_> = T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        let names: Vec<_> = names.iter().map(clap::builder::PossibleValue::get_name).collect();
        Invalid::new(format!("option {key:?} is {}, not {value:?}", names.join(" or ")))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn export(text: &str) -> ExportConfig {
        text.parse().expect(text)
    }

    #[test]
    fn a_name_and_a_uri_are_enough() {
        let vm = export("vm1=mem:10G");
        assert_eq!(vm.name.as_str(), "vm1");
        assert_eq!(vm.uri, ExportUri::Memory { size: 10 << 30 });
        assert!(!vm.read_only && vm.description.is_empty());
        assert_eq!(vm.object, ObjectOptions::default());
        assert_eq!(export("=mem:1G").name.as_str(), "", "an empty name is the default export");
    }

    #[test]
    fn options_follow_the_uri() {
        let vm = export("vm=file:/d.img,direct,size=1G,description=root");
        let uri = ExportUri::File { path: "/d.img".into(), direct: true, create_size: Some(1 << 30) };
        assert_eq!((vm.uri, vm.description.as_str()), (uri, "root"));
    }

    #[test]
    fn object_options_are_typed() {
        let vm = export("vm=s3://b/d,readonly=true,on-unclean=serve,steal,fencing=advisory");
        assert!(vm.read_only);
        let object = ObjectOptions {
            on_unclean: OnUnclean::Serve,
            steal: true,
            fencing: Fencing::Advisory,
            ..ObjectOptions::default()
        };
        assert_eq!(vm.object, object);
        let vm = export("vm=s3://b/d,journal=/var/j,journal-size=1G,rpo=5s,key-file=/k,upload-delay=1s,read-ahead=0");
        let object = ObjectOptions {
            journal: Some(Journal { path: "/var/j".into(), size: 1 << 30 }),
            rpo: Some(Duration::from_secs(5)),
            key: Some(KeySource::File("/k".into())),
            upload_delay: Some(Duration::from_secs(1)),
            read_ahead: Some(0),
            ..ObjectOptions::default()
        };
        assert_eq!(vm.object, object);
    }

    #[test]
    fn a_snapshot_is_served_read_only() {
        let vm = export("vm=s3://b/d,snapshot=monday");
        assert!(vm.read_only);
        assert_eq!(vm.snapshot.as_deref(), Some("monday"));
        let vm = export("vm=rocksdb:/d,snapshot=monday");
        assert!(vm.read_only && vm.snapshot.is_some());
    }

    #[test]
    fn a_disk_in_rocksdb_is_made_by_query_or_by_options() {
        let disk = RocksDbDisk { size: 10 << 30, extent: Some(4096), compression: Some(Compression::Zstd) };
        let uri = ExportUri::RocksDb { path: "/d".into(), create: Some(disk) };
        assert_eq!(export("vm=rocksdb:/d?size=10G&extent=4K&compression=zstd").uri, uri);
        assert_eq!(export("vm=rocksdb:/d,size=10G,extent=4K,compression=zstd").uri, uri);
        assert_eq!(export("vm=rocksdb:/d,readonly").uri, ExportUri::RocksDb { path: "/d".into(), create: None });
    }

    #[test]
    fn a_doubled_comma_is_a_comma() {
        let vm = export("a,,b=file:/x,,y=z.img,description=one,, two=2");
        assert_eq!(vm.name.as_str(), "a,b");
        assert_eq!(vm.uri.to_string(), "file:/x,y=z.img");
        assert_eq!(vm.description, "one, two=2");
        assert!(export("a=file:/x,,,readonly").read_only, "three commas are a comma and a separator");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let long = format!("vm=mem:1G,description={}", "x".repeat(MAX_DESCRIPTION_BYTES + 1));
        let long_name = format!("{}=mem:1G", "x".repeat(4097));
        for (text, reason) in [
            ("", "has no name"),
            ("mem:1G", "=mem:1G for the default export"),
            ("vm=", "not a URI"),
            ("vm=mem:1G,", "unknown option"),
            ("vm=mem:1G,ro", "unknown option \"ro\""),
            ("vm=mem:1G,readonly,readonly", "given twice"),
            ("vm=mem:1G,readonly=yes", "true or false"),
            ("vm=mem:1G,description", "needs a value"),
            ("vm=mem:1G,direct", "only for file:"),
            ("vm=mem:1G,size=1G", "only for file:"),
            ("vm=mem:1G,steal", "only for object stores"),
            ("vm=file:/x,fencing=advisory", "only for object stores"),
            ("vm=file:/x,snapshot=a", "only for object stores and rocksdb:"),
            ("vm=file:/x,extent=4K", "only for rocksdb:"),
            ("vm=mem:1G,compression=lz4", "only for rocksdb:"),
            ("vm=rocksdb:/d,direct", "only for file:"),
            ("vm=rocksdb:/d,steal", "only for object stores"),
            ("vm=rocksdb:/d,extent=4K", "without a size"),
            ("vm=rocksdb:/d,size=1G,extent=3K", "extent 3K"),
            ("vm=rocksdb:/d,size=1G,compression=best", "none or lz4 or zstd"),
            ("vm=rocksdb:/d?size=1G,size=1G", "leave one of them out"),
            ("vm=rocksdb:/d?size=1G,extent=4K", "leave one of them out"),
            ("vm=rocksdb:/d?size=1G,readonly", "needs to be written"),
            ("vm=rocksdb:/d,size=1G,snapshot=a", "has no snapshots"),
            ("vm=rocksdb:/d,snapshot=a,readonly=false", "never changes"),
            ("vm=rocksdb:/d,snapshot=../../e/snapshots/a", "not the name of a snapshot"),
            ("vm=s3://b/d,snapshot", "needs a value"),
            ("vm=file:/x,size=x", "unknown unit"),
            ("vm=file:/x,size=0", "holds nothing"),
            ("vm=file:/x,size=1G,readonly", "needs to be written"),
            ("vm=s3://b/d,fencing=none", "require or advisory"),
            ("vm=s3://b/d,on-unclean=ask", "refuse or serve"),
            ("vm=s3://b/d,snapshot=a,readonly=false", "never changes"),
            ("vm=s3://b/d,journal-size=1G", "journal=PATH"),
            ("vm=s3://b/d,journal=/j,journal-size=4K", "at least"),
            ("vm=s3://b/d,key-file=/a,passphrase-file=/b", "one of"),
            ("vm=s3://b/d,key-command=", "needs a program"),
            ("vm=file:/x,journal=/j", "only for object stores"),
            ("v\0m=mem:1G", "NUL"),
            (long.as_str(), "description"),
            (long_name.as_str(), "4096"),
        ] {
            let error = text.parse::<ExportConfig>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_string_is_parsed_or_refused(text in ".*|[a-z,=]{0,5}=(mem:|file:|s3://b/|rocksdb:)[a-z0-9,=?&]{0,30}") {
            let _ = text.parse::<ExportConfig>();
        }

        #[test]
        fn doubling_commas_protects_any_text(name in "[^=\0]{0,20}", path in "[^\0]{1,30}", text in "[^\0]{0,30}") {
            prop_assume!(!path.starts_with("//"));
            let doubled = |text: &str| text.replace(',', ",,");
            let flag = format!("{}=file:{},description={}", doubled(&name), doubled(&path), doubled(&text));
            let export: ExportConfig = flag.parse().expect("every comma is doubled");
            prop_assert_eq!(export.name.as_str(), name);
            prop_assert_eq!(export.uri, ExportUri::File { path: path.into(), direct: false, create_size: None });
            prop_assert_eq!(export.description, text);
        }
    }
}
