//! fio with its nbd engine: depth, several jobs, and a checksum over every block.

use crate::{
    gateway::TRANSPORTS,
    process::{args, run},
    setup::{Engine, Setup, Storage},
};

on_every_setup! { what_many_jobs_wrote_is_verified }

fn what_many_jobs_wrote_is_verified(storage: Storage, engine: Engine) {
    let setup = Setup::new(storage, engine, 32 << 20);
    let gateway = setup.serve();
    for transport in TRANSPORTS {
        // Every job has a part of the disk of its own, and one connection.
        let told = run(
            "fio",
            args![
                "--name=verify",
                "--ioengine=nbd",
                format!("--uri={}", gateway.uri(transport)),
                "--rw=randwrite",
                "--bssplit=512/10:4k/50:64k/30:256k/10",
                "--iodepth=32",
                "--numjobs=4",
                "--size=8m",
                "--offset_increment=8m",
                "--fsync=32",
                "--trim_percentage=0",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--do_verify=1",
                "--verify_state_save=0",
                "--randseed=20251",
                "--output-format=terse",
            ],
        )
        .ok();
        let jobs: Vec<_> = told.lines().filter(|line| line.starts_with("3;")).collect();
        assert_eq!(jobs.len(), 4, "{told}");
        for job in jobs {
            let fields: Vec<_> = job.split(';').collect();
            assert_eq!(fields[4], "0", "errors of a job: {job}");
            assert!(fields[5].parse::<u64>().expect("KiB read") >= 4096, "little was verified: {job}");
        }
    }
    gateway.stop();
}
