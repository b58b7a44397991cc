//! A small NBD server for tests, on one end of a Unix socket, with faults on demand.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use clap::Parser;

use crate::{
    cli::Args,
    driver::{Load, Outcome},
    plan::Plan,
};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Forgets a write to this offset but says it is done.
    LoseWrite(u64),
    /// Answers the n-th request with another's cookie.
    WrongCookie(u64),
    /// Refuses the n-th request with EIO.
    Refuse(u64),
    /// Closes the connection instead of answering the n-th request.
    Close(u64),
}

/// A socket whose directory goes with it.
pub(crate) struct Socket {
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // What is left behind lies in the temporary directory.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Runs a load with these arguments against a server of as many connections as it makes, on an empty disk.
pub(crate) fn run(name: &str, size: usize, fault: Fault, arguments: &[&str]) -> anyhow::Result<Outcome> {
    run_on(&Arc::new(Mutex::new(vec![0; size])), name, fault, arguments)
}

/// The same on this disk.
pub(crate) fn run_on(
    disk: &Arc<Mutex<Vec<u8>>>,
    name: &str,
    fault: Fault,
    arguments: &[&str],
) -> anyhow::Result<Outcome> {
    let path = std::env::temp_dir().join(format!("nbdgate-load-{}-{name}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let socket = Socket { path };
    let target = format!("unix:{}", socket.path.display());
    let arguments = ["nbdgate-load", "--connect", &target].into_iter().chain(arguments.iter().copied());
    let plan = Plan::try_from(Args::parse_from(arguments))?;
    let servers = (0..plan.connections).map(|_| serve(listener.try_clone().unwrap(), disk.clone(), fault));
    let servers: Vec<_> = servers.collect();
    let outcome = Load::connect(&plan).and_then(Load::run);
    for server in servers {
        // It ends with its connection; a broken pipe in it is the other end's doing.
        server.join().unwrap().ok();
    }
    outcome
}

/// Serves one connection.
fn serve(listener: UnixListener, disk: Arc<Mutex<Vec<u8>>>, fault: Fault) -> JoinHandle<std::io::Result<()>> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let size = disk.lock().unwrap().len();
        let structured = haggle(&mut stream, size)?;
        transmit(&mut stream, &disk, structured, fault)
    })
}

/// Fixed newstyle up to GO; tells whether replies are structured.
fn haggle(stream: &mut UnixStream, size: usize) -> std::io::Result<bool> {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    stream.read_exact(&mut [0; 4])?;
    let mut structured = false;
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let option = &head[8..12];
        let mut content = vec![0; head[15] as usize];
        stream.read_exact(&mut content)?;
        let mut reply = |kind: u32, content: &[u8]| {
            let length = u32::try_from(content.len()).unwrap().to_be_bytes();
            let magic = 0x0003_e889_0455_65a9_u64.to_be_bytes();
            stream.write_all(&[&magic[..], option, &kind.to_be_bytes(), &length, content].concat())
        };
        if head[11] == 8 {
            structured = true;
            reply(1, &[])?;
        } else {
            // HAS_FLAGS, SEND_FLUSH, CAN_MULTI_CONN.
            reply(3, &[&[0, 0], &(size as u64).to_be_bytes()[..], &[1, 5]].concat())?;
            reply(1, &[])?;
            return Ok(structured);
        }
    }
}

fn transmit(stream: &mut UnixStream, disk: &Mutex<Vec<u8>>, structured: bool, fault: Fault) -> std::io::Result<()> {
    for number in 1.. {
        let mut head = [0; 28];
        stream.read_exact(&mut head)?;
        let cookie = if fault == Fault::WrongCookie(number) { &[0xff; 8] } else { &head[8..16] };
        let offset = u64::from_be_bytes(head[16..24].try_into().unwrap());
        let start = usize::try_from(offset).unwrap();
        let end = start + u32::from_be_bytes(head[24..28].try_into().unwrap()) as usize;
        let mut payload = vec![0; if head[7] == 1 { end - start } else { 0 }];
        stream.read_exact(&mut payload)?;
        let simple = |error: u8| [&b"\x67\x44\x66\x98\0\0\0"[..], &[error], cookie].concat();
        if fault == Fault::Close(number) || head[7] == 2 {
            return Ok(());
        }
        if fault == Fault::Refuse(number) {
            stream.write_all(&simple(5))?;
            continue;
        }
        let mut disk = disk.lock().unwrap();
        if head[7] == 1 && fault != Fault::LoseWrite(offset) {
            disk[start..end].copy_from_slice(&payload);
        }
        let reply = match head[7] {
            0 if structured => chunks(cookie, start, &disk[start..end]),
            0 => [&simple(0), &disk[start..end]].concat(),
            _ => simple(0),
        };
        drop(disk);
        stream.write_all(&reply)?;
    }
    Ok(())
}

/// A read's answer in two data chunks, the later one first, or a hole, and a chunk that ends it.
fn chunks(cookie: &[u8], start: usize, bytes: &[u8]) -> Vec<u8> {
    let chunk = |flags: u8, kind: u8, content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&b"\x66\x8e\x33\xef\0"[..], &[flags, 0, kind], cookie, &length, content].concat()
    };
    let at = |offset: usize| (offset as u64).to_be_bytes();
    let parts = if bytes.iter().all(|byte| *byte == 0) {
        chunk(0, 2, &[&at(start)[..], &u32::try_from(bytes.len()).unwrap().to_be_bytes()].concat())
    } else {
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        let later = chunk(0, 1, &[&at(start + head.len())[..], tail].concat());
        [later, chunk(0, 1, &[&at(start)[..], head].concat())].concat()
    };
    [parts, chunk(1, 0, &[])].concat()
}
