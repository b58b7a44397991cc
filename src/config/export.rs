//! One export: its name, where its bytes live, and its options.

use std::str::FromStr;

use clap::ValueEnum;
use serde::Deserialize;

use super::{ExportUri, Invalid, Size, uri::disk_size};
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
    /// A sentence for people; may be empty.
    pub description: String,
    /// What only the object log knows; the defaults for other storage.
    pub object: ObjectOptions,
}

/// How a disk in the object log is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// What to do with a disk that its last gateway did not close.
    pub on_unclean: OnUnclean,
    /// Take the disk over from a gateway on another host that still holds it.
    pub steal: bool,
    /// What the store must promise.
    pub fencing: Fencing,
    /// Serve this snapshot of the disk, read-only.
    pub snapshot: Option<String>,
}

/// What to do with a disk that its last gateway did not close: acknowledged but unflushed writes may be lost, and a
/// client that reconnects by itself would not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnclean {
    /// Keep the export down until someone confirms.
    #[default]
    Refuse,
    /// Serve it: whoever starts the gateway restarts the guest too.
    Serve,
}

/// What the object store must promise about put-if-absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fencing {
    /// It honours the condition; a store that does not is refused.
    #[default]
    Require,
    /// It may ignore it: the operator takes care that no two gateways write one disk.
    Advisory,
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
    on_unclean: Option<OnUnclean>,
    steal: Option<bool>,
    fencing: Option<Fencing>,
    snapshot: Option<String>,
}

impl TryFrom<ExportSection> for ExportConfig {
    type Error = Invalid;

    fn try_from(section: ExportSection) -> Result<Self, Invalid> {
        if section.snapshot.is_some() && section.readonly == Some(false) {
            return Err(Invalid::new("snapshot and readonly=false together: a snapshot never changes"));
        }
        let read_only = section.readonly.unwrap_or(section.snapshot.is_some());
        let mut uri: ExportUri = section.uri.parse()?;
        match &mut uri {
            ExportUri::File { direct, create_size, .. } => {
                *direct = section.direct.unwrap_or(false);
                *create_size = section.size.map(disk_size).transpose()?;
                if read_only && create_size.is_some() {
                    return Err(Invalid::new(
                        "readonly and size together: an image that is created needs to be written",
                    ));
                }
            }
            ExportUri::Memory { .. } | ExportUri::Object(_) => {
                only_for("file:", "direct", section.direct.is_some())?;
                only_for("file:", "size", section.size.is_some())?;
            }
        }
        if !matches!(uri, ExportUri::Object(_)) {
            only_for("object stores", "on-unclean", section.on_unclean.is_some())?;
            only_for("object stores", "steal", section.steal.is_some())?;
            only_for("object stores", "fencing", section.fencing.is_some())?;
            only_for("object stores", "snapshot", section.snapshot.is_some())?;
        }
        let description = section.description.unwrap_or_default();
        if description.len() > MAX_DESCRIPTION_BYTES || description.contains('\0') {
            return Err(Invalid::new(format!("a description has at most {MAX_DESCRIPTION_BYTES} bytes and no NUL")));
        }
        Ok(Self {
            name: section.name.parse().map_err(|error: crate::export::InvalidName| Invalid::new(error.to_string()))?,
            uri,
            read_only,
            description,
            object: ObjectOptions {
                on_unclean: section.on_unclean.unwrap_or_default(),
                steal: section.steal.unwrap_or(false),
                fencing: section.fencing.unwrap_or_default(),
                snapshot: section.snapshot,
            },
        })
    }
}

fn only_for(storage: &str, option: &str, given: bool) -> Result<(), Invalid> {
    if given {
        return Err(Invalid::new(format!("option {option:?} is only for {storage}: leave it out")));
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
    /// Sets one option of the flag form.
    fn set(&mut self, option: &str) -> Result<(), Invalid> {
        let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
        match key {
            "readonly" => once(key, &mut self.readonly, switch(key, value)?),
            "direct" => once(key, &mut self.direct, switch(key, value)?),
            "steal" => once(key, &mut self.steal, switch(key, value)?),
            "description" => once(key, &mut self.description, needed(key, value)?.to_owned()),
            "size" => once(key, &mut self.size, needed(key, value)?.parse()?),
            "snapshot" => once(key, &mut self.snapshot, needed(key, value)?.to_owned()),
            "on-unclean" => once(key, &mut self.on_unclean, choice(key, value)?),
            "fencing" => once(key, &mut self.fencing, choice(key, value)?),
            _ => Err(Invalid::new(format!(
                "unknown option {key:?}: the options are readonly, description, direct, size, on-unclean, steal, \
                 fencing and snapshot; a comma that belongs to a name, path or value is doubled"
            ))),
        }
    }
}

fn once<T>(key: &str, slot: &mut Option<T>, value: T) -> Result<(), Invalid> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Invalid::new(format!("option {key:?} is given twice"))),
    }
}

fn needed<'a>(key: &str, value: Option<&'a str>) -> Result<&'a str, Invalid> {
    value.ok_or_else(|| Invalid::new(format!("option {key:?} needs a value: write {key}=...")))
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, Invalid> {
    match value {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(value) => Err(Invalid::new(format!("option {key:?} is true or false, not {value:?}"))),
    }
}

fn choice<T: ValueEnum>(key: &str, value: Option<&str>) -> Result<T, Invalid> {
    let value = needed(key, value)?;
    T::from_str(value, false).map_err(|_| {
        let names: Vec<_> = T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        let names: Vec<_> = names.iter().map(clap::builder::PossibleValue::get_name).collect();
        Invalid::new(format!("option {key:?} is {}, not {value:?}", names.join(" or ")))
    })
}

#[cfg(test)]
mod tests {
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
        let (on_unclean, fencing) = (OnUnclean::Serve, Fencing::Advisory);
        let object = ObjectOptions { on_unclean, steal: true, fencing, snapshot: None };
        assert_eq!(vm.object, object);
    }

    #[test]
    fn a_snapshot_is_served_read_only() {
        let vm = export("vm=s3://b/d,snapshot=monday");
        assert!(vm.read_only);
        assert_eq!(vm.object.snapshot.as_deref(), Some("monday"));
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
            ("vm=file:/x,snapshot=a", "only for object stores"),
            ("vm=s3://b/d,snapshot", "needs a value"),
            ("vm=s3://b/d,snapshot=a,readonly=false", "never changes"),
            ("vm=file:/x,size=x", "unknown unit"),
            ("vm=file:/x,size=0", "holds nothing"),
            ("vm=file:/x,size=1G,readonly", "needs to be written"),
            ("vm=s3://b/d,fencing=none", "require or advisory"),
            ("vm=s3://b/d,on-unclean=ask", "refuse or serve"),
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
        fn any_string_is_parsed_or_refused(text in ".*|[a-z,=]{0,5}=(mem:|file:|s3://b/)[a-z0-9,=]{0,30}") {
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
