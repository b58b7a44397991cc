//! What makes a gateway refuse to start: with which exit code, with which words, and with nothing left behind.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
};

use nbdgate_io::EngineChoice;

use crate::{
    client::Client,
    gateway::Gateway,
    process::{Ran, args, nbdgate, run},
    setup::{Engine, Setup, Storage},
};

on_every_lasting_setup! { a_second_gateway_of_one_disk_is_refused_while_the_first_serves }

/// Starts a gateway that must not start, and says how it ended. A socket of its own comes first, which must be gone.
#[track_caller]
fn refused(folder: &Path, flags: &[&str]) -> Ran {
    let socket = folder.join("own.sock");
    let listen = format!("--listen=unix:{}", socket.display());
    let flags = [&["serve", listen.as_str()], flags].concat();
    let flags: Vec<_> = flags.iter().map(|flag| flag as &dyn AsRef<std::ffi::OsStr>).collect();
    let ran = nbdgate(&flags);
    assert!(!socket.exists(), "a socket was left behind: {ran}");
    assert!(!ran.stderr.contains("panicked"), "{ran}");
    ran
}

#[test]
fn wrong_settings_end_with_code_2_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("wrong.toml");
    fs::write(&config, "[[export]]\nname = \"a\"\nuri = \"mem:1M\"\ncolour = \"red\"\n").expect("written");
    let config = format!("--config={}", config.display());
    for (flags, words) in [
        (&[][..], &["--export"][..]),
        (&["--export==mem:1M", "--listen=tcp:0.0.0.0:0"], &["0.0.0.0", "--allow-remote-plaintext"]),
        (&["--export==mem:1M", "--listen=tcp:[::]:0"], &["--allow-remote-plaintext"]),
        (&["--export=a=mem:1M", "--export=a=mem:1M"], &["used twice"]),
        (&["--export==tape:1"], &["unknown scheme", "file:"]),
        (&["--export==mem:1M,colour=red"], &["colour"]),
        (&["--export==mem:1M", "--colour=red"], &["--colour"]),
        (&[config.as_str()], &["wrong.toml:4", "colour"]),
        (&["--config=/nonexistent/nbdgate.toml"], &["/nonexistent/nbdgate.toml", "No such file"]),
    ] {
        let ran = refused(folder.path(), flags);
        assert_eq!(ran.code, Some(2), "{ran}");
        for word in words {
            assert!(ran.stderr.contains(word), "{word:?} in {ran}");
        }
    }
}

#[test]
fn storage_that_the_program_was_built_without_is_refused_by_name() {
    for (uri, part, is_there) in [
        ("rocksdb:/nonexistent/disk?size=1G", "RocksDB", cfg!(feature = "rocksdb")),
        ("dir:/nonexistent/bucket/disk", "the object log", cfg!(feature = "object-log")),
    ] {
        let ran = nbdgate(args!["serve", "--check", format!("--export=vm={uri}")]);
        if is_there {
            ran.ok();
        } else {
            assert_eq!(ran.code, Some(2), "{ran}");
            assert!(ran.stderr.contains(&format!("built without {part}")) && ran.stderr.contains("\"vm\""), "{ran}");
        }
    }
}

#[test]
fn what_cannot_be_opened_or_bound_ends_with_code_1_and_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(at("folder")).expect("a folder");
    fs::write(at("plain"), "not a socket").expect("a file");
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("--listen=tcp:{}", port.local_addr().expect("bound"));
    let _socket = UnixListener::bind(at("taken.sock")).expect("a socket");
    let memory = "--export==mem:1M";
    for (flags, words) in [
        (&[format!("--export==file:{}", at("missing"))][..], &["missing", "No such file"][..]),
        (&[format!("--export==file:{}", at("folder"))], &["folder", "directory"]),
        (&[memory.to_owned(), taken], &["tcp:127.0.0.1", "in use"]),
        (&[memory.to_owned(), format!("--listen=unix:{}", at("taken.sock"))], &["taken.sock", "another server"]),
        (&[memory.to_owned(), format!("--listen=unix:{}", at("plain"))], &["plain", "not a socket"]),
        (&[memory.to_owned(), format!("--listen=unix:{}", at("no/such/folder"))], &["no/such/folder"]),
    ] {
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let ran = refused(folder.path(), &flags);
        assert_eq!(ran.code, Some(1), "{ran}");
        for word in words {
            assert!(ran.stderr.contains(word), "{word:?} in {ran}");
        }
    }
    assert_eq!(fs::read(at("plain")).expect("still there"), b"not a socket");
}

#[test]
fn an_image_without_permission_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("secret.img");
    fs::write(&image, [7; 4096]).expect("an image");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o000)).expect("nobody may read it");
    let (program, export) = (env!("CARGO_BIN_EXE_nbdgate"), format!("--export==file:{}", image.display()));
    let listen = format!("--listen=unix:{}", folder.path().join("own.sock").display());
    let ran = if rustix::process::geteuid().is_root() {
        // Permissions bind even root once it may not override them.
        let without = "--bounding-set=-dac_override,-dac_read_search";
        run("setpriv", args![without, program, "serve", listen, export])
    } else {
        run(program, args!["serve", listen, export])
    };
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("secret.img") && ran.stderr.contains("Permission denied"), "{ran}");
}

fn a_second_gateway_of_one_disk_is_refused_while_the_first_serves(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, 1 << 20);
    let gateway = setup.serve();
    let ran = refused(setup.folder(), &[&format!("--export=={}", setup.uri())]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("cannot open export"), "{ran}");
    Client::enter(gateway.connect()).expect("the first goes on").write(0, &[1; 512]).expect("written");
    gateway.stop();
    setup.serve().stop();
}

#[test]
fn the_socket_of_a_gateway_that_crashed_is_taken_over() {
    let setup = Setup::new(Storage::File, Engine::Epoll, 1 << 20);
    let gateway = setup.serve();
    let socket = gateway.socket().to_owned();
    gateway.crash();
    assert!(socket.exists(), "nobody removed it");
    let gateway = setup.serve();
    Client::enter(gateway.connect()).expect("served");
    gateway.stop();
    assert!(!socket.exists(), "a clean stop removes it");
}

#[test]
fn a_configuration_file_does_what_flags_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("nbdgate.toml");
    let image = folder.path().join("a,b=c.img");
    let text = format!(
        "metrics = \"localhost:0\"\nio-threads = 1\nmax-memory = \"64M\"\nhandshake-timeout = \"5s\"\n\
         [[export]]\nname = \"vm=1\"\nuri = \"file:{}\"\nsize = \"1M\"\ndescription = \"a, b\"\n\
         [[export]]\nname = \"\"\nuri = \"mem:2M\"\nreadonly = true\n",
        image.display()
    );
    fs::write(&config, text).expect("written");
    let config = format!("--config={}", config.display());
    nbdgate(args!["serve", "--check", config]).ok();
    assert!(!image.exists(), "a check creates nothing");
    let gateway = Gateway::start(folder.path(), &[&config]);
    assert_eq!(Client::enter(gateway.connect()).expect("served").size, 2 << 20);
    let uri = gateway.uri_of(crate::gateway::Transport::Unix, "vm%3D1");
    run("qemu-io", args!["-f", "raw", "-c", "write -P 1 0 1M", uri]).ok();
    gateway.stop();
    assert!(fs::read(&image).expect("created").iter().all(|&byte| byte == 1));
}

#[test]
fn io_uring_by_name_is_refused_where_the_kernel_forbids_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = ["--export==mem:1M", "--io-engine=uring"];
    if EngineChoice::Uring.resolve().is_ok() {
        Gateway::start(folder.path(), &flags).stop();
        return;
    }
    let ran = refused(folder.path(), &flags);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("--io-engine auto or epoll"), "{ran}");
}
