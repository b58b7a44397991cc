//! Metadata contexts: which exist, and a set of them ("Metadata querying").

/// A metadata context that this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaContext {
    /// `base:allocation`.
    Allocation,
}

impl MetaContext {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Allocation];

    /// The name, `namespace:leaf`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allocation => "base:allocation",
        }
    }

    /// The id on the wire: not zero, and the same on every connection.
    pub const fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
        }
    }

    /// The context of that id.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|context| context.id() == id)
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

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those it holds, by id.
    pub fn iter(self) -> impl Iterator<Item = MetaContext> {
        MetaContext::ALL.into_iter().filter(move |context| self.contains(*context))
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
        for context in MetaContext::ALL {
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
    }
}
