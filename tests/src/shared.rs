//! One system for the tests of a program that don't hurt it.
use std::ops::Deref;

use tokio::sync::OnceCell;

use crate::system::System;

/// A reference to the shared system; shows its logs if the test that has it fails.
pub struct SharedSystem(&'static System);

/// The shared system, with two coordinators; started by whoever asks first. The kernel ends it with the program.
pub async fn shared() -> SharedSystem {
    static SYSTEM: OnceCell<System> = OnceCell::const_new();
    SharedSystem(SYSTEM.get_or_init(|| System::set_up().coordinators(2).start()).await)
}

impl Deref for SharedSystem {
    type Target = System;

    fn deref(&self) -> &System {
        self.0
    }
}

impl Drop for SharedSystem {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0.logs());
        }
    }
}
