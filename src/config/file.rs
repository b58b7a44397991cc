//! The configuration file: TOML, every key known, every mistake with its line.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{ConfigError, Settings};

/// Largest file that is read; a thousand exports with long names fit many times.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Reads the settings of a file.
///
/// # Errors
/// It cannot be read, is not TOML, has an unknown key, or a value is refused.
pub(super) fn read(path: &Path) -> Result<Settings, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(unreadable(io::Error::other(format!("it has {bytes} bytes; the limit is {MAX_FILE_BYTES}"))));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Settings, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text[..text.floor_char_boundary(start)].matches('\n').count();
        ConfigError::File { path: PathBuf::from(path), line, message: error.message().trim().replace('\n', "; ") }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_key_is_read() {
        let text = r#"
            listen = ["unix:/run/nbd.sock", "tcp:[::1]:10809"]
            allow-remote-plaintext = true
            metrics = "localhost:9810"
            status-page = true
            io-engine = "epoll"
            io-threads = 3
            busy-poll = "20us"
            max-connections = 17
            max-memory = "64M"
            cache = "/var/cache/nbd"
            cache-size = "1G"
            object-memory = "512M"
            rocksdb-cache = "1G"
            rocksdb-memory = "32M"
            handshake-timeout = "5s"
            shutdown-timeout = "1m"
            log = "debug"
            [[export]]
            name = "vm1"
            uri = "file:/a,b=c.img"
            direct = true
            size = 1048576
            description = "a, b"
            [[export]]
            name = ""
            uri = "s3://bucket/disk"
            readonly = true
            on-unclean = "serve"
            steal = true
            fencing = "advisory"
            snapshot = "monday"
            journal = "/j"
            journal-size = "1G"
            abandon-journal = true
            rpo = "5s"
            key-file = "/k"
            upload-delay = "1s"
            dirty-memory = "64M"
            read-ahead = 0
            [[export]]
            name = "vm2"
            uri = "rocksdb:/d"
            size = "1G"
            extent = "4K"
            compression = "zstd"
        "#;
        let flags = [
            "--listen=unix:/run/nbd.sock",
            "--listen=tcp:[::1]:10809",
            "--allow-remote-plaintext",
            "--metrics=localhost:9810",
            "--status-page",
            "--io-engine=epoll",
            "--io-threads=3",
            "--busy-poll=20us",
            "--max-connections=17",
            "--max-memory=64M",
            "--cache=/var/cache/nbd",
            "--cache-size=1G",
            "--object-memory=512M",
            "--rocksdb-cache=1G",
            "--rocksdb-memory=32M",
            "--handshake-timeout=5s",
            "--shutdown-timeout=1m",
            "--log=debug",
            "--export=vm1=file:/a,,b=c.img,direct,size=1M,description=a,, b",
            "--export==s3://bucket/disk,readonly,on-unclean=serve,steal,fencing=advisory,snapshot=monday,journal=/j,\
             journal-size=1G,abandon-journal,rpo=5s,key-file=/k,upload-delay=1s,dirty-memory=64M,read-ahead=0",
            "--export=vm2=rocksdb:/d,size=1G,extent=4K,compression=zstd",
        ];
        let from_file = parse(text, Path::new("x.toml")).expect("valid");
        assert_eq!(from_file, super::super::tests::flags(&flags).expect("valid"), "flags and keys mean the same");
    }

    #[test]
    fn a_mistake_is_told_with_file_and_line() {
        for (text, line, reason) in [
            ("\nexprot = 1\n", 2, "unknown field `exprot`"),
            ("io-threads = 0\n", 1, "nonzero"),
            ("\n\nio-threads = \"two\"\n", 3, "invalid type"),
            ("listen = \"unix:/x\"\n", 1, "expected a sequence"),
            ("\nlisten = [\"unix:/x\", \"upd:x\"]\n", 2, "\"upd:x\" is no listener"),
            ("max-memory = \"10GB\"\n", 1, "can mean two sizes"),
            ("max-memory = -1\n", 1, "negative"),
            ("max-memory = 1.5\n", 1, "a size"),
            ("handshake-timeout = 5\n", 1, "expected a string"),
            ("io-engine = \"kqueue\"\n", 1, "unknown variant `kqueue`"),
            ("\n[[export]]\nname = \"a\"\nuri = \"mem:0\"\n", 2, "holds nothing"),
            ("\n[[export]]\nname = \"a\"\nuri = \"mem:1G\"\nread-only = true\n", 5, "unknown field `read-only`"),
            ("\n[[export]]\nname = \"a\"\n", 2, "missing field `uri`"),
            ("\n[[export]]\nname = \"a\"\nuri = \"rocksdb:/d\"\nextent = \"4K\"\n", 2, "without a size"),
            ("\n[[export]]\nname = \"a\"\nuri = \"rocksdb:/d\"\ncompression = \"br\"\n", 5, "unknown variant"),
            ("log = \"a\"\nlog = \"b\"\n", 2, "duplicate key"),
            ("= 1", 1, ""),
        ] {
            let error = parse(text, Path::new("/etc/x.toml")).expect_err(text).to_string();
            assert!(error.starts_with(&format!("/etc/x.toml:{line}: ")), "{text}: {error}");
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        for path in [folder.path().to_owned(), folder.path().join("missing.toml")] {
            let error = read(&path).expect_err("unreadable").to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        let large = folder.path().join("large.toml");
        fs::File::create(&large).and_then(|file| file.set_len(MAX_FILE_BYTES + 1)).expect("a sparse file");
        assert!(read(&large).is_err(), "a file above the limit is not read");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".*|([a-z-]{1,12} = [\"a-z0-9:]{0,12}\n){0,4}") {
            let _ = parse(&text, Path::new("x"));
        }
    }
}
