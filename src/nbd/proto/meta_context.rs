//! Metadata contexts: which exist, and a set of them ("Metadata querying").

/// The name of `base:allocation`.
pub const ALLOCATION: &str = "base:allocation";

/// What the names of dirty bitmaps begin with, as QEMU writes them.
pub const DIRTY_BITMAP: &str = "qemu:dirty-bitmap:";

/// Most dirty bitmaps of one connection.
pub const MAX_BITMAPS: u8 = 15;

/// A metadata context of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaContext {
    /// `base:allocation`.
    Allocation,
    /// `qemu:dirty-bitmap:NAME`; which one is the connection's to know, by this number below [`MAX_BITMAPS`].
    Bitmap(u8),
}

impl MetaContext {
    /// Most contexts of one connection.
    pub const COUNT: usize = 1 + MAX_BITMAPS as usize;

    /// The id on the wire: not zero, and unique on its connection.
    pub const fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
            Self::Bitmap(number) => 2 + number as u32,
        }
    }

    /// The context of that id.
    pub fn from_id(id: u32) -> Option<Self> {
        match id {
            1 => Some(Self::Allocation),
            _ => u8::try_from(id.checked_sub(2)?).ok().filter(|number| *number < MAX_BITMAPS).map(Self::Bitmap),
        }
    }

    const fn bit(self) -> u32 {
        1 << (self.id() % 32)
    }
}

/// A set of metadata contexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaContexts(u32);

impl MetaContexts {
    /// Adds one; false if it was there.
    pub const fn insert(&mut self, context: MetaContext) -> bool {
        let new = !self.contains(context);
        self.0 |= context.bit();
        new
    }

    /// Whether it holds `context`.
    pub const fn contains(self, context: MetaContext) -> bool {
        self.0 & context.bit() != 0
    }

    /// How many it holds.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those it holds, by id.
    pub fn iter(self) -> impl Iterator<Item = MetaContext> {
        (1..32).filter_map(MetaContext::from_id).filter(move |context| self.contains(*context))
    }
}

impl FromIterator<MetaContext> for MetaContexts {
    fn from_iter<I: IntoIterator<Item = MetaContext>>(contexts: I) -> Self {
        let mut set = Self::default();
        for context in contexts {
            set.insert(context);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_nonzero_and_found_again() {
        let all: Vec<_> = (0..u32::from(u8::MAX) * 2).filter_map(MetaContext::from_id).collect();
        assert_eq!(all.len(), MetaContext::COUNT);
        for context in all {
            assert_eq!(MetaContext::from_id(context.id()), Some(context));
            assert!((1..32).contains(&context.id()));
        }
        assert_eq!(MetaContext::from_id(0), None);
    }

    #[test]
    fn a_set_takes_each_context_once() {
        let mut set = MetaContexts::default();
        assert!(set.is_empty());
        assert!(set.insert(MetaContext::Allocation));
        assert!(!set.insert(MetaContext::Allocation));
        assert_eq!(set.iter().collect::<Vec<_>>(), [MetaContext::Allocation]);
        assert!(set.insert(MetaContext::Bitmap(3)));
        assert_eq!(set.iter().collect::<Vec<_>>(), [MetaContext::Allocation, MetaContext::Bitmap(3)]);
        assert_eq!(set.len(), 2);
    }
}
