//! Price lists: some that come with the program, and any in a file of the same form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The lists that come with the program.
const BUILT_IN: &str = include_str!("prices.toml");

/// What a store asks for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Prices {
    /// What is priced, in words: provider, class, region.
    pub of: String,
    /// The state of the list, as in 2026-01.
    pub as_of: String,
    /// For a gigabyte stored for a month.
    pub storage_gib_month: f64,
    /// For a million PUT or LIST requests.
    pub put_million: f64,
    /// For a million GET or HEAD requests.
    pub get_million: f64,
    /// For a million DELETE requests.
    #[serde(default)]
    pub delete_million: f64,
    /// For a gigabyte sent to the store.
    #[serde(default)]
    pub upload_gib: f64,
    /// For a gigabyte received from the store.
    #[serde(default)]
    pub download_gib: f64,
}

/// Prices by name.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PriceList(BTreeMap<String, Prices>);

impl PriceList {
    /// The lists that come with the program.
    pub fn built_in() -> Self {
        toml::from_str(BUILT_IN).expect("the built-in price list is tested")
    }

    /// A list in the form of the built-in one.
    ///
    /// # Errors
    /// It is not TOML of that form; the text says where.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The built-in list as text, to be edited.
    pub fn text() -> &'static str {
        BUILT_IN
    }

    /// The prices under `name`.
    pub fn get(&self, name: &str) -> Option<&Prices> {
        self.0.get(name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_list_names_the_four_providers_and_when() {
        let list = PriceList::built_in();
        for name in ["aws", "aws-express", "gcs", "azure", "r2"] {
            let prices = list.get(name).expect(name);
            assert!(prices.storage_gib_month > 0.0 && prices.as_of.len() == 7, "{name}");
        }
        assert_eq!(list.names().count(), 5);
    }

    #[test]
    fn a_list_with_an_unknown_price_is_refused() {
        let text = PriceList::text().replace("get-million", "got-million");
        assert!(PriceList::parse(&text).expect_err("unknown").to_string().contains("got-million"));
    }
}
