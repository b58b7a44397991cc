//! The name of this host, as manifests and fences show it.

use crate::format::fence::MAX_HOST;

/// The given name, or the kernel's host name, cut to what a manifest holds.
pub(crate) fn host_name(given: Option<&str>) -> String {
    let name =
        given.map_or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default(), str::to_owned);
    let mut name = name.trim().to_owned();
    if name.is_empty() {
        "unnamed host".clone_into(&mut name);
    }
    while name.len() > MAX_HOST {
        name.pop();
    }
    name
}
