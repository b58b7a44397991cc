//! qemu-img on a disk of any storage, over a socket that only this user can reach.
//!
//! A second `nbdgate serve` serves the disk on a Unix socket in a private directory for as long as qemu-img copies.

use std::{
    ffi::{OsStr, OsString},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::report::Report;
use crate::cli::Failure;

/// The longest that the gateway may take to open the disk: a log is followed or replayed, and a map is read.
const OPENING: Duration = Duration::from_mins(10);
/// Between two looks for its socket.
const LOOK: Duration = Duration::from_millis(20);

/// Bytes of the disk in an image of any format that qemu-img knows.
pub(super) fn image_size(image: &Path) -> Result<u64, Failure> {
    let told = qemu_img([OsStr::new("info"), "--output=json".as_ref(), image.as_os_str()])?;
    let info: serde_json::Value = serde_json::from_slice(&told).context("qemu-img tells no JSON")?;
    let size = info.get("virtual-size").and_then(serde_json::Value::as_u64);
    Ok(size.ok_or_else(|| anyhow!("qemu-img tells no size of {}", image.display()))?)
}

/// Copies an image onto a disk that is empty and large enough; `options` are those of an export.
pub(super) fn copy_in(image: &Path, uri: &str, options: &[String]) -> Result<(), Failure> {
    let gateway = Gateway::start(uri, options)?;
    convert(["-n", "--target-is-zero", "-O", "raw"], image.as_os_str(), gateway.url().as_ref())?;
    Ok(gateway.stop()?)
}

/// Copies a disk or a snapshot of it into a new image, and tells of that.
pub(super) fn copy_out(uri: &str, snapshot: Option<&str>, image: &Path, options: &[String]) -> Result<Report, Failure> {
    let mut options = options.to_vec();
    options.push("readonly".to_owned());
    options.extend(snapshot.map(|name| format!("snapshot={name}")));
    let gateway = Gateway::start(uri, &options)?;
    let unfinished = Unfinished::of(image);
    convert(["-f", "raw", "-O", "qcow2"], gateway.url().as_ref(), unfinished.0.as_os_str())?;
    gateway.stop()?;
    unfinished.finish(image)?;
    let mut report = Report::new(uri);
    report.text("image", &image.display().to_string());
    report.size("size", image_size(image)?);
    Ok(report)
}

/// A new image beside its place; gone if it is dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    fn of(image: &Path) -> Self {
        let mut name = image.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        Self(image.with_file_name(name))
    }

    /// Gives it its name, which nobody else may have taken meanwhile.
    fn finish(self, image: &Path) -> anyhow::Result<()> {
        let tried = || format!("cannot name the image {}", image.display());
        std::fs::File::open(&self.0).and_then(|file| file.sync_all()).with_context(tried)?;
        match renameat_with(CWD, &self.0, CWD, image, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // A file system that cannot tell; it was looked for before.
            Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(&self.0, image).with_context(tried),
            Err(error) => Err(error).with_context(tried),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _renamed_by_now = std::fs::remove_file(&self.0);
    }
}

fn convert(how: [&str; 4], from: &OsStr, to: &OsStr) -> anyhow::Result<()> {
    let head = ["convert", "-m", "8", "-W"].into_iter().chain(how).map(OsStr::new);
    qemu_img(head.chain([from, to])).map(drop)
}

/// Runs qemu-img and returns what it wrote.
fn qemu_img<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("qemu-img").args(arguments).stdin(Stdio::null()).output();
    let output = output.context("cannot run qemu-img (Debian: qemu-utils)")?;
    if !output.status.success() {
        bail!("qemu-img failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// A gateway for one disk. Stopped when it is dropped, too.
struct Gateway {
    child: Child,
    directory: Directory,
}

impl Gateway {
    fn start(uri: &str, options: &[String]) -> anyhow::Result<Self> {
        let directory = Directory::new()?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let options: Vec<String> = options.iter().map(|option| option.replace(',', ",,")).collect();
        let options: String = options.iter().flat_map(|option| [",", option.as_str()]).collect();
        let mut listen = OsString::from("unix:");
        listen.push(directory.socket());
        let child = Command::new(program)
            .args(["serve", "--log", "warn", "--export"])
            .arg(format!("disk={}{options}", uri.replace(',', ",,")))
            .arg("--listen")
            .arg(listen)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a gateway for the disk")?;
        let mut gateway = Self { child, directory };
        gateway.wait()?;
        Ok(gateway)
    }

    /// Until it accepts, which it does when the disk is open.
    fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + OPENING;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("the gateway for the disk did not start ({status}): {}", self.told());
            }
            if answers(&self.directory.socket()) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("the gateway for the disk did not open it within {} s", OPENING.as_secs())
    }

    fn url(&self) -> String {
        format!("nbd+unix:///disk?socket={}", self.directory.socket().display())
    }

    /// Flushes and closes the disk.
    fn stop(mut self) -> anyhow::Result<()> {
        self.terminate();
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the disk was not closed cleanly ({status}): {}", self.told());
        }
        Ok(())
    }

    fn terminate(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ended_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    fn told(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _as_far_as_it_goes = stderr.read_to_string(&mut text);
        }
        text.trim().to_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            let _ended = self.child.wait();
        }
    }
}

/// Whether a server greets at the socket.
fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
    let _patience = stream.set_read_timeout(Some(Duration::from_secs(1)));
    stream.read_exact(&mut [0; 8]).is_ok()
}

/// A directory that only this user can enter; gone with its content when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = std::env::temp_dir().join(format!("nbdgate-{}-{unique:x}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the private directory {}", path.display()))?;
        Ok(Self(path))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("nbd.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}
