//! A full disk, a file shorter than it was, and devices.

use std::{path::Path, process::Command};

use nbdgate_api::{Backend, ByteRange, Kind, Op, Zeroes, wait};
use nbdgate_file::{FileDisk, OpenOptions};

use crate::support::{Place, Placed, open, open_direct, submitters};

/// The child runs this same test under a limit on file sizes, which hits writes above 64 KiB as a full disk does.
#[test]
fn no_space_is_told_as_no_space_and_the_rest_goes_on() {
    const CHILD: &str = "NBDGATE_TEST_FULL";
    if let Some(path) = std::env::var_os(CHILD) {
        return write_past_the_limit(Path::new(&path));
    }
    let place = Place::new();
    let path = place.sparse(1 << 20);
    let me = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 128; exec "$0" --exact "$1""#])
        .args([me.as_os_str(), "faults::no_space_is_told_as_no_space_and_the_rest_goes_on".as_ref()])
        .env(CHILD, &path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn write_past_the_limit(path: &Path) {
    for submitter in submitters() {
        let disk = Placed::new(open(path).unwrap(), submitter);
        for fua in [false, true] {
            let write = |offset, byte| {
                let payload = vec![byte; 4096].into();
                wait::call(&disk, Op::Write { offset, payload, fua }).outcome
            };
            assert_eq!(write(1 << 19, 1).unwrap_err().kind(), Kind::NoSpace);
            write(0, 2).unwrap();
        }
        assert_eq!(wait::read(&disk, ByteRange::new(0, 4096).unwrap()).unwrap(), vec![2; 4096]);
        assert_eq!(wait::read(&disk, ByteRange::new(1 << 19, 4096).unwrap()).unwrap(), vec![0; 4096]);
        wait::flush(&disk).unwrap();
        disk.close().unwrap();
    }
}

/// The child runs this same test on a memory file system of 256 KiB, mounted where nobody else sees it.
#[test]
fn a_full_file_system_fails_writes_and_serves_the_rest() {
    const CHILD: &str = "NBDGATE_TEST_TMPFS";
    const CANNOT_MOUNT: i32 = 77;
    if let Some(directory) = std::env::var_os(CHILD) {
        return fill(&Path::new(&directory).join("image"));
    }
    let place = Place::new();
    std::fs::create_dir(place.path("mount")).unwrap();
    let script = r#"mount -t tmpfs -o size=256k none "$2" || exit 77; exec "$0" --exact "$1""#;
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg("faults::a_full_file_system_fails_writes_and_serves_the_rest")
        .arg(place.path("mount"))
        .env(CHILD, place.path("mount"))
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output)
            if output.status.code() == Some(CANNOT_MOUNT) || !output.stderr.is_empty() && output.stdout.is_empty() =>
        {
            println!("no mount here: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => println!("no unshare here: {error}"),
    }
}

fn fill(path: &Path) {
    const BLOCK: usize = 65536;
    for submitter in submitters() {
        let options = OpenOptions { create_size: Some(1 << 20), ..OpenOptions::default() };
        let disk = Placed::new(FileDisk::open(path, options).unwrap(), submitter);
        let write = |block: usize| wait::write(&disk, (block * BLOCK) as u64, vec![1; BLOCK]);
        let written = (0..16).take_while(|block| write(*block).is_ok()).count();
        assert!((2..=4).contains(&written), "{written} of 16 blocks fit");
        assert_eq!(write(15).unwrap_err().kind(), Kind::NoSpace);
        let range = ByteRange::new(0, (written * BLOCK) as u64).unwrap();
        assert_eq!(wait::read(&disk, range).unwrap(), vec![1; written * BLOCK]);
        wait::flush(&disk).unwrap();
        // Space that is given back can be used again; no primitive here zeroes it without.
        wait::call(&disk, Op::Trim { range, fua: false }).outcome.unwrap();
        write(15).unwrap();
        let zeroes = Zeroes { no_hole: true, fast: true };
        let zero = wait::call(&disk, Op::WriteZeroes { range, zeroes, fua: false });
        assert_eq!(zero.outcome.unwrap_err().kind(), Kind::NotSupported);
        disk.close().unwrap();
        drop(disk);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_file_cut_short_behind_our_back_is_an_error_and_not_zeros() {
    for submitter in submitters() {
        let place = Place::new();
        let path = place.full(1 << 20, 1);
        let disk = Placed::new(open(&path).unwrap(), submitter);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
        let error = wait::read(&disk, ByteRange::new(0, 8192).unwrap()).unwrap_err();
        assert_eq!(error.kind(), Kind::Io);
        assert!(error.chain().contains("cannot read 0+8192 of"), "{}", error.chain());
        assert_eq!(wait::read(&disk, ByteRange::new(0, 4096).unwrap()).unwrap(), vec![1; 4096]);
    }
}

/// A loop device over `image`, detached when dropped. Needs the right to make one.
struct Loop(String);

impl Loop {
    fn over(image: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(image).output().ok()?;
        if !output.status.success() {
            println!("no loop device here: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Self(String::from_utf8(output.stdout).unwrap().trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let status = Command::new("losetup").args(["--detach", &self.0]).status();
        assert!(status.unwrap().success() || std::thread::panicking());
    }
}

#[test]
fn a_block_device_serves_like_a_file() {
    for submitter in submitters() {
        for direct in [false, true] {
            let place = Place::new();
            let image = place.full(8 << 20, 6);
            let Some(device) = Loop::over(&image) else { return };
            let path = Path::new(&device.0);
            let disk = if direct { open_direct(path) } else { open(path) };
            let disk = Placed::new(disk.unwrap(), submitter);
            assert_eq!(disk.info().size, 8 << 20);
            let block = u64::from(disk.info().block.minimum);
            assert!(open(path).is_err(), "opened exclusively");
            wait::write(&disk, 8192, vec![5; 16384]).unwrap();
            let range = ByteRange::between(8192 + block, 16384 + block);
            let zeroes = Zeroes::default();
            wait::call(&disk, Op::WriteZeroes { range, zeroes, fua: true }).outcome.unwrap();
            if disk.info().capabilities.trim {
                let range = ByteRange::between((1 << 20) + block, 2 << 20);
                wait::call(&disk, Op::Trim { range, fua: false }).outcome.unwrap();
                assert!(wait::read(&disk, range).unwrap().iter().all(|byte| *byte == 0));
            }
            let mut expected = vec![5; 16384];
            expected[usize::try_from(block).unwrap()..usize::try_from(8192 + block).unwrap()].fill(0);
            assert_eq!(wait::read(&disk, ByteRange::new(8192, 16384).unwrap()).unwrap(), expected);
            assert_eq!(
                wait::read(&disk, ByteRange::new(1 << 20, block).unwrap()).unwrap(),
                vec![6; usize::try_from(block).unwrap()]
            );
            wait::flush(&disk).unwrap();
            disk.close().unwrap();
            drop(disk);
            assert_eq!(std::fs::read(&image).unwrap()[8192..24576], expected);
        }
    }
}
