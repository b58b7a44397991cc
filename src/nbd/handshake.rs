//! Option haggling.
