//! The suite that every backend runs; see its author's notes in the functions.
