//! Kinds of errors to the numbers of the wire ("Error values").

use nbdgate_api::Kind;

use super::{
    constants::{NBD_EINVAL, NBD_EIO, NBD_ENOMEM, NBD_ENOSPC, NBD_ENOTSUP, NBD_EOVERFLOW, NBD_EPERM, NBD_ESHUTDOWN},
    validate::Command,
};

/// The number of a kind; never zero.
pub const fn errno(kind: Kind) -> u32 {
    match kind {
        Kind::Permission => NBD_EPERM,
        Kind::Io => NBD_EIO,
        Kind::NoMemory => NBD_ENOMEM,
        Kind::Invalid => NBD_EINVAL,
        Kind::NoSpace => NBD_ENOSPC,
        Kind::Overflow => NBD_EOVERFLOW,
        Kind::NotSupported => NBD_ENOTSUP,
        Kind::Shutdown => NBD_ESHUTDOWN,
    }
}

/// The kind in which `command` may be told of a failure of kind `kind`.
///
/// NBD_ENOTSUP belongs to fast zeroing alone, and NBD_EOVERFLOW to commands without a payload of their own, never
/// to fast zeroing; elsewhere both become NBD_EINVAL.
pub const fn wire_error(command: &Command, kind: Kind) -> Kind {
    let fast = matches!(command, Command::WriteZeroes { zeroes, .. } if zeroes.fast);
    match kind {
        Kind::NotSupported if !fast => Kind::Invalid,
        Kind::Overflow if fast || matches!(command, Command::Write { .. } | Command::Flush | Command::Disc) => {
            Kind::Invalid
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use nbdgate_api::{ByteRange, Zeroes};

    use super::*;

    #[test]
    fn every_kind_has_the_number_of_the_specification() {
        let pairs = [
            (Kind::Permission, 1),
            (Kind::Io, 5),
            (Kind::NoMemory, 12),
            (Kind::Invalid, 22),
            (Kind::NoSpace, 28),
            (Kind::Overflow, 75),
            (Kind::NotSupported, 95),
            (Kind::Shutdown, 108),
        ];
        for (kind, number) in pairs {
            assert_eq!(errno(kind), number, "{kind:?}");
        }
    }

    #[test]
    fn enotsup_is_for_fast_zeroes_only() {
        let range = ByteRange::between(0, 512);
        let zeroes = |fast| Command::WriteZeroes { range, zeroes: Zeroes { no_hole: false, fast }, fua: false };
        assert_eq!(wire_error(&zeroes(true), Kind::NotSupported), Kind::NotSupported);
        assert_eq!(wire_error(&zeroes(false), Kind::NotSupported), Kind::Invalid);
        assert_eq!(wire_error(&Command::Trim { range, fua: false }, Kind::NotSupported), Kind::Invalid);
    }

    #[test]
    fn eoverflow_is_for_commands_without_a_payload() {
        let range = ByteRange::between(0, 512);
        let fast = Command::WriteZeroes { range, zeroes: Zeroes { no_hole: false, fast: true }, fua: false };
        assert_eq!(wire_error(&Command::Read { range, df: true }, Kind::Overflow), Kind::Overflow);
        assert_eq!(wire_error(&Command::Write { range, fua: false }, Kind::Overflow), Kind::Invalid);
        assert_eq!(wire_error(&fast, Kind::Overflow), Kind::Invalid);
    }
}
