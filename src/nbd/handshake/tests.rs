//! Haggling with raw bytes over an in-memory stream.

mod client;
mod contexts;
mod entering;
mod hostile;
mod options;
mod tls;

use std::{io, sync::Arc};

use nbdgate_api::{Backend, BlockSizes, Capabilities, Error, Home, Info, Io};

use self::client::{Reply, Script, Talk};
use super::*;
use crate::{
    export::Export,
    nbd::proto::{MetaContext, MetaContexts, ReplyStyle, constants::*},
    scheduler::permits::Budget,
};

const FIXED: u32 = NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES;

/// A backend that is only looked at.
struct Shell(Info);

impl Backend for Shell {
    fn info(&self) -> &Info {
        &self.0
    }

    fn submit(&self, io: Io) {
        panic!("the handshake submitted {:?}", io.op);
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn info() -> Info {
    Info {
        size: 10 << 20,
        block: BlockSizes { minimum: 512, preferred: 4096, maximum_payload: 1 << 20 },
        read_only: false,
        rotational: false,
        capabilities: Capabilities::ALL,
        read_piece: 1 << 20,
        home: Home::Spread,
    }
}

fn export(name: &str, description: &str, info: Info) -> Arc<Export> {
    Arc::new(Export::new(
        name.parse().unwrap(),
        description.into(),
        Arc::new(Shell(info)),
        false,
        Budget::new(u32::MAX),
    ))
}

/// "": everything. "bare": can nothing. "disk": read-only, described.
fn registry() -> Registry {
    let bare = Info { capabilities: Capabilities::NONE, rotational: true, ..info() };
    let disk = Info { read_only: true, ..info() };
    let mut registry = Registry::default();
    for export in [export("", "", info()), export("bare", "", bare), export("disk", "a disk", disk)] {
        registry.add(export).unwrap();
    }
    registry
}

/// Sends a whole script at once and haggles with it.
fn talk(script: Script) -> Talk {
    talk_under(script, TlsPolicy::Off, false)
}

fn talk_under(script: Script, tls: TlsPolicy, stopping: bool) -> Talk {
    let exports = registry();
    let stopping = AtomicBool::new(stopping);
    client::run(script, async |stream| haggle(stream, Terms { exports: &exports, tls, stopping: &stopping }).await)
}

fn entered(talk: Talk) -> Haggled {
    match talk.outcome {
        Outcome::Transmission(haggled) => haggled,
        other => panic!("no transmission phase but {other:?}"),
    }
}

fn all_contexts() -> MetaContexts {
    [MetaContext::Allocation].into_iter().collect()
}
