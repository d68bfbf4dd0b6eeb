//! Marks: what a change of a SKU has to mind besides its figures. Most SKUs have none, and cost nothing for it.

/// What a SKU is marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(i32);

impl Marks {
    /// Somebody waits for it.
    pub const WAITED: Marks = Marks(1);

    /// It is kept in several locations.
    pub const LOCATED: Marks = Marks(2);

    /// Orders wait for it.
    pub const OWED: Marks = Marks(4);

    /// As they are stored.
    pub fn of_bits(bits: i32) -> Self {
        Marks(bits)
    }

    /// How they are stored.
    pub fn bits(self) -> i32 {
        self.0
    }

    /// These and another one.
    pub fn with(self, mark: Marks) -> Self {
        Marks(self.0 | mark.0)
    }

    /// Whether there is any.
    pub fn is_any(self) -> bool {
        self.0 != 0
    }

    /// Whether this one is among them.
    pub fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }
}
