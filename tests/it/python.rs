//! Checks written with libnbd's Python bindings, in `tests/it/libnbd`.

use std::path::Path;

use crate::process::{Argument, run};

/// Debian's bindings are for the system's own Python.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Runs the named check; it fails with a traceback.
#[track_caller]
pub(crate) fn check(name: &str, arguments: &[Argument<'_>]) -> String {
    run_script(&Path::new("libnbd").join(name), arguments)
}

/// Runs a script of `tests/it`.
#[track_caller]
pub(crate) fn run_script(script: &Path, arguments: &[Argument<'_>]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(script);
    let flags: [Argument<'_>; 2] = [&"-B", &script];
    run(PYTHON, &[&flags[..], arguments].concat()).ok()
}
