//! What happened, line by line; nothing is built while nobody reads it.
use std::fmt::Write as _;

/// The lines so far, if they are wanted.
pub struct Trace {
    text: Option<String>,
}

impl Trace {
    /// A trace, wanted or not.
    pub fn new(wanted: bool) -> Self {
        Trace { text: wanted.then(String::new) }
    }

    /// Whether lines are wanted.
    pub fn is_on(&self) -> bool {
        self.text.is_some()
    }

    /// Adds a line.
    pub fn line(&mut self, now_us: u64, line: std::fmt::Arguments) {
        if let Some(text) = &mut self.text {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{:>5}.{:06}  {line}", now_us / 1_000_000, now_us % 1_000_000);
        }
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }
}

/// Adds a line to a world's trace, built only if it is wanted.
macro_rules! note {
    ($world:expr, $($line:tt)*) => {
        if $world.trace.is_on() {
            let now_us = $world.now_us;
            $world.trace.line(now_us, format_args!($($line)*));
        }
    };
}
pub(super) use note;

/// FNV-1a: a hash that is the same everywhere, to pin a trace by.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
