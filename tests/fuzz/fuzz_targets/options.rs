//! The data of options.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nbdgate::nbd::proto::option::{InfoRequest, MetaContextRequest, OptionHeader};

fuzz_target!(|data: &[u8]| {
    if let Some(head) = data.first_chunk() {
        let _ = OptionHeader::parse(head);
    }
    if let Ok(request) = InfoRequest::parse(data) {
        assert!(request.name.len() <= 4096 && !request.name.contains('\0'));
        let _ = request.wants(3);
    }
    if let Ok(request) = MetaContextRequest::parse(data) {
        assert_eq!(request.queries().count() as u64, u64::from(request.count));
        assert!(request.queries().all(|query| query.len() <= 4096 && !query.contains('\0')));
    }
});
