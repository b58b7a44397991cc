//! The conformance suite: what every backend, and every layer over one, must pass.
//!
//! A backend's tests build a [`Harness`] that says how to open an empty disk, and call [`run`]. Each [`Case`] opens
//! its own disks and names the duty of [`backend`](crate::backend) that it checks; a [`Failure`] names the duty that
//! was broken, which may be another one, and the seed that shows it again (set `NBDGATE_SEED`, or
//! [`Harness::with_seed`]). The suite keeps the caller's duties C1 to C5, so it asks for nothing that the backend's
//! capabilities deny, and skips what it then cannot check.
//!
//! Nothing waits for ever: a request that does not end, and a call that does not return, are failures after
//! [`Harness::with_patience`].
//!
//! Not checked, because it needs the backend's own means: B9 (integrity), and that B1 holds against a slow device.
//! B5 is checked where the harness can crash, B10's durability where it can open a disk again, and B6 where it says
//! that failures are to be expected.

mod answer;
mod cases;
mod disk;
mod generator;
mod harness;
mod model;
mod probe;

use std::{fmt, panic, sync::Arc, sync::mpsc, thread};

pub use self::{
    cases::CASES,
    harness::{Context, Harness},
};

/// Whole cases may take this many times the patience for one request.
const CASE_PATIENCES: u32 = 4;

/// What a case checks; the duties are those of [`backend`](crate::backend).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the duties are documented where they are numbered")]
pub enum Duty {
    /// The rules of [`Info`](crate::Info).
    Info,
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    B8,
    B10,
    B11,
}

/// A broken duty.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub duty: Duty,
    /// What was seen.
    pub text: String,
}

impl Failure {
    pub(crate) fn new(duty: Duty, text: impl Into<String>) -> Self {
        Self { duty, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.duty, self.text)
    }
}

/// One check, on disks of its own.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// A claim, in snake case.
    pub name: &'static str,
    /// The duty it is there for.
    pub duty: Duty,
    /// The check itself.
    pub check: fn(&Context) -> Result<(), Failure>,
}

impl Case {
    /// The case of this name. Panics if there is none.
    pub fn named(name: &str) -> Self {
        *CASES.iter().find(|case| case.name == name).expect("a case of the suite")
    }

    /// Runs the case on a thread of its own, so that a call that never returns is a failure too.
    ///
    /// # Errors
    /// The first broken duty.
    pub fn run(self, harness: &Arc<Harness>) -> Result<(), Failure> {
        let context = Context::new(harness.clone(), self.name);
        let (verdict, verdicts) = mpsc::channel();
        let work = move || {
            let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| (self.check)(&context)));
            let outcome = outcome.unwrap_or_else(|cause| Err(panicked(self.duty, cause.as_ref())));
            // Nobody listens when the case took too long.
            let _ = verdict.send(outcome);
        };
        thread::Builder::new().name(self.name.into()).spawn(work).expect("a thread for a case");
        let limit = harness.patience() * CASE_PATIENCES;
        verdicts.recv_timeout(limit).unwrap_or_else(|_| {
            Err(Failure::new(Duty::B1, format!("a submit or a close did not return: the case ran for {limit:?}")))
        })
    }
}

/// Runs every case and panics with all failures, if there are any.
pub fn run(harness: Harness) {
    let seed = harness.seed();
    let failures = check(harness);
    let list: Vec<String> = failures.iter().map(|(case, failure)| format!("  {}: {failure}", case.name)).collect();
    assert!(list.is_empty(), "{} of {} cases failed (seed {seed})\n{}", list.len(), CASES.len(), list.join("\n"));
}

/// Runs every case and returns the failures.
pub fn check(harness: Harness) -> Vec<(Case, Failure)> {
    println!("conformance seed {}", harness.seed());
    let harness = Arc::new(harness);
    CASES.iter().filter_map(|case| case.run(&harness).err().map(|failure| (*case, failure))).collect()
}

fn panicked(duty: Duty, cause: &(dyn std::any::Any + Send)) -> Failure {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no text");
    Failure::new(duty, format!("panicked: {text}"))
}
