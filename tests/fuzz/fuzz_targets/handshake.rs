//! A client's whole side of the handshake, sent at once.

#![no_main]

use std::sync::{Arc, atomic::AtomicBool};

use libfuzzer_sys::fuzz_target;
use nbdgate::{
    export::{Export, Registry},
    nbd::handshake::{Outcome, Terms, TlsPolicy, haggle},
    scheduler::permits::Budget,
};
use nbdgate_api::{Backend, BlockSizes, Capabilities, Error, Home, Info, Io};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

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

fn registry() -> Registry {
    let mut registry = Registry::default();
    for name in ["", "a"] {
        let info = Info {
            size: 1 << 20,
            block: BlockSizes::default(),
            read_only: false,
            rotational: false,
            capabilities: Capabilities::ALL,
            read_piece: 1 << 20,
            home: Home::Spread,
        };
        let name = name.parse().expect("a valid name");
        let export = Export::new(name, "described".into(), Arc::new(Shell(info)), false, Budget::new(1 << 20));
        registry.add(Arc::new(export)).expect("distinct names");
    }
    registry
}

fuzz_target!(|input: (u8, &[u8])| {
    let (policy, script) = input;
    let tls = [TlsPolicy::Off, TlsPolicy::Allow, TlsPolicy::Require][usize::from(policy % 3)];
    let exports = registry();
    let stopping = AtomicBool::new(policy & 128 != 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (client, mut server) = duplex(1 << 16);
    let (mut from, mut to) = split(client);
    let mut sent = Vec::new();
    let outcome = runtime.block_on(async {
        let serve = async {
            let outcome = haggle(&mut server, Terms { exports: &exports, tls, stopping: &stopping }).await;
            drop(server);
            outcome
        };
        let write = async {
            let _ = to.write_all(script).await;
            let _ = to.shutdown().await;
        };
        let read = async { from.read_to_end(&mut sent).await.expect("an in-memory stream") };
        tokio::join!(serve, write, read).0
    });
    assert!(sent.starts_with(b"NBDMAGICIHAVEOPT\0\x03"));
    if let Outcome::Transmission(haggled) = outcome {
        assert!(haggled.leftover.len() <= script.len());
        assert!(tls != TlsPolicy::Require, "entered without tls");
    }
});
