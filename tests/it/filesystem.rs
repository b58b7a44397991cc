//! A real file system with real files: made on an image, copied in, served again by another gateway, copied out, checked
//! by ext4's own tools and compared file by file.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rand::{RngCore, SeedableRng, rngs::StdRng};

use crate::{
    gateway::{TRANSPORTS, Transport},
    process::{args, run},
    setup::{Engine, Setup, Storage},
};

on_every_setup! { an_ext4_tree_survives_the_way_in_a_restart_and_the_way_out }

const SIZE: u64 = 48 << 20;

fn an_ext4_tree_survives_the_way_in_a_restart_and_the_way_out(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, SIZE);
    let tree = grow_tree(&setup.path("tree"));
    let image = setup.path("made.img");
    run("mkfs.ext4", args!["-q", "-F", "-d", tree, image, format!("{}k", SIZE >> 10)]).ok();
    run("e2fsck", args!["-f", "-n", image]).ok();

    let mut gateway = setup.serve();
    let uri = gateway.uri(Transport::Tcp);
    run("qemu-img", args!["convert", "-n", "-f", "raw", "-O", "raw", image, uri]).ok();
    if storage.lasts() {
        gateway.stop();
        gateway = setup.serve();
    }
    for transport in TRANSPORTS {
        let back = setup.path("back.img");
        run("nbdcopy", args!["--connections=4", gateway.uri(transport), back]).ok();
        run("cmp", args![image, back]).ok();
        run("e2fsck", args!["-f", "-n", back]).ok();
        compare_files(&tree, &back, &setup.path("dumped"));
    }
    gateway.stop();
}

/// A folder with real files and the odd ones: empty, large, sparse, linked, long names.
pub(crate) fn grow_tree(root: &Path) -> PathBuf {
    fs::create_dir_all(root.join("empty/folder")).expect("folders");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "docs", "backends/file"] {
        run("cp", args!["-r", sources.join(folder), root.join(folder.replace('/', "-"))]).ok();
    }
    let mut noise = vec![0; 6 << 20];
    StdRng::seed_from_u64(SIZE).fill_bytes(&mut noise);
    fs::write(root.join("large"), &noise).expect("written");
    fs::write(root.join("nothing"), "").expect("written");
    fs::write(root.join("n".repeat(255)), "a long name").expect("written");
    let sparse = fs::File::create(root.join("sparse")).expect("created");
    sparse.set_len(20 << 20).expect("sparse");
    symlink("large", root.join("link")).expect("a link");
    fs::hard_link(root.join("large"), root.join("empty/twin")).expect("a second name");
    root.to_owned()
}

/// Takes the files out of an image and compares them with those that went in. debugfs needs neither a mount nor
/// rights, so this is the same on every machine.
#[track_caller]
pub(crate) fn compare_files(tree: &Path, image: &Path, dumped: &Path) {
    fs::create_dir(dumped).expect("a folder");
    run("debugfs", args!["-R", format!("rdump / {}", dumped.display()), image]).ok();
    fs::remove_dir(dumped.join("lost+found")).expect("mkfs made it, and it is empty");
    run("diff", args!["-r", "--no-dereference", tree, dumped]).ok();
    fs::remove_dir_all(dumped).expect("removed");
}
